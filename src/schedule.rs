//! When a probe is due: a cadence, the phase and jitter that spread a fleet, and the hours in which it rests.
//!
//! A schedule is a pure function of time and of the probe's identity. It keeps no state, so a restarted
//! prober falls into the same slots, and nothing here knows whether a due run can start: that is the
//! agenda's question.

mod blackout;
mod cron;

use std::ops::RangeInclusive;
use std::time::Duration;

use croner::Cron;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use sha2::{Digest, Sha256};

pub use self::blackout::Blackout;

/// The shortest and the longest interval; what lies beyond is taken as the nearer of them.
const INTERVALS: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(366 * 24 * 60 * 60);

/// The longest jitter of a cron pattern: all its slots within that time before now may still be due.
const LONGEST_CRON_JITTER: Duration = Duration::from_secs(60 * 60);

/// Slots of a cron pattern that are counted after a long sleep. Each is a walk through the calendar, so that a
/// fleet of thousands that slept for a year must not count them all before anything runs again.
const CRON_COUNT_LIMIT: u64 = 100;

/// How often a probe is due.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each probe; a box would only burden those who build one"
)]
pub enum Cadence {
    /// At a fixed distance, from a phase of the probe's own.
    Every(Duration),
    /// At the times of a cron pattern on the wall clock of a zone.
    Cron {
        /// What [`Schedule::parse_cron`] accepted.
        pattern: Cron,
        /// Whose wall clock is meant.
        zone: TimeZone,
    },
}

/// A prober that starts runs every probe with a fixed interval once within this time.
const FIRST_WITHIN: Duration = Duration::from_secs(60);

/// The times at which one probe is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    cadence: Cadence,
    jitter: Duration,
    blackouts: Vec<Blackout>,
    identity: String,
}

/// The slots that lie in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// How many there are, at least 1. Of a cron pattern no more than 100 are counted.
    pub count: u64,
    /// The latest of them.
    pub last: Timestamp,
}

impl Schedule {
    /// A schedule for the probe with this identity, usually the deployment's name.
    ///
    /// With [`Cadence::Every`] the slots lie at the Unix epoch plus a phase that depends on the identity alone, plus
    /// whole intervals: equal intervals do not fire together, and a restart changes nothing. A cron pattern
    /// names its times itself and has no phase. `jitter` delays each slot by a stable amount from zero to
    /// below `jitter`, and never up to the next slot; that of a cron pattern is at most an hour.
    pub fn new(
        cadence: Cadence,
        jitter: Duration,
        blackouts: Vec<Blackout>,
        identity: &str,
    ) -> Self {
        let (cadence, jitter) = match cadence {
            Cadence::Every(interval) => {
                let interval = interval.clamp(*INTERVALS.start(), *INTERVALS.end());
                (Cadence::Every(interval), jitter.min(interval))
            }
            cron @ Cadence::Cron { .. } => (cron, jitter.min(LONGEST_CRON_JITTER)),
        };
        Self {
            cadence,
            jitter,
            blackouts,
            identity: identity.to_owned(),
        }
    }

    /// The same schedule for the probe with another identity.
    #[must_use]
    pub fn of(self, identity: &str) -> Self {
        Self {
            identity: identity.to_owned(),
            ..self
        }
    }

    /// Reads a cron pattern: minute, hour, day of month, month and day of week, optionally with a field of
    /// seconds in front, with names, lists, ranges, steps, `L`, `W`, `#` and nicknames such as `@daily`.
    ///
    /// # Errors
    ///
    /// Says which field is wrong and what it may hold, or that the pattern never comes true.
    pub fn parse_cron(pattern: &str) -> Result<Cron, String> {
        cron::parse(pattern)
    }

