//! Numbers as people read them, one way on every page and with their units.
//!
//! A figure has four digits that mean something, a time the unit that suits it, and an instant is told in UTC.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::report::charts::grouped;

/// Between a number and its unit, which no line break is to part.
const SPACE: char = '\u{a0}';

/// For a figure that there is not.
pub(crate) const NONE: &str = "–";

/// A figure of any size with four digits that mean something, such as `606.5` or `12,345`.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        value if value < 9.9995 => 3,
        value if value < 99.995 => 2,
        value if value < 999.95 => 1,
        _ => 0,
    };
    grouped(&format!("{value:.digits$}"))
}

/// A number of things, such as `0` or `16,384`; one that is only an estimate may have a fraction.
pub(crate) fn amount(value: f64) -> String {
    if value.fract() == 0.0 {
        grouped(&format!("{value:.0}"))
    } else {
        number(value)
    }
}

/// A whole number of things, such as `1,000`.
pub(crate) fn whole(number: usize) -> String {
    grouped(&number.to_string())
}

/// How many of something, such as `1 run` and `12 runs`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    let word = if number == 1 { one } else { many };
    format!("{}{SPACE}{word}", whole(number))
}

/// Seconds with three digits that mean something, in milliseconds below one.
pub(crate) fn seconds(value: f64) -> String {
    let (value, unit) = if value.abs() < 0.9995 {
        (value * 1e3, "ms")
    } else {
        (value, "s")
    };
    let digits = match value.abs() {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{}{SPACE}{unit}", grouped(&format!("{value:.digits$}")))
}

/// The same of a round number of them, without zeros that tell nothing, such as `10 s` or `1.5 s`.
pub(super) fn round_seconds(value: f64) -> String {
    let told = seconds(value);
    match told.split_once(SPACE) {
        Some((number, unit)) if number.contains('.') => {
            let number = number.trim_end_matches('0').trim_end_matches('.');
            format!("{number}{SPACE}{unit}")
        }
        _ => told,
    }
}

/// A share as percent, such as `5.1 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{}{SPACE}%", percent_number(share))
}

/// The same from one share to another, such as `4.6 to 5.6 %`.
pub(super) fn percent_range(low: f64, high: f64) -> String {
    format!(
        "{} to {}{SPACE}%",
        percent_number(low),
        percent_number(high)
    )
}

fn percent_number(share: f64) -> String {
    let value = share * 100.0;
    let digits = usize::from(value.abs() < 99.95);
    let text = format!("{value:.digits$}");
    // No minus before nothing.
    match text.strip_prefix('-') {
        Some("0.0") => "0.0".to_owned(),
        Some(positive) => format!("−{positive}"),
        None => text,
    }
}

/// A ratio, such as `0.951`.
pub(crate) fn ratio(value: f64) -> String {
    format!("{value:.3}")
}

/// A span of time in its largest unit, such as `12 s`, `5 min`, `3 h` or `2 d`.
pub(crate) fn span(length: SignedDuration) -> String {
    let seconds = length.as_secs().max(0);
    let (number, unit) = match seconds {
        ..120 => (seconds, "s"),
        120..7_200 => (seconds / 60, "min"),
        7_200..172_800 => (seconds / 3_600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    format!("{}{SPACE}{unit}", grouped(&number.to_string()))
}

/// When it was, such as `14:02 UTC`, with the date unless that was on the day of `now`.
pub(crate) fn instant(at: Timestamp, now: Timestamp) -> String {
    let (at, now) = (at.to_zoned(TimeZone::UTC), now.to_zoned(TimeZone::UTC));
    let form = if at.date() == now.date() {
        "%H:%M"
    } else if at.year() == now.year() {
        "%b %-d, %H:%M"
    } else {
        "%b %-d %Y, %H:%M"
    };
    format!("{}{SPACE}UTC", at.strftime(form))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_four_digits_that_mean_something() {
        for (value, text) in [
            (606.47, "606.5"),
            (2.3690, "2.369"),
            (12.7105, "12.71"),
            (6070.4, "6,070"),
            (1_234_567.8, "1,234,568"),
            (0.0123, "0.012"),
            (0.0, "0.000"),
            (999.96, "1,000"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(grouped("-123"), "-123");
        for (value, text) in [(0.0, "0"), (16_384.0, "16,384"), (12.5, "12.50")] {
            assert_eq!(amount(value), text);
        }
        assert_eq!(count(1, "run", "runs"), "1\u{a0}run");
        assert_eq!(count(1_200, "run", "runs"), "1,200\u{a0}runs");
    }

    #[test]
    fn a_time_has_the_unit_that_suits_it() {
        for (value, text) in [
            (0.0123, "12.3 ms"),
            (0.00123, "1.23 ms"),
            (0.674, "674 ms"),
            (0.9999, "1.00 s"),
            (6.7577, "6.76 s"),
            (12.71, "12.7 s"),
            (1200.0, "1,200 s"),
        ] {
            assert_eq!(seconds(value).replace(SPACE, " "), text);
        }
        for (value, text) in [
            (10.0, "10 s"),
            (1.5, "1.5 s"),
            (0.05, "50 ms"),
            (200.0, "200 s"),
        ] {
            assert_eq!(round_seconds(value).replace(SPACE, " "), text);
        }
        for (value, text) in [
            (-3, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_199, "119 min"),
            (7_200, "2 h"),
            (200_000, "2 d"),
        ] {
            let length = SignedDuration::from_secs(value);
            assert_eq!(span(length).replace(SPACE, " "), text);
        }
    }

    #[test]
    fn a_share_is_told_in_percent() {
        assert_eq!(percent(0.0512).replace(SPACE, " "), "5.1 %");
        assert_eq!(percent(1.25).replace(SPACE, " "), "125 %");
        assert_eq!(
            percent_range(-0.0031, -0.00001).replace(SPACE, " "),
            "−0.3 to 0.0 %"
        );
        assert_eq!(ratio(0.95123), "0.951");
    }

    #[test]
    fn an_instant_of_another_day_has_its_date() {
        let now = "2026-03-02T12:00:00Z".parse().unwrap();
        let told = |at: &str| instant(at.parse().unwrap(), now).replace(SPACE, " ");
        assert_eq!(told("2026-03-02T09:05:00Z"), "09:05 UTC");
        assert_eq!(told("2026-03-01T23:59:00Z"), "Mar 1, 23:59 UTC");
        assert_eq!(told("2025-12-31T23:59:00Z"), "Dec 31 2025, 23:59 UTC");
    }
}
