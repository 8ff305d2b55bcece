//! How a command talks to a daemon that runs: one request, and an answer or what went wrong with it.

use std::time::Duration;

use clap::Args;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::report::ProblemJson;

/// A daemon answers from memory; an intervention may wait for a slow disk.
const PATIENCE: Duration = Duration::from_secs(15);

/// Which daemon.
#[derive(Args, Clone, Debug)]
pub(super) struct DaemonArgs {
    /// Where the daemon answers
    #[arg(
        long,
        env = "VLLM_PROBER_URL",
        default_value = "http://localhost:10016",
        value_name = "URL"
    )]
    url: Url,
}

impl DaemonArgs {
    /// GETs what is at the path whose `segments` these are.
    pub(super) async fn get<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T, String> {
        self.ask(Method::GET, segments, None::<&()>).await
    }

    /// POSTs `body`.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        body: &impl Serialize,
    ) -> Result<T, String> {
        self.ask(Method::POST, segments, Some(body)).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        segments: &[&str],
        body: Option<&impl Serialize>,
    ) -> Result<T, String> {
        let mut url = self.url.clone();
        if url.cannot_be_a_base() {
            return Err(format!(
                "--url {url} has no host; write it as http://localhost:10016"
            ));
        }
        if let Ok(mut path) = url.path_segments_mut() {
            // Names are encoded as they need.
            path.pop_if_empty().extend(segments);
        }
        let unreachable = |error: reqwest::Error| {
            let mut told = error.without_url().to_string();
            if told == "error sending request" {
                told = "it cannot be reached".to_owned();
            }
            format!(
                "{}: {told}; name the daemon with --url, or start it with `vllm-prober serve`",
                self.url
            )
        };
        // Already installed is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        let client = client.build().map_err(unreachable)?;
        let mut request = client.request(method, url);
        if let Some(body) = body {
            let body = serde_json::to_vec(body).map_err(|error| error.to_string())?;
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let answer = response.bytes().await.map_err(unreachable)?;
        if !status.is_success() {
            let problem: Result<ProblemJson, _> = serde_json::from_slice(&answer);
            return Err(problem.map_or_else(
                |_| {
                    format!(
                        "{} answers {status}; is it the address of a vllm-prober daemon?",
                        self.url
                    )
                },
                |problem| problem.detail,
            ));
        }
        serde_json::from_slice(&answer).map_err(|error| {
            format!(
                "{}: the answer cannot be read ({error}); is it a daemon of this version?",
                self.url
            )
        })
    }
}
