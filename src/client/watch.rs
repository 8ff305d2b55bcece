//! Looks at a server from beside a run: its own metrics, and whether it says that it is well.
//!
//! None of this happens on the measuring thread. A page may take a while to come and to be read, and a chunk
//! that arrives meanwhile must be stamped at once: so the requests of a watch run where it was made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Url;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::connection::{self, ConnectLog, Target, address};
use super::credentials::Credentials;
use super::error::ClientError;
use super::failure::classify;
use super::masking::Masking;
use super::page::PageReader;
use crate::deployment::{Deployment, MetricsSource};
use crate::endpoint::Endpoint;
use crate::measurement::{FailureReason, RequestError};
use crate::observation::Health;
use crate::reading::Reading;

/// How long a look may take, from its request to the end of the page.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of another document.
const DOCUMENT_BYTES: u64 = 4 << 20;

/// The most bytes of a page that are read: a hundred times what one engine has to say.
const PAGE_BYTES: u64 = 8 << 20;

/// Someone who looks at one deployment.
#[derive(Clone, Debug)]
pub struct Watch {
    /// For the server's own addresses, with what lets us in there.
    http: reqwest::Client,
    /// The page, and the client that may ask for it, or why it is not read.
    metrics: Result<(reqwest::Client, Url), String>,
    /// For other addresses, without any of that.
    elsewhere: reqwest::Client,
    masking: Masking,
    root: Endpoint,
    health: Url,
    runtime: Handle,
}

impl Watch {
    /// A watch on `deployment` whose requests run on the runtime that it is made on, and open their connections
    /// within `connect`.
    ///
    /// # Errors
    /// When a file of certificates or keys cannot be used.
    pub fn new(
        deployment: &Deployment,
        credentials: &Credentials,
        connect: Duration,
    ) -> Result<Self, ClientError> {
        let endpoint = &deployment.endpoint;
        let connect = connect.min(LOOK_TIMEOUT);
        let http = |target, route, credentials| {
            connection::http(target, route, credentials, connect, ConnectLog::default())
        };
        let server = Target::Server(endpoint.root());
        let own = http(server, &endpoint.route, credentials)?;
        // Another address gets nothing of what lets us in at this one.
        let elsewhere = http(
            Target::Anyone,
            &endpoint.route.elsewhere(),
            &credentials.elsewhere(),
        )?;
        let metrics = match &deployment.metrics {
            MetricsSource::Own => Ok((own.clone(), address(endpoint, "/metrics"))),
            MetricsSource::At(url) => Ok((elsewhere.clone(), url.clone())),
            MetricsSource::Off => Err("its metrics are not read".to_owned()),
        };
        Ok(Self {
            http: own,
            metrics,
            elsewhere,
            masking: credentials.masking.clone(),
            root: endpoint.clone(),
            health: address(endpoint, "/health"),
            runtime: Handle::current(),
        })
    }

    /// Looks at the metrics no more, for the reason given in words for people.
    pub fn ignore_metrics(&mut self, why: impl Into<String>) {
        self.metrics = Err(why.into());
    }

    /// Reads the server's own metrics.
    ///
    /// # Errors
    /// Says in words for people why there are none: they are not to be read, the page does not come in time,
    /// is too large, or has nothing of vLLM's on it.
    pub async fn read(&self) -> Result<Reading, Unread> {
        let (http, url) = self.metrics.clone().map_err(Unread::Useless)?;
        let masking = self.masking.clone();
        let reading = self.runtime.spawn(async move {
            timeout(LOOK_TIMEOUT, page(&http, url))
                .await
                .map_err(|_| Unread::Late)?
                .map_err(|error| Unread::Useless(masking.error(error).to_string()))
        });
        let ended = |error: tokio::task::JoinError| Unread::Useless(self.masked(error.to_string()));
        reading.await.unwrap_or_else(|error| Err(ended(error)))
    }

