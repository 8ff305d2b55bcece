//! What the last change of the environment did: the runs before it, the runs since, and the verdict.

use jiff::Timestamp;

use super::clean::{CleanRun, last};
use super::{LEAST_AFTER, LEAST_BEFORE, MOST_AFTER, MOST_BEFORE, Verdict};

/// A change of the environment that is judged, or was.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct KnownChange {
    /// The end of the first run after it.
    pub(super) at: Timestamp,
    before: Vec<CleanRun>,
    after: Vec<CleanRun>,
    /// Whether its verdict is still open.
    open: bool,
    /// Whether what is seen now is still its doing.
    followed: bool,
    /// What was decided, while it stands.
    pub(super) verdict: Option<Verdict>,
}

impl KnownChange {
    /// A change after these runs of one level, the first run since which ended at `at`. `None` when they are too few
    /// to compare anything with.
    pub(super) fn after(level: &[CleanRun], at: Timestamp) -> Option<Self> {
        let before = last(level, MOST_BEFORE);
        (before.len() >= LEAST_BEFORE).then(|| Self {
            at,
            before: before.to_vec(),
            after: Vec::new(),
            open: true,
            followed: true,
            verdict: None,
        })
    }

    /// A further change before this one was judged: both are judged together, by the runs since the latter.
    pub(super) fn again(self, at: Timestamp) -> Option<Self> {
        self.open.then(|| Self {
            at,
            after: Vec::new(),
            ..self
        })
    }

    /// A further clean run.
    pub(super) fn push(&mut self, run: CleanRun) {
        if self.after.len() == MOST_AFTER {
            self.open = false;
        } else if self.followed {
            self.after.push(run);
        }
    }

    /// The runs since and the runs before, when there is enough to be shown.
    pub(super) fn sides(&self) -> Option<(&[CleanRun], &[CleanRun])> {
        (self.after.len() >= LEAST_AFTER).then_some((&self.after, &self.before))
    }

    /// The same, when a verdict may still come of it.
    pub(super) fn under_test(&self) -> Option<(&[CleanRun], &[CleanRun])> {
        self.sides().filter(|_| self.open)
    }

    /// Its verdict was found. Further runs only make its effect more exact.
    pub(super) fn decide(&mut self, verdict: Verdict) {
        self.open = false;
        self.verdict = Some(verdict);
    }

    /// Something else changed the level: what comes now is not this change's doing.
    pub(super) fn close(&mut self) {
        self.open = false;
        self.followed = false;
    }
}
