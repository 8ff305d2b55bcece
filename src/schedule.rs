//! When a probe is due: a cadence, the phase and jitter that spread a fleet, and the hours in which it rests.
//!
//! A schedule is a pure function of time and of the probe's identity. It keeps no state, so a restarted
//! prober falls into the same slots, and nothing here knows whether a due run can start: that is the
//! agenda's question.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Year};
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use sha2::{Digest, Sha256};

/// The shortest interval; a shorter one is taken as this.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// Slots of a cron pattern that are counted after a long sleep. Each is a walk through the calendar, so that a
/// fleet of thousands that slept for a year must not count them all before anything runs again.
const CRON_COUNT_LIMIT: u64 = 100;

/// How often a probe is due.
#[derive(Clone, Debug)]
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

/// The times at which one probe is due.
#[derive(Clone, Debug)]
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
    /// below `jitter`, and never up to the next slot.
    pub fn new(
        cadence: Cadence,
        jitter: Duration,
        blackouts: Vec<Blackout>,
        identity: &str,
    ) -> Self {
        let cadence = match cadence {
            Cadence::Every(interval) => Cadence::Every(interval.max(SHORTEST_INTERVAL)),
            cron @ Cadence::Cron { .. } => cron,
        };
        Self {
            cadence,
            jitter,
            blackouts,
            identity: identity.to_owned(),
        }
    }

    /// Reads a cron pattern: minute, hour, day of month, month and day of week, optionally with a field of
    /// seconds in front, with names, lists, ranges, steps, `L`, `W`, `#` and nicknames such as `@daily`.
    ///
    /// # Errors
    ///
    /// Says which field is wrong and what it may hold, or that the pattern never comes true.
    pub fn parse_cron(pattern: &str) -> Result<Cron, String> {
        parse_cron(pattern)
    }

    /// The first slot strictly after `now`. `None` where the calendar ends.
    pub fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.cadence {
            Cadence::Every(interval) => self.slot(*interval, self.latest_index(*interval, now) + 1),
            Cadence::Cron { pattern, zone } => self.next_of_cron(pattern, zone, now),
        }
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
    /// Costs the same for a second as for a century, so that a clock set by years stalls nothing.
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
                let first = next_nominal(pattern, zone, now)?;
                let second = next_nominal(pattern, zone, first)?;
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
        let jitter = self.jitter_at(k, self.jitter.min(interval));
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
            return next_nominal(pattern, zone, now);
        }
        // A slot whose nominal time is over may be due only now, by its jitter.
        let mut nominal = next_nominal(pattern, zone, now.checked_sub(self.jitter).ok()?)?;
        loop {
            let following = next_nominal(pattern, zone, nominal)?;
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

/// The first time of a cron pattern strictly after `after`, before any jitter.
///
/// When clocks change, a pattern that names its hours follows the wall clock, so that no day is skipped and
/// none fires twice: what falls into an hour that is left out runs once, an hour later, and a repeated hour
/// counts once. A pattern for every hour or every n-th follows elapsed time, so that its runs keep their distance.
fn next_nominal(pattern: &Cron, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    if names_hours(pattern) {
        pattern
            .iter_after(zone.to_datetime(after))
            .filter_map(|wall_clock| instant(zone, wall_clock))
            .find(|slot| *slot > after)
    } else {
        let zoned = after.to_zoned(zone.clone());
        let next = pattern.find_next_occurrence(&zoned, false).ok()?;
        Some(next.timestamp())
    }
}

/// Whether the field of hours lists hours instead of a wildcard; it is the second of five, the third of six.
fn names_hours(pattern: &Cron) -> bool {
    let fields: Vec<&str> = pattern.as_str().split_whitespace().collect();
    let hours = if fields.len() == 5 { 1 } else { 2 };
    fields
        .get(hours)
        .is_some_and(|field| !field.starts_with('*'))
}

/// The instant of a wall clock's reading, as RFC 5545 has it: the earlier of two, and past a gap.
fn instant(zone: &TimeZone, wall_clock: DateTime) -> Option<Timestamp> {
    zone.to_ambiguous_timestamp(wall_clock).compatible().ok()
}

/// The fields of a cron pattern with what they may hold, seconds first.
const CRON_FIELDS: [(&str, &str); 6] = [
    ("seconds", "0-59"),
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of month", "1-31, L or W"),
    ("month", "1-12 or jan-dec"),
    ("day of week", "0-7 or sun-sat, L or #"),
];

fn parse_cron(pattern: &str) -> Result<Cron, String> {
    let parser = CronParser::builder().year(Year::Disallowed).build();
    let fields: Vec<&str> = pattern.split_whitespace().collect();
    let nickname = fields.len() == 1 && pattern.trim().starts_with('@');
    if nickname {
        return parser.parse(pattern).map_err(|_| {
            format!("`{pattern}` is no nickname; there are @hourly, @daily, @weekly, @monthly and @yearly")
        });
    }
    if !(5..=6).contains(&fields.len()) {
        return Err(format!(
            "a cron pattern has 5 fields, minute, hour, day of month, month and day of week, or 6 with seconds in \
             front; `{pattern}` has {}",
            fields.len()
        ));
    }
    let cron = parser.parse(pattern).map_err(|error| {
        let offset = CRON_FIELDS.len() - fields.len();
        let wrong = (0..fields.len()).find(|&at| {
            let mut alone = vec!["*"; fields.len()];
            alone[at] = fields[at];
            parser.parse(&alone.join(" ")).is_err()
        });
        match wrong {
            Some(at) => {
                let (name, holds) = CRON_FIELDS[at + offset];
                format!(
                    "the {name} field `{}` of the cron pattern `{pattern}` is wrong; it may hold `*`, {holds}, and \
                     lists, ranges and steps of these",
                    fields[at]
                )
            }
            None => format!("the cron pattern `{pattern}` is wrong: {error}"),
        }
    })?;
    // Leap years and weekdays repeat within 40 years, so what has not come by then never will.
    let start = Date::constant(2000, 1, 1).to_datetime(Time::midnight());
    match cron.find_next_occurrence(&start, true) {
        Ok(first) if first.year() < 2041 => Ok(cron),
        _ => Err(format!(
            "no date ever matches the cron pattern `{pattern}`; check its day of month against its month"
        )),
    }
}

/// A window of every week in which no run starts.
#[derive(Clone, Debug)]
pub struct Blackout {
    /// On which days it begins, Monday first.
    days: [bool; 7],
    /// The first minute of it.
    from: Minute,
    /// The first minute after it; not after `from` when it lasts past midnight.
    to: Minute,
    zone: TimeZone,
}

impl Blackout {
    /// Reads a window such as `mon-fri`, `22:00`, `06:00`, which begins on the days named and may last past
    /// midnight. No days mean every day; `24:00` is the end of a day.
    ///
    /// # Errors
    ///
    /// Says what is wrong and how it would be right.
    pub fn parse(days: &str, from: &str, to: &str, zone: TimeZone) -> Result<Self, String> {
        let (from, to): (Minute, Minute) = (from.parse()?, to.parse()?);
        if from == Minute::END_OF_DAY {
            return Err(
                "a blackout cannot begin at 24:00; write 00:00 and the day after".to_owned(),
            );
        }
        if from == to {
            return Err(format!(
                "the blackout begins and ends at {from}; a whole day is 00:00 to 24:00"
            ));
        }
        Ok(Self {
            days: parse_days(days)?,
            from,
            to,
            zone,
        })
    }

    /// Whether `at` lies inside the window on the zone's wall clock. The beginning does, the end does not.
    pub fn covers(&self, at: Timestamp) -> bool {
        self.begun_on(at).is_some()
    }

    /// The end of the window that covers `at`; `None` if none does.
    pub fn until(&self, at: Timestamp) -> Option<Timestamp> {
        let begun_on = self.begun_on(at)?;
        let past_midnight = self.to <= self.from || self.to == Minute::END_OF_DAY;
        let ends_on = if past_midnight {
            begun_on.tomorrow().ok()?
        } else {
            begun_on
        };
        instant(&self.zone, ends_on.to_datetime(self.to.time()))
    }

    /// The day on which the window that covers `at` began.
    fn begun_on(&self, at: Timestamp) -> Option<Date> {
        let wall_clock = self.zone.to_datetime(at);
        let minute = Minute::of(wall_clock.time());
        let today = wall_clock.date();
        let yesterday = today.yesterday().ok();
        if self.from < self.to {
            (self.on(today) && self.from <= minute && minute < self.to).then_some(today)
        } else if minute >= self.from && self.on(today) {
            Some(today)
        } else {
            yesterday.filter(|day| minute < self.to && self.on(*day))
        }
    }

    fn on(&self, day: Date) -> bool {
        self.days[day.weekday().to_monday_zero_offset().unsigned_abs() as usize]
    }
}

/// A minute of the day, from 00:00 to 24:00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Minute(u16);

impl Minute {
    const END_OF_DAY: Self = Self(24 * 60);

    fn of(time: Time) -> Self {
        Self(u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs()))
    }

    /// As a time of day; the end of a day is the beginning of the next.
    fn time(self) -> Time {
        let of_day = self.0 % Self::END_OF_DAY.0;
        Time::midnight() + (i64::from(of_day)).minutes()
    }
}

