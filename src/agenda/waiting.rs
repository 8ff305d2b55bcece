//! The slots that have come and not yet started: since when each waits, until when it was put off, and in
//! which order they are served.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::reason::{DeferredReason, MissedReason, SkippedReason};

/// How long a run is put off, the first time.
const FIRST_BACKOFF: SignedDuration = SignedDuration::from_secs(5);

/// How often that is doubled; from then on it is [`LONGEST_BACKOFF`].
const DOUBLINGS: u32 = 3;

/// How long a run is put off at most: a deployment that is busy for hours is asked once a minute.
const LONGEST_BACKOFF: SignedDuration = SignedDuration::from_secs(60);

/// A slot that has come and not yet started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) slot: Timestamp,
    /// The first slot of this wait: earlier than `slot` if the probe had to let one go.
    pub(super) since: Timestamp,
    /// What is to blame if the next slot comes first.
    pub(super) blame: Blame,
    /// Before then it does not start.
    pub(super) until: Option<Timestamp>,
    /// Whether someone asked for its run.
    pub(super) ordered: bool,
    /// How often its run was put off.
    put_off: u32,
}

/// What a slot ends by if it has waited in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    Missed(MissedReason),
    /// Kept once it has been put off or refused, whatever else comes in its way then.
    Skipped(SkippedReason),
}

impl Waiting {
    /// A slot that has just come; `since` is earlier if the probe let others go.
    pub(super) fn new(slot: Timestamp, since: Timestamp) -> Self {
        Self {
            slot,
            since,
            blame: Blame::Missed(MissedReason::Suspended),
            until: None,
            ordered: false,
            put_off: 0,
        }
    }

    /// The same wait after the run was put off at `now`, once more.
    pub(super) fn put_off(self, reason: DeferredReason, now: Timestamp) -> (Self, Timestamp) {
        let pause = if self.put_off > DOUBLINGS {
            LONGEST_BACKOFF
        } else {
            FIRST_BACKOFF * (1 << self.put_off)
        };
        let until = now.checked_add(pause).unwrap_or(Timestamp::MAX);
        let waiting = Self {
            blame: Blame::Skipped(reason.into()),
            until: Some(until),
            put_off: self.put_off.saturating_add(1),
            ..self
        };
        (waiting, until)
    }

    /// Notes what keeps it from starting just now.
    pub(super) fn held_by(&mut self, reason: MissedReason) {
        if let Blame::Missed(held_by) = &mut self.blame {
            *held_by = reason;
        }
    }

    /// Since when the probe waits, if it lets this slot go. Who was put off has had a turn, and begins anew.
    pub(super) fn place_in_queue(&self) -> Option<Timestamp> {
        (self.put_off == 0).then_some(self.since)
    }

    /// Whether nothing but a place to run is in its way at `now`.
    pub(super) fn is_ready(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// Follows a clock that was set back by `by` to `now`.
    pub(super) fn set_back(&mut self, by: SignedDuration, now: Timestamp) {
        self.slot = self.slot.min(now);
        self.since = self.since.min(now);
        self.until = self.until.map(|until| until.checked_sub(by).unwrap_or(now));
    }
}

/// A probe that waits for a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contender {
    pub(super) index: usize,
    pub(super) lane: usize,
    pub(super) light: bool,
    pub(super) since: Timestamp,
    pub(super) last_start: Option<Timestamp>,
}

/// Who is served first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Light,
    Burst,
    /// A light probe that has run since a burst of its lane began to wait.
    LightAfterBurst,
}

/// The indices of the contenders in the order in which they are served.
pub(super) fn in_order(contenders: &[Contender]) -> Vec<usize> {
    let mut oldest_burst = BTreeMap::new();
    for burst in contenders.iter().filter(|contender| !contender.light) {
        let oldest = oldest_burst.entry(burst.lane).or_insert(burst.since);
        *oldest = burst.since.min(*oldest);
    }
    let turn = |contender: &Contender| {
        let overtaken = contender.last_start.zip(oldest_burst.get(&contender.lane));
        match overtaken {
            _ if !contender.light => Turn::Burst,
            Some((last_start, burst_since)) if last_start >= *burst_since => Turn::LightAfterBurst,
            _ => Turn::Light,
        }
    };
    let mut order: Vec<(Turn, Timestamp, usize)> = contenders
        .iter()
        .map(|contender| (turn(contender), contender.since, contender.index))
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, _, index)| index).collect()
}
