//! How a command talks to a daemon that runs: one request, and an answer or what went wrong with it.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{CONTENT_TYPE, DATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::report::ProblemJson;

/// A daemon answers from memory; an intervention may wait for a slow disk.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often a request is begun at most.
const ATTEMPTS: usize = 5;

/// Which daemon.
#[derive(Args, Clone, Debug)]
pub(super) struct DaemonArgs {
    /// Where the daemon answers
    #[arg(
        long,
        env = "VLLM_PROBER_URL",
        hide_env_values = true,
        default_value = "http://localhost:10016",
        value_name = "URL"
    )]
    url: Url,
    #[command(flatten)]
    access: AccessArgs,
}

/// What a protected daemon asks for.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct AccessArgs {
    /// The certificate of the authority that the daemon's certificate is from, in PEM form
    #[arg(long, env = "VLLM_PROBER_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The certificate to show to the daemon, in PEM form
    #[arg(
        long,
        env = "VLLM_PROBER_CERT_FILE",
        value_name = "FILE",
        requires = "key_file"
    )]
    cert_file: Option<PathBuf>,
    /// The key of that certificate
    #[arg(
        long,
        env = "VLLM_PROBER_KEY_FILE",
        value_name = "FILE",
        requires = "cert_file"
    )]
    key_file: Option<PathBuf>,
    /// The name to give to a daemon that asks for one
    #[arg(
        long,
        env = "VLLM_PROBER_USER",
        value_name = "NAME",
        requires = "password_file"
    )]
    user: Option<String>,
    /// The file whose first line is the password
    #[arg(
        long,
        env = "VLLM_PROBER_PASSWORD_FILE",
        value_name = "FILE",
        requires = "user"
    )]
    password_file: Option<PathBuf>,
}

fn read(option: &str, path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{option} {}: {error}", path.display()))
}

impl AccessArgs {
    /// Whether the daemon is to be told a password.
    pub(super) fn has_password(&self) -> bool {
        self.password_file.is_some()
    }

    /// A request that takes no longer than `patience`.
    pub(super) fn request(
        &self,
        method: Method,
        url: Url,
        patience: Duration,
    ) -> Result<RequestBuilder, String> {
        let mut request = self.client(patience)?.request(method, url);
        if let Some((user, password)) = self.credentials()? {
            request = request.basic_auth(user, Some(password));
        }
        Ok(request)
    }

    fn client(&self, patience: Duration) -> Result<reqwest::Client, String> {
        // Already installed is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            // A password is not carried on to wherever an answer points.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(patience);
        if let Some(path) = &self.ca_file {
            let unusable = |what: String| format!("--ca-file {}: {what}", path.display());
            let text = read("--ca-file", path)?;
            let all = reqwest::Certificate::from_pem_bundle(&text)
                .map_err(|error| unusable(error.to_string()))?;
            if all.is_empty() {
                return Err(unusable("there is no certificate in PEM form".to_owned()));
            }
            builder = builder.tls_certs_only(all);
        }
        if let (Some(certificate), Some(key)) = (&self.cert_file, &self.key_file) {
            let mut both = read("--cert-file", certificate)?;
            both.push(b'\n');
            both.extend(read("--key-file", key)?);
            let identity = reqwest::Identity::from_pem(&both)
                .map_err(|error| format!("--cert-file and --key-file: {error}"))?;
            builder = builder.identity(identity);
        }
        builder.build().map_err(|error| error.to_string())
    }

    /// The name and the password, if the daemon is to be told any.
    fn credentials(&self) -> Result<Option<(&str, String)>, String> {
        let (Some(user), Some(path)) = (&self.user, &self.password_file) else {
            return Ok(None);
        };
        let text = String::from_utf8(read("--password-file", path)?)
            .map_err(|_| format!("--password-file {}: it is not UTF-8", path.display()))?;
        let password = text.lines().next().unwrap_or_default().to_owned();
        if password.is_empty() {
            let path = path.display();
            return Err(format!("--password-file {path}: its first line is empty"));
        }
        Ok(Some((user, password)))
    }
}

impl DaemonArgs {
    /// The daemon's address as it may be told: without a name and a password.
    pub(super) fn shown(&self) -> String {
        let mut url = self.url.clone();
        // Both fail only where there is no host, and so nothing to hide.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.to_string()
    }

