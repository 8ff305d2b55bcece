//! What the endpoint asks of those who come, and what it tells their browsers: the part of it that may change while
//! it is served.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use rustls::ServerConfig;
use tokio::time::Instant;

use super::passwords::Users;
use super::token_bucket::TokenBucket;

/// How the endpoint is protected. The default is an open one.
#[derive(Debug, Default)]
pub struct Web {
    /// Certificate, key, and which clients are taken; plain HTTP without it.
    pub tls: Option<Arc<ServerConfig>>,
    /// Headers of every answer, instead of those by default; `None` for one that is not sent at all.
    pub headers: Vec<(HeaderName, Option<HeaderValue>)>,
    /// Who may come in.
    pub users: Users,
    /// How many requests are answered.
    pub rate_limit: Option<RateLimit>,
    /// Stands for everything that this was read from, so that it can be told whether that has changed.
    pub digest: [u8; 32],
}

/// A bound on the requests of all clients together.
#[derive(Debug)]
pub struct RateLimit(Mutex<TokenBucket>);

impl RateLimit {
    /// `burst` requests at once, and one more with every `interval`.
    pub fn new(burst: u32, interval: Duration) -> Self {
        Self(Mutex::new(TokenBucket::new(
            burst,
            interval,
            Instant::now(),
        )))
    }

    pub(crate) fn allows(&self) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.take(Instant::now())
    }
}

impl Web {
    /// Whether one more request is within the limit.
    pub(super) fn has_room(&self) -> bool {
        self.rate_limit.as_ref().is_none_or(RateLimit::allows)
    }

    /// Adds what tells a browser how to treat an answer.
    pub(super) fn dress(&self, headers: &mut HeaderMap) {
        for (name, value) in BY_DEFAULT.iter() {
            // A page says itself what it may do.
            headers.entry(name).or_insert_with(|| value.clone());
        }
        for (name, value) in &self.headers {
            match value {
                Some(value) => headers.insert(name, value.clone()),
                None => headers.remove(name),
            };
        }
    }
}

/// What is no page runs nothing, loads nothing, and stands in no frame.
static BY_DEFAULT: LazyLock<[(HeaderName, HeaderValue); 4]> = LazyLock::new(|| {
    [
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(
                "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("deny")),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
    ]
});
