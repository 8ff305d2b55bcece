//! What the agenda says: that a run starts, that a visit is let in, or what has become of a slot.

use jiff::Timestamp;

use super::reason::{DeferredReason, MissedReason, SkippedReason};
use super::visits::VisitKey;

/// A probe, by its place in the list that the agenda was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeKey(pub usize);

/// What became of a slot, or of a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its run starts now, and occupies what it needs until the agenda is told that it ended, or takes it back.
    Start {
        /// Whose run starts.
        probe: ProbeKey,
        /// When it was due: now or earlier.
        slot: Timestamp,
    },
    /// It came to no run, against the plan.
    Missed {
        /// Whose slots they were.
        probe: ProbeKey,
        /// What held them up.
        reason: MissedReason,
        /// How many: more than one only when no one asked for longer than an interval.
        count: u64,
    },
    /// Its run was put off, and the slot waits again.
    Deferred {
        /// Whose run it was.
        probe: ProbeKey,
        /// What for.
        reason: DeferredReason,
        /// When it is tried again, at the earliest.
        until: Timestamp,
    },
    /// It came to no run, as planned.
    Skipped {
        /// Whose slot it was.
        probe: ProbeKey,
        /// Why there is to be no run.
        reason: SkippedReason,
    },
    /// A run beside the schedule is let in, and occupies what it needs until it has left.
    Admitted {
        /// Which.
        visit: VisitKey,
    },
}