    /// The first slot strictly after `now`. `None` where the calendar ends.
    pub fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.cadence {
            Cadence::Every(interval) => self.slot(*interval, self.latest_index(*interval, now) + 1),
            Cadence::Cron { pattern, zone } => self.next_of_cron(pattern, zone, now),
        }
    }

    /// The first slot of a prober that starts at `now`. With a fixed interval it comes within a minute, at a
    /// delay that depends on the identity alone, so that a start shows figures soon and a fleet still does
    /// not fire together; the slots after it are the usual ones. A cron pattern names its times itself.
    pub fn first_after(&self, now: Timestamp) -> Option<Timestamp> {
        let next = self.next_after(now)?;
        let Cadence::Every(interval) = self.cadence else {
            return Some(next);
        };
        let delay = fraction_of(
            interval.min(FIRST_WITHIN),
            stable_hash(&["phase", &self.identity]),
        );
        let soon = now.checked_add(delay).ok().filter(|soon| *soon > now);
        let soon = soon.filter(|soon| !self.in_blackout(*soon));
        Some(soon.map_or(next, |soon| soon.min(next)))
    }

    /// As [`Self::next_after`], but passes over the slots that lie in a blackout. `None` when all do.
    pub fn next_run_after(&self, now: Timestamp) -> Option<Timestamp> {
        // A blackout is left at its end at the latest; windows that cover the whole week have none.
        const WINDOWS: usize = 1_000;
        let mut slot = self.next_after(now)?;
        for _ in 0..WINDOWS {
            let Some(end) = self.blackouts.iter().find_map(|window| window.until(slot)) else {
                return Some(slot);
            };
            let before_end = end.checked_sub(1.nanosecond()).ok()?;
            slot = self.next_after(before_end.max(slot))?;
        }
        None
    }

    /// The slots after `after` up to and including `until`; `None` if there are none.
    ///
    /// The cost is bounded however long the span is, so that a clock set by years stalls nothing.
    pub fn passed(&self, after: Timestamp, until: Timestamp) -> Option<Passed> {
        let first = self.next_after(after).filter(|slot| *slot <= until)?;
        match &self.cadence {
            Cadence::Every(interval) => {
                let last = self.latest_index(*interval, until);
                let count = last - self.latest_index(*interval, after);
                Some(Passed {
                    count: u64::try_from(count).ok()?,
                    last: self.slot(*interval, last)?,
                })
            }
            Cadence::Cron { .. } => {
                let (mut count, mut last) = (1, first);
                while let Some(next) = self.next_after(last).filter(|slot| *slot <= until) {
                    if count == CRON_COUNT_LIMIT {
                        last = self.latest_of_cron(until).unwrap_or(last);
                        break;
                    }
                    (count, last) = (count + 1, next);
                }
                Some(Passed { count, last })
            }
        }
    }

    /// The nominal time between two runs: of a cron pattern, that between its next two slots after `now`.
    pub fn interval(&self, now: Timestamp) -> Option<Duration> {
        match &self.cadence {
            Cadence::Every(interval) => Some(*interval),
            Cadence::Cron { pattern, zone } => {
                let first = cron::next_after(pattern, zone, now)?;
                let second = cron::next_after(pattern, zone, first)?;
                distance(first, second)
            }
        }
    }

    /// Whether no run may start at `at`.
    pub fn in_blackout(&self, at: Timestamp) -> bool {
        self.blackouts.iter().any(|window| window.covers(at))
    }

    /// The slot with index `k` of a fixed interval.
    fn slot(&self, interval: Duration, k: i128) -> Option<Timestamp> {
        let nominal = self.phase(interval) + k * nanoseconds(interval);
        let jitter = self.jitter_at(k, self.jitter);
        Timestamp::from_nanosecond(nominal + nanoseconds(jitter)).ok()
    }

    /// The index of the latest slot at or before `at`.
    fn latest_index(&self, interval: Duration, at: Timestamp) -> i128 {
        let since_phase = at.as_nanosecond() - self.phase(interval);
        let k = since_phase.div_euclid(nanoseconds(interval));
        // The jitter of slot `k` may still lie ahead; slot `k - 1` is over by now, since it ends below `k`.
        match self.slot(interval, k) {
            Some(slot) if slot <= at => k,
            _ => k - 1,
        }
    }

    /// Where in an interval this identity's slots lie, in nanoseconds.
    fn phase(&self, interval: Duration) -> i128 {
        nanoseconds(fraction_of(
            interval,
            stable_hash(&["phase", &self.identity]),
        ))
    }

    /// The delay of one slot, below `limit`.
    fn jitter_at(&self, slot: i128, limit: Duration) -> Duration {
        if limit.is_zero() {
            return limit;
        }
        let hash = stable_hash(&["jitter", &self.identity, &slot.to_string()]);
        fraction_of(limit, hash)
    }

    fn next_of_cron(&self, pattern: &Cron, zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
        if self.jitter.is_zero() {
            return cron::next_after(pattern, zone, now);
        }
        // A slot whose nominal time is over may be due only now, by its jitter.
        let mut nominal = cron::next_after(pattern, zone, now.checked_sub(self.jitter).ok()?)?;
        loop {
            let following = cron::next_after(pattern, zone, nominal)?;
            let limit = self.jitter.min(distance(nominal, following)?);
            let jitter = self.jitter_at(nominal.as_nanosecond(), limit);
            let slot = nominal.checked_add(jitter).ok()?;
            if slot > now {
                return Some(slot);
            }
            nominal = following;
        }
    }

    /// The latest slot of a cron pattern at or before `until`: found by looking back ever further.
    fn latest_of_cron(&self, until: Timestamp) -> Option<Timestamp> {
        let mut look_back = Duration::from_secs(60);
        loop {
            let from = until.checked_sub(look_back).ok()?;
            let slots = std::iter::successors(self.next_after(from), |slot| self.next_after(*slot));
            if let Some(latest) = slots.take_while(|slot| *slot <= until).last() {
                return Some(latest);
            }
            look_back *= 8;
        }
    }
}

