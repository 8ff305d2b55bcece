//! The slots that have come and not yet started: since when each waits, until when it was put off, and in
//! which order they are served.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::reason::{DeferredReason, MissedReason};

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
    pub(super) held_by: MissedReason,
    /// Set once it has been put off, and kept until the slot has ended.
    pub(super) deferral: Option<Deferral>,
}

/// That a run was put off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deferral {
    pub(super) reason: DeferredReason,
    /// When it is tried again.
    pub(super) until: Timestamp,
    /// How often it has been put off.
    times: u32,
}

impl Waiting {
    /// The same wait after the run was put off at `now`, once more.
    pub(super) fn put_off(self, reason: DeferredReason, now: Timestamp) -> (Self, Timestamp) {
        let times = self.deferral.map_or(0, |deferral| deferral.times);
        let pause = if times > DOUBLINGS {
            LONGEST_BACKOFF
        } else {
            FIRST_BACKOFF * (1 << times)
        };
        let until = now.checked_add(pause).unwrap_or(Timestamp::MAX);
        let deferral = Some(Deferral {
            reason,
            until,
            times: times.saturating_add(1),
        });
        (Self { deferral, ..self }, until)
    }

    /// When it is tried again, if it was put off.
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.deferral.map(|deferral| deferral.until)
    }

    /// Whether nothing but a place to run is in its way at `now`.
    pub(super) fn is_ready(&self, now: Timestamp) -> bool {
        self.until().is_none_or(|until| until <= now)
    }

    /// Follows a clock that was set back by `by` to `now`.
    pub(super) fn set_back(&mut self, by: SignedDuration, now: Timestamp) {
        self.slot = self.slot.min(now);
        self.since = self.since.min(now);
        if let Some(deferral) = &mut self.deferral {
            deferral.until = deferral.until.checked_sub(by).unwrap_or(now);
        }
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
