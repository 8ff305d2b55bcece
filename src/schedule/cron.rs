//! Cron patterns: how they are read, and when they come true on a wall clock that jumps twice a year.

use croner::Cron;
use croner::parser::{CronParser, Year};
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::instant;

/// The fields of a cron pattern with what they may hold, seconds first.
const CRON_FIELDS: [(&str, &str); 6] = [
    ("seconds", "0-59"),
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of month", "1-31, L or W"),
    ("month", "1-12 or jan-dec"),
    ("day of week", "0-7 or sun-sat, L or #"),
];

/// As [`Schedule::parse_cron`](super::Schedule::parse_cron).
pub(super) fn parse(pattern: &str) -> Result<Cron, String> {
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

/// The first time of a cron pattern strictly after `after`, before any jitter.
///
/// When clocks change, a pattern that names its hours follows the wall clock, so that no day is skipped and
/// none fires twice: what falls into an hour that is left out runs once, an hour later, and a repeated hour
/// counts once. A pattern for every hour or every n-th follows elapsed time, so that its runs keep their distance.
pub(super) fn next_after(pattern: &Cron, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
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
            let cron = parse(pattern).unwrap();
            let next = |after| next_after(&cron, &berlin(), after);
            let found: Vec<Timestamp> = std::iter::successors(next(at(after)), |slot| next(*slot))
                .take(3)
                .collect();
            assert_eq!(found, expected.map(at), "{pattern} after {after}");
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
            assert!(parse(good).is_ok(), "{good}");
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
        let mistakes = wrong.map(|pattern| parse(pattern).unwrap_err());
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
}