impl FromStr for Minute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no time of day; write hours and minutes as in 22:00, at most 24:00"
            )
        };
        let (hour, minute) = text.trim().split_once(':').ok_or_else(wrong)?;
        let digits = |field: &str| field.len() <= 2 && field.bytes().all(|b| b.is_ascii_digit());
        if !digits(hour) || !digits(minute) || minute.len() != 2 {
            return Err(wrong());
        }
        let hour: u16 = hour.parse().map_err(|_| wrong())?;
        let minute: u16 = minute.parse().map_err(|_| wrong())?;
        let of_day = Self(hour * 60 + minute);
        if minute > 59 || of_day > Self::END_OF_DAY {
            return Err(wrong());
        }
        Ok(of_day)
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

const DAY_NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Reads days and ranges of days, separated by commas; nothing means every day.
fn parse_days(text: &str) -> Result<[bool; 7], String> {
    if text.trim().is_empty() {
        return Ok([true; 7]);
    }
    let mut days = [false; 7];
    for item in text.split(',') {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let day = |name| parse_day(name).ok_or_else(|| wrong_day(item));
        let (first, last) = (day(first)?, day(last)?);
        // A range may wrap: sat-mon is Saturday, Sunday and Monday.
        let length = (last + 7 - first) % 7;
        for day in first..=first + length {
            days[day % 7] = true;
        }
    }
    Ok(days)
}

