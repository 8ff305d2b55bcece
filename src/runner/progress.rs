//! How far a run has come: counters that the measuring thread raises and that anyone may read meanwhile, without a lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::measurement::RequestRecord;

/// How far a run has come, for whoever watches it.
#[derive(Debug, Default)]
pub struct Progress {
    began: OnceLock<Instant>,
    ended: AtomicU32,
    failed: AtomicU32,
    completion_tokens: AtomicU64,
    last_end: AtomicU64,
}

impl Progress {
    /// When the first measured request was about to be sent; `None` before that.
    pub fn began(&self) -> Option<Instant> {
        self.began.get().copied()
    }

    /// Takes in that the first measured request is about to be sent.
    pub(crate) fn begin(&self) {
        let _ = self.began.set(Instant::now());
    }

    /// Measured requests that have ended.
    pub fn ended(&self) -> u32 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Those of them that failed.
    pub fn failed(&self) -> u32 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Tokens of the answers that completed.
    pub fn completion_tokens(&self) -> u64 {
        self.completion_tokens.load(Ordering::Relaxed)
    }

    /// How long after the begin the last of them ended: over this time, what has ended is a rate.
    pub fn last_end(&self) -> Duration {
        Duration::from_micros(self.last_end.load(Ordering::Relaxed))
    }

    /// Takes in a request that has ended, after all of it is stamped.
    pub(super) fn note(&self, record: &RequestRecord) {
        let end = u64::try_from(record.ended.as_micros()).unwrap_or(u64::MAX);
        self.last_end.fetch_max(end, Ordering::Relaxed);
        match &record.outcome {
            Ok(completion) => self
                .completion_tokens
                .fetch_add(completion.completion_tokens, Ordering::Relaxed),
            Err(_) => u64::from(self.failed.fetch_add(1, Ordering::Relaxed)),
        };
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}
