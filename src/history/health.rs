//! What `/metrics` says of the history: how large it is, and what went wrong with it.
//!
//! Numbers that are kept here and never asked of the disk, so that a scrape does not wait for one that hangs.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::closed_set::closed_set;

closed_set! {
    /// What can go wrong with the history.
    Operation:
    Append "append" "A finished run could not be written; it is kept in memory and tried again.",
    Wait "wait" "A finished run was published before it was stored, since the disk was slow.",
    Drop "drop" "A finished run was given up: too many waited to be written, or it cannot be stored.",
    Prune "prune" "What is older than the retention could not be taken away.",
    Read "read" "What was stored could not be read.",
}

/// Sizes and counts; cheap to read at any time.
#[derive(Debug)]
pub struct Health {
    size: AtomicU64,
    /// In the order of [`Operation::ALL`].
    errors: Vec<AtomicU64>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            size: AtomicU64::new(0),
            errors: Operation::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Health {
    /// The bytes that it took when they were last asked for.
    pub fn size_bytes(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// How often `operation` has gone wrong since the start.
    pub fn errors(&self, operation: Operation) -> u64 {
        self.errors[operation as usize].load(Ordering::Relaxed)
    }

    /// Counts that `operation` has gone wrong.
    pub fn failed(&self, operation: Operation) {
        self.errors[operation as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_size(&self, bytes: u64) {
        self.size.store(bytes, Ordering::Relaxed);
    }
}