    /// GETs what is at the path whose `segments` these are.
    pub(super) async fn get<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T, String> {
        Ok(self.get_dated(segments).await?.0)
    }

    /// The same, and when the daemon answered by its own clock, if it says so.
    pub(super) async fn get_dated<T: DeserializeOwned>(
        &self,
        segments: &[&str],
    ) -> Result<(T, Option<Timestamp>), String> {
        self.ask(Method::GET, segments, None::<&()>).await
    }

    /// POSTs `body`.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        body: &impl Serialize,
    ) -> Result<T, String> {
        Ok(self.ask(Method::POST, segments, Some(body)).await?.0)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        segments: &[&str],
        body: Option<&impl Serialize>,
    ) -> Result<(T, Option<Timestamp>), String> {
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
            let error = error.without_url();
            let mut told = error.to_string();
            if told == "error sending request" {
                told = match tls_fault(&error) {
                    Some(fault) => return format!("{}: {fault}", self.shown()),
                    None => format!("it cannot be reached: {}", root(&error)),
                };
            }
            format!(
                "{}: {told}; name the daemon with --url, or start it with `vllm-prober serve`",
                self.shown()
            )
        };
        let mut request = self.access.request(method, url, PATIENCE)?;
        if let Some(body) = body {
            let body = serde_json::to_vec(body).map_err(|error| error.to_string())?;
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let response = send(request).await.map_err(unreachable)?;
        let status = response.status();
        let date = date(&response);
        let answer = response.bytes().await.map_err(unreachable)?;
        if status == StatusCode::UNAUTHORIZED {
            return Err(format!(
                "{} takes no one without a name and the right password; see --user and --password-file",
                self.shown()
            ));
        }
        if !status.is_success() {
            let problem: Result<ProblemJson, _> = serde_json::from_slice(&answer);
            return Err(problem.map_or_else(
                |_| {
                    format!(
                        "{} answers {status}; is it the address of a vllm-prober daemon?",
                        self.shown()
                    )
                },
                |problem| problem.detail,
            ));
        }
        let read = serde_json::from_slice(&answer).map_err(|error| {
            format!(
                "{}: the answer cannot be read ({error}); is it a daemon of this version?",
                self.shown()
            )
        });
        Ok((read?, date))
    }
}

/// What the clock of the other side showed.
fn date(response: &Response) -> Option<Timestamp> {
    let date = response.headers().get(DATE)?.to_str().ok()?;
    Some(rfc2822::parse(date).ok()?.timestamp())
}

/// Sends a request. One that was not begun because the other side had ended the new connection already is sent again:
/// it may not hear why, as where a certificate is asked for and there is none, and then another try does.
pub(super) async fn send(request: RequestBuilder) -> Result<Response, reqwest::Error> {
    for _ in 1..ATTEMPTS {
        let Some(again) = request.try_clone() else {
            break;
        };
        match again.send().await {
            Err(error) if was_not_begun(&error) => {}
            sent => return sent,
        }
    }
    request.send().await
}

fn was_not_begun(error: &(dyn Error + 'static)) -> bool {
    let is_it = error.downcast_ref().is_some_and(hyper::Error::is_canceled);
    is_it || error.source().is_some_and(was_not_begun)
}

/// What is at the root of an error.
fn root(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), root)
}

/// What TLS finds wrong, if that is why a request failed.
pub(super) fn tls_fault(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(at) = cause {
        match at.downcast_ref() {
            Some(error @ rustls::Error::AlertReceived(_)) => {
                return Some(format!("{error}; does it want --cert-file and --key-file?"));
            }
            Some(error) => return Some(format!("{error}; is --ca-file the right one?")),
            None => {}
        }
        // An I/O error is what it carries, and names only that one's source as its own.
        let carried = at.downcast_ref().and_then(io::Error::get_ref);
        cause = match carried {
            Some(carried) => Some(carried),
            None => at.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_the_other_side_is_read_where_it_shows_one() {
        let answer = |text: Option<&str>| {
            let mut builder = axum::http::Response::builder();
            if let Some(text) = text {
                builder = builder.header("date", text);
            }
            date(&Response::from(builder.body("").unwrap()))
        };
        let read = answer(Some("Tue, 24 Nov 2026 21:50:15 GMT"));
        assert_eq!(read, Some("2026-11-24T21:50:15Z".parse().unwrap()));
        assert_eq!((answer(Some("soon")), answer(None)), (None, None));
    }
}