    /// Gets one of the server's own documents.
    ///
    /// # Errors
    /// Says in words for people why there is none.
    pub async fn document(&self, path: &str, query: Option<&str>) -> Result<Vec<u8>, String> {
        let mut url = address(&self.root, path);
        url.set_query(query);
        self.get(self.http.clone(), url).await
    }

    /// Gets a document from elsewhere, without anything that lets us in at the server.
    ///
    /// # Errors
    /// Says in words for people why there is none.
    pub async fn foreign_document(&self, url: &Url) -> Result<Vec<u8>, String> {
        self.get(self.elsewhere.clone(), url.clone()).await
    }

    async fn get(&self, http: reqwest::Client, url: Url) -> Result<Vec<u8>, String> {
        let said = url.to_string();
        let getting = self.runtime.spawn(async move {
            timeout(LOOK_TIMEOUT, whole(&http, url))
                .await
                .map_err(|_| format!("no answer within {} s", LOOK_TIMEOUT.as_secs()))?
                .map_err(|error| error.to_string())
        });
        let document = getting.await.unwrap_or_else(|error| Err(error.to_string()));
        document
            .map(|body| self.masking.document(body))
            .map_err(|why| self.masking.text(format!("{said}: {why}")))
    }

    /// Asks the server whether it is well.
    pub async fn health(&self) -> Health {
        let request = self.http.get(self.health.clone());
        let asking = self
            .runtime
            .spawn(async move { timeout(LOOK_TIMEOUT, request.send()).await });
        match asking.await {
            Ok(Ok(Ok(answer))) if answer.status().is_success() => Health::Good,
            Ok(Ok(Ok(answer))) => Health::Bad(answer.status().as_u16()),
            _ => Health::Silent,
        }
    }

    /// `text` without anything that lets us in.
    pub(crate) fn masked(&self, text: String) -> String {
        self.masking.text(text)
    }

    /// Where its requests run.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

async fn whole(http: &reqwest::Client, url: Url) -> Result<Vec<u8>, RequestError> {
    let request = http.get(url).send();
    let mut response = request.await.map_err(|error| classify(&error, false))?;
    let status = response.status();
    if !status.is_success() {
        return Err(super::status_error(status, response.headers(), b""));
    }
    let mut body = Vec::new();
    while let Some(bytes) = response
        .chunk()
        .await
        .map_err(|error| classify(&error, true))?
    {
        if body.len() as u64 + bytes.len() as u64 > DOCUMENT_BYTES {
            return Err(super::too_large(DOCUMENT_BYTES));
        }
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}

/// Why a server's own metrics were not read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unread {
    /// The page did not come to its end in time.
    #[error("its page did not come within {} s", LOOK_TIMEOUT.as_secs())]
    Late,
    /// It was not asked for, or was none.
    #[error("{0}")]
    Useless(String),
}

async fn page(http: &reqwest::Client, url: Url) -> Result<Reading, RequestError> {
    let request = http.get(url).send();
    let mut response = request.await.map_err(|error| classify(&error, false))?;
    let status = response.status();
    if !status.is_success() {
        return Err(super::status_error(status, response.headers(), b""));
    }
    let mut reader = PageReader::default();
    let mut left = PAGE_BYTES;
    while let Some(bytes) = response
        .chunk()
        .await
        .map_err(|error| classify(&error, true))?
    {
        left = left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| super::too_large(PAGE_BYTES))?;
        reader.feed(&bytes);
    }
    reader.finish().ok_or_else(|| {
        RequestError::new(FailureReason::NoTokens, "the page holds no metrics of vLLM")
    })
}

/// When the last token arrived, for those who watch from other threads. Cloning gives another hand on it.
#[derive(Clone, Debug, Default)]
pub struct Heard(Arc<AtomicU64>);

impl Heard {
    /// Notes that a token came. For the measuring thread: one plain store.
    pub(super) fn token(&self, at: Duration) {
        let nanoseconds = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        self.0.store(nanoseconds, Ordering::Relaxed);
    }

    /// Changes whenever a token has come.
    pub fn mark(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