fn parse_day(name: &str) -> Option<usize> {
    DAY_NAMES
        .iter()
        .position(|day| day.eq_ignore_ascii_case(name.trim()))
}

fn wrong_day(item: &str) -> String {
    format!(
        "`{item}` is no day; write mon, tue, wed, thu, fri, sat or sun, as in mon-fri or sat,sun"
    )
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
    fn cron_neither_skips_a_day_nor_fires_twice_when_clocks_change() {
        // In 2026 Berlin leaves out 02:00-03:00 on 29 March and repeats it on 25 October.
        for (pattern, after, expected) in [
            (
                "30 2 * * *",
                "2026-03-28T00:00:00Z",
                [
                    "2026-03-28T01:30:00Z",
                    "2026-03-29T01:30:00Z",
                    "2026-03-30T00:30:00Z",
                ],
            ),
            (
                "30 2 * * *",
                "2026-10-24T00:00:00Z",
                [
                    "2026-10-24T00:30:00Z",
                    "2026-10-25T00:30:00Z",
                    "2026-10-26T01:30:00Z",
                ],
            ),
            // More than one hour: the repeated 02:00 still fires once, the missing one is made good once.
            (
                "0 2,14 * * *",
                "2026-10-24T23:00:00Z",
                [
                    "2026-10-25T00:00:00Z",
                    "2026-10-25T13:00:00Z",
                    "2026-10-26T01:00:00Z",
                ],
            ),
            (
                "0,30 2 * * *",
                "2026-03-29T00:00:00Z",
                [
                    "2026-03-29T01:00:00Z",
                    "2026-03-30T00:00:00Z",
                    "2026-03-30T00:30:00Z",
                ],
            ),
            // The hour after the gap is not run twice for the hour in it.
            (
                "30 2,3 * * *",
                "2026-03-29T00:00:00Z",
                [
                    "2026-03-29T01:30:00Z",
                    "2026-03-30T00:30:00Z",
                    "2026-03-30T01:30:00Z",
                ],
            ),
            // A cadence goes on by elapsed time.
            (
                "*/30 * * * *",
                "2026-10-25T00:30:00Z",
                [
                    "2026-10-25T01:00:00Z",
                    "2026-10-25T01:30:00Z",
                    "2026-10-25T02:00:00Z",
                ],
            ),
            (
                "0 * * * *",
                "2026-03-29T00:00:00Z",
                [
                    "2026-03-29T01:00:00Z",
                    "2026-03-29T02:00:00Z",
                    "2026-03-29T03:00:00Z",
                ],
            ),
        ] {
            let schedule = cron(pattern, NO_JITTER);
            let found: Vec<Timestamp> = slots(&schedule, after).take(3).collect();
            assert_eq!(found, expected.map(at), "{pattern} after {after}");
        }
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
    fn a_cron_pattern_is_read_or_its_wrong_field_is_named() {
        for good in [
            "*/15 * * * *",
            "0 30 6 * * mon-fri",
            "0 0 L * *",
            "0 0 15W * *",
            "0 9 * * 1#1",
            "0 0 29 2 *",
            "@daily",
        ] {
            assert!(Schedule::parse_cron(good).is_ok(), "{good}");
        }
        let wrong = [
            "",
            "* * * *",
            "60 * * * *",
            "0 25 * * *",
            "0 0 0 * *",
            "* * * * * fry",
            "0 0 31 2 *",
            "0 0 1 1 * 0 2030",
            "@often",
        ];
        let mistakes = wrong.map(|pattern| Schedule::parse_cron(pattern).unwrap_err());
        insta::assert_snapshot!(mistakes.join("\n"), @r"
        a cron pattern has 5 fields, minute, hour, day of month, month and day of week, or 6 with seconds in front; `` has 0
        a cron pattern has 5 fields, minute, hour, day of month, month and day of week, or 6 with seconds in front; `* * * *` has 4
        the minute field `60` of the cron pattern `60 * * * *` is wrong; it may hold `*`, 0-59, and lists, ranges and steps of these
        the hour field `25` of the cron pattern `0 25 * * *` is wrong; it may hold `*`, 0-23, and lists, ranges and steps of these
        the day of month field `0` of the cron pattern `0 0 0 * *` is wrong; it may hold `*`, 1-31, L or W, and lists, ranges and steps of these
        the day of week field `fry` of the cron pattern `* * * * * fry` is wrong; it may hold `*`, 0-7 or sun-sat, L or #, and lists, ranges and steps of these
        no date ever matches the cron pattern `0 0 31 2 *`; check its day of month against its month
        a cron pattern has 5 fields, minute, hour, day of month, month and day of week, or 6 with seconds in front; `0 0 1 1 * 0 2030` has 7
        `@often` is no nickname; there are @hourly, @daily, @weekly, @monthly and @yearly
        ");
    }

    #[test]
    fn a_blackout_covers_its_days_even_past_midnight() {
        // 2 March 2026 is a Monday; Berlin is an hour ahead of UTC.
        for (days, from, to, moment, covered) in [
            ("mon-fri", "08:00", "18:00", "2026-03-02T06:59:59Z", false),
            ("mon-fri", "08:00", "18:00", "2026-03-02T07:00:00Z", true),
            ("mon-fri", "08:00", "18:00", "2026-03-02T16:59:59Z", true),
            ("mon-fri", "08:00", "18:00", "2026-03-02T17:00:00Z", false),
            ("mon-fri", "08:00", "18:00", "2026-03-07T09:00:00Z", false),
            ("mon", "22:00", "06:00", "2026-03-02T22:30:00Z", true),
            ("mon", "22:00", "06:00", "2026-03-03T04:59:00Z", true),
            ("mon", "22:00", "06:00", "2026-03-03T05:00:00Z", false),
            ("mon", "22:00", "06:00", "2026-03-02T04:59:00Z", false),
            ("sat,sun", "00:00", "24:00", "2026-03-08T22:59:59Z", true),
            ("sat,sun", "00:00", "24:00", "2026-03-08T23:00:00Z", false),
            ("sat-mon", "00:00", "24:00", "2026-03-02T12:00:00Z", true),
            ("", "12:00", "13:00", "2026-03-04T11:30:00Z", true),
        ] {
            let blackout = Blackout::parse(days, from, to, berlin()).unwrap();
            let case = format!("{days} {from}-{to} at {moment}");
            assert_eq!(blackout.covers(at(moment)), covered, "{case}");
            if let Some(end) = blackout.until(at(moment)) {
                assert!(covered && !blackout.covers(end), "{case} ends at {end}");
                assert!(blackout.covers(end - 1.second()), "{case} ends at {end}");
            }
        }
    }

    #[test]
    fn a_wrong_blackout_says_how_it_would_be_right() {
        let mistakes = [
            ("montag", "22:00", "06:00"),
            ("mon-", "22:00", "06:00"),
            ("mon", "22", "06:00"),
            ("mon", "24:00", "06:00"),
            ("mon", "22:00", "24:01"),
            ("mon", "00:00", "00:00"),
        ]
        .map(|(days, from, to)| Blackout::parse(days, from, to, berlin()).unwrap_err());
        insta::assert_snapshot!(mistakes.join("\n"), @r"
        `montag` is no day; write mon, tue, wed, thu, fri, sat or sun, as in mon-fri or sat,sun
        `mon-` is no day; write mon, tue, wed, thu, fri, sat or sun, as in mon-fri or sat,sun
        `22` is no time of day; write hours and minutes as in 22:00, at most 24:00
        a blackout cannot begin at 24:00; write 00:00 and the day after
        `24:01` is no time of day; write hours and minutes as in 22:00, at most 24:00
        the blackout begins and ends at 00:00; a whole day is 00:00 to 24:00
        ");
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
                count: 900,
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
