//! Someone has seen a verdict: what that silences, and until when.
//!
//! It silences, and never blinds: the verdict stands as before, and a further step is a new verdict that nobody
//! has acknowledged yet.

use jiff::Timestamp;
use thiserror::Error;

/// Who acknowledged a verdict, when, why, and with what consequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Who it was, in their own words.
    pub by: String,
    /// When it was said.
    pub at: Timestamp,
    /// For the colleagues: the reason.
    pub why: String,
    /// What follows from it.
    pub settlement: Settlement,
}

/// What follows from an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// The verdict is silent until then, or until it ends; after that it is heard again.
    Until(Timestamp),
    /// The level of the verdict is what is expected from now on: it becomes the baseline, and the verdict ends.
    Rebaseline,
}

impl Acknowledgement {
    /// Whether a verdict is silent at the time `now`.
    pub fn holds(&self, now: Timestamp) -> bool {
        match self.settlement {
            Settlement::Until(end) => self.at <= now && now < end,
            Settlement::Rebaseline => self.at <= now,
        }
    }
}

/// No verdict stands that could be acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no verdict stands; only a deployment that regressed or improved can be acknowledged")]
pub struct NothingToAcknowledge;