/// The same number for the same words in every version of this program and on every machine.
fn stable_hash(words: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    for word in words {
        hash.update(word.as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    digest
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The part of `whole` that `hash` stands for, from zero to below `whole`, in whole milliseconds.
fn fraction_of(whole: Duration, hash: u64) -> Duration {
    let milliseconds = (whole.as_millis() * u128::from(hash)) >> 64;
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

fn nanoseconds(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

fn distance(from: Timestamp, to: Timestamp) -> Option<Duration> {
    Duration::try_from(to.duration_since(from)).ok()
}

/// The instant of a wall clock's reading, as RFC 5545 has it: the earlier of two, and past a gap.
fn instant(zone: &TimeZone, wall_clock: DateTime) -> Option<Timestamp> {
    zone.to_ambiguous_timestamp(wall_clock).compatible().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NO_JITTER: Duration = Duration::ZERO;
    const MINUTE: Duration = Duration::from_secs(60);

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn every(interval: Duration, jitter: Duration, identity: &str) -> Schedule {
        Schedule::new(Cadence::Every(interval), jitter, Vec::new(), identity)
    }

    fn cron(pattern: &str, jitter: Duration) -> Schedule {
        let (pattern, zone) = (Schedule::parse_cron(pattern).unwrap(), berlin());
        Schedule::new(Cadence::Cron { pattern, zone }, jitter, Vec::new(), "a")
    }

    #[test]
    fn a_start_is_followed_by_a_run_within_a_minute_and_then_by_the_usual_slots() {
        let now = at("2026-03-01T12:00:00Z");
        for identity in ["a", "b", "c", "d"] {
            let schedule = every(15 * MINUTE, NO_JITTER, identity);
            let first = schedule.first_after(now).unwrap();
            assert!(first > now && first <= now + MINUTE, "{identity}: {first}");
            assert_eq!(schedule.first_after(now), Some(first), "stable");
        }
        let daily = cron("0 3 * * *", NO_JITTER);
        assert_eq!(
            daily.first_after(now),
            daily.next_after(now),
            "a pattern names its times"
        );
        let closed = Blackout::parse("", "12:00", "12:30", TimeZone::UTC).unwrap();
        let closed = Schedule::new(Cadence::Every(15 * MINUTE), NO_JITTER, vec![closed], "a");
        assert_eq!(
            closed.first_after(now),
            closed.next_after(now),
            "not in a blackout"
        );
    }

    fn slots(schedule: &Schedule, after: &str) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(schedule.next_after(at(after)), |slot| {
            schedule.next_after(*slot)
        })
    }

    #[test]
    fn the_phase_is_the_same_in_every_version() {
        // Held by literals: a change of the hash would move every fleet's slots.
        let noon = at("2026-03-01T12:00:00Z");
        for (identity, first) in [
            ("qwen3-32b-nvfp4", "2026-03-01T12:06:28.254Z"),
            ("qwen3-32b-fp8", "2026-03-01T12:09:56.928Z"),
            ("qwen3-32b-bf16", "2026-03-01T12:09:58.315Z"),
        ] {
            let schedule = every(15 * MINUTE, NO_JITTER, identity);
            assert_eq!(schedule.next_after(noon), Some(at(first)), "{identity}");
        }
    }

    #[test]
    fn a_fleet_does_not_fire_together() {
        let noon = at("2026-03-01T12:00:00Z");
        let mut in_each_tenth = [0; 10];
        for number in 0..1_000 {
            let schedule = every(10 * MINUTE, NO_JITTER, &format!("deployment-{number}"));
            let wait = schedule.next_after(noon).unwrap().duration_since(noon);
            in_each_tenth[usize::try_from((wait.as_secs() / 60).min(9)).unwrap()] += 1;
        }
        // 100 on average; five standard deviations to either side.
        assert!(
            in_each_tenth.iter().all(|n| (52..=148).contains(n)),
            "{in_each_tenth:?}"
        );
    }

    #[test]
    fn jitter_never_carries_a_slot_past_the_next_one() {
        let minutely = cron("* * * * *", 60 * MINUTE);
        for (minute, slot) in (1..60).zip(slots(&minutely, "2026-03-01T12:00:59.999Z")) {
            let after_noon = slot.duration_since(at("2026-03-01T12:00:00Z"));
            assert_eq!(after_noon.as_secs() / 60, minute, "{slot}");
        }
    }

    #[test]
    fn the_next_run_lies_past_the_blackout() {
        let night = |days| Blackout::parse(days, "22:00", "06:00", berlin()).unwrap();
        let with = |blackouts| {
            let pattern = Schedule::parse_cron("0 * * * *").unwrap();
            let zone = berlin();
            Schedule::new(Cadence::Cron { pattern, zone }, NO_JITTER, blackouts, "a")
        };
        let evening = at("2026-03-02T20:30:00Z");
        let resting = with(vec![night("")]);
        assert_eq!(
            resting.next_after(evening),
            Some(at("2026-03-02T21:00:00Z"))
        );
        assert_eq!(
            resting.next_run_after(evening),
            Some(at("2026-03-03T05:00:00Z"))
        );
        let always = Blackout::parse("", "00:00", "24:00", berlin()).unwrap();
        assert_eq!(with(vec![always]).next_run_after(evening), None);
    }

    #[test]
    fn absurd_lengths_are_taken_as_the_nearest_sensible_ones() {
        let noon = at("2026-03-01T12:00:00Z");
        let wait = |schedule: Schedule| schedule.next_after(noon).unwrap().duration_since(noon);
        assert!(wait(every(Duration::ZERO, NO_JITTER, "a")).as_secs() <= 1);
        assert!(wait(every(Duration::MAX, Duration::MAX, "a")).as_hours() <= 2 * 366 * 24);
        assert!(wait(cron("0 13 * * *", Duration::MAX)).as_hours() < 24);
    }

    #[test]
    fn the_interval_is_that_between_two_slots() {
        let friday_noon = at("2026-03-06T11:00:00Z");
        assert_eq!(
            every(15 * MINUTE, NO_JITTER, "a").interval(friday_noon),
            Some(15 * MINUTE)
        );
        let weekdays = cron("0 6 * * mon-fri", MINUTE);
        assert_eq!(weekdays.interval(friday_noon), Some(24 * 60 * MINUTE));
    }

    #[test]
    fn a_jump_over_years_is_counted_at_once() {
        let (then, now) = (at("2026-01-01T00:00:00Z"), at("2926-01-01T00:00:00Z"));
        let secondly = every(Duration::from_secs(1), NO_JITTER, "a")
            .passed(then, now)
            .unwrap();
        assert_eq!(
            secondly.count,
            u64::try_from(now.duration_since(then).as_secs()).unwrap()
        );
        let minutely = cron("* * * * *", NO_JITTER).passed(then, now).unwrap();
        assert_eq!(
            minutely,
            Passed {
                count: CRON_COUNT_LIMIT,
                last: now
            }
        );
        let yearly = cron("0 0 1 7 *", NO_JITTER).passed(then, now).unwrap();
        assert_eq!(
            yearly,
            Passed {
                count: CRON_COUNT_LIMIT,
                last: at("2925-06-30T22:00:00Z")
            }
        );
    }

    fn any_schedule() -> impl Strategy<Value = Schedule> {
        let cadence = prop_oneof![
            (1_u64..100_000).prop_map(|s| Cadence::Every(Duration::from_secs(s))),
            prop::sample::select(vec![
                "*/7 * * * *",
                "0 3 * * *",
                "30 2 1,15 * *",
                "*/20 * * * * *",
                "0 */2 * * fri"
            ])
            .prop_map(|pattern| Cadence::Cron {
                pattern: Schedule::parse_cron(pattern).unwrap(),
                zone: berlin()
            }),
        ];
        (cadence, 0_u64..5_000, "[a-z]{1,8}").prop_map(|(cadence, jitter, identity)| {
            Schedule::new(cadence, Duration::from_secs(jitter), Vec::new(), &identity)
        })
    }

    proptest! {
        #[test]
        fn slots_depend_on_the_schedule_alone(schedule in any_schedule(), from in 0_i64..4_000_000_000, steps in 1_usize..20) {
            let from = Timestamp::from_second(from).unwrap();
            let slots: Vec<Timestamp> = std::iter::successors(schedule.next_after(from), |slot| schedule.next_after(*slot))
                .take(steps)
                .collect();
            prop_assert!(from < slots[0] && slots.is_sorted_by(|a, b| a < b));
            // Asked at any moment in between, as after a restart, the answer is the same.
            for pair in slots.windows(2) {
                let between = pair[0] + pair[1].duration_since(pair[0]) / 2;
                prop_assert_eq!(schedule.next_after(between), Some(pair[1]));
            }
            let last = slots[steps - 1];
            let passed = schedule.passed(from, last);
            prop_assert_eq!(passed, Some(Passed { count: steps as u64, last }));
            prop_assert_eq!(schedule.passed(from, slots[0] - 1.nanosecond()), None);
        }
    }
}
