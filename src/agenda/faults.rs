//! Runs that panic. A panic is a defect of the prober, and at the next slot the same defect would mostly show again:
//! so the probe rests first, each time twice as long, and goes on by itself once a run has ended as runs do.

use jiff::{SignedDuration, Timestamp};

/// How long a probe rests after the first panic.
const FIRST_REST: SignedDuration = SignedDuration::from_secs(30);

/// How often that is doubled before it is [`LONGEST_REST`].
const DOUBLINGS: u32 = 6;

/// How long it rests at most: a defect that has gone is noticed within the hour.
const LONGEST_REST: SignedDuration = SignedDuration::from_hours(1);

/// That the last runs of a probe have panicked, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// How many have, one after another.
    pub in_a_row: u32,
    /// The slots before then are left out.
    pub until: Timestamp,
}

impl Backoff {
    /// What follows from one panic more at `now`, after `before`.
    pub(super) fn after(before: Option<Self>, now: Timestamp) -> Self {
        let earlier = before.map_or(0, |before| before.in_a_row);
        let rest = if earlier > DOUBLINGS {
            LONGEST_REST
        } else {
            FIRST_REST * (1 << earlier)
        };
        Self {
            in_a_row: earlier.saturating_add(1),
            until: now.checked_add(rest).unwrap_or(Timestamp::MAX),
        }
    }

    /// Whether that slot is left out.
    pub(super) fn leaves_out(self, slot: Timestamp) -> bool {
        slot < self.until
    }

    /// The same rest by a clock that was set back by `by` to `now`.
    pub(super) fn set_back(self, by: SignedDuration, now: Timestamp) -> Self {
        Self {
            until: self.until.checked_sub(by).unwrap_or(now),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rest_is_twice_as_long_as_the_one_before_and_an_hour_at_most() {
        let now = Timestamp::UNIX_EPOCH;
        let panics = (0..10).scan(None, |before, _| {
            *before = Some(Backoff::after(*before, now));
            *before
        });
        let rests = panics.map(|backoff| (backoff.in_a_row, backoff.until.as_second()));
        let expected = [
            (1, 30),
            (2, 60),
            (3, 120),
            (4, 240),
            (5, 480),
            (6, 960),
            (7, 1_920),
            (8, 3_600),
            (9, 3_600),
            (10, 3_600),
        ];
        assert_eq!(rests.collect::<Vec<_>>(), expected);
    }

    proptest! {
        #[test]
        fn a_rest_lies_ahead_and_is_bounded_whatever_came_before(
            in_a_row: u32,
            until in -1_000_000_i64..1_000_000,
            now in -1_000_000_i64..1_000_000,
        ) {
            let at = |seconds| Timestamp::from_second(seconds).unwrap();
            let now = at(now);
            let before = Backoff { in_a_row, until: at(until) };
            let next = Backoff::after(Some(before), now);
            let rest = next.until.duration_since(now);
            prop_assert!((FIRST_REST..=LONGEST_REST).contains(&rest), "{rest}");
            prop_assert_eq!(next.in_a_row, in_a_row.saturating_add(1));
            prop_assert!(next.leaves_out(now) && !next.leaves_out(next.until));
        }
    }
}
