//! Single values as users write them: durations, sizes, names, time zones.
//!
//! Each function takes text and gives a value, or says what is wrong and how it would be right.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo};

use super::likeness::{closest, unknown};
use super::source::Fault;

/// Characters in a name: more would burden every series that carries it as a label.
const NAME_LENGTH: usize = 128;

/// The longest duration that is taken for one: a year.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The longest that anything is kept: ten years.
const LONGEST_RETENTION: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// A duration such as `15m`, `30s`, `1h30m` or `500ms`; a day is 24 hours.
pub(super) fn duration(text: &str) -> Result<Duration, Fault> {
    up_to(LONGEST, "a year", text)
}

/// How long something is kept: an hour to ten years.
pub(super) fn retention(text: &str) -> Result<Duration, Fault> {
    let duration = up_to(LONGEST_RETENTION, "ten years", text)?;
    if duration < Duration::from_secs(60 * 60) {
        return Err(Fault::new(
            format!("`{text}` is too short to keep anything for"),
            "write an hour or more, such as `14d`",
        ));
    }
    Ok(duration)
}

fn up_to(longest: Duration, in_words: &str, text: &str) -> Result<Duration, Fault> {
    if text.trim().parse::<f64>().is_ok() {
        return Err(Fault::new(
            format!("the duration `{text}` has no unit"),
            with_units(text.trim()),
        ));
    }
    let unclear = |_| {
        Fault::new(
            format!("`{text}` is no duration"),
            "write numbers with the units `d`, `h`, `m`, `s` or `ms`, as in `15m`, `30s` or `1h30m`",
        )
    };
    let span: Span = text.trim().parse().map_err(unclear)?;
    let days_are_24_hours = SpanRelativeTo::days_are_24_hours();
    let signed = span.to_duration(days_are_24_hours).map_err(unclear)?;
    let duration = Duration::try_from(signed).map_err(|_| {
        Fault::new(
            format!("`{text}` is negative"),
            "write a duration of zero or more",
        )
    })?;
    if duration > longest {
        return Err(Fault::new(
            format!("`{text}` is too long"),
            format!("write a duration of {in_words} or less"),
        ));
    }
    Ok(duration)
}

fn with_units(number: &str) -> String {
    match number.parse::<u64>() {
        Ok(seconds) if seconds > 0 && seconds.is_multiple_of(60) => {
            format!(
                "write `{seconds}s` or `{}m` if seconds are meant",
                seconds / 60
            )
        }
        _ => format!("write `{number}s` if seconds are meant"),
    }
}

/// A duration that is not zero.
pub(super) fn some_time(text: &str) -> Result<Duration, Fault> {
    let duration = duration(text)?;
    if duration.is_zero() {
        return Err(Fault::new(
            "the duration is zero",
            "write a longer one, such as `30s`",
        ));
    }
    Ok(duration)
}

/// A number of bytes with its unit, such as `64MiB`.
pub(super) fn bytes(text: &str) -> Result<u64, Fault> {
    const UNITS: [(&str, u64); 8] = [
        ("B", 1),
        ("kB", 1000),
        ("KB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ];
    let unclear = || {
        Fault::new(
            format!("`{text}` is no size"),
            "write a whole number with a unit, as in `64MiB`",
        )
    };
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| unclear())?;
    if unit.is_empty() {
        return Err(Fault::new(
            format!("the size `{text}` has no unit"),
            format!("write `{text}B` if bytes are meant, or a size such as `64MiB`"),
        ));
    }
    let (_, factor) = UNITS
        .iter()
        .find(|(name, _)| *name == unit.trim())
        .ok_or_else(unclear)?;
    number
        .checked_mul(*factor)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(unclear)
}

/// What can be a label's value and be read on a graph: printable, not blank at its ends, not long.
pub(super) fn name(text: &str) -> Result<String, Fault> {
    let wrong = |problem| {
        Fault::new(
            problem,
            "write a short printable name, such as `qwen3-32b-nvfp4`",
        )
    };
    if text.trim().is_empty() {
        return Err(wrong("the name is empty".to_owned()));
    }
    if text.trim() != text {
        return Err(wrong("the name begins or ends with a blank".to_owned()));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong("the name has a control character in it".to_owned()));
    }
    let length = text.chars().count();
    if length > NAME_LENGTH {
        return Err(wrong(format!(
            "the name has {length} characters, more than {NAME_LENGTH}"
        )));
    }
    Ok(text.to_owned())
}

/// What a header may say that is no secret: visible ASCII, and blanks within.
pub(super) fn header(text: &str) -> Result<String, Fault> {
    let sendable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if text.is_empty() || text.trim() != text || !text.bytes().all(sendable) {
        return Err(Fault::new(
            "an HTTP header cannot carry this: it is empty, begins or ends with a blank, or is not ASCII",
            "write visible ASCII characters",
        ));
    }
    Ok(text.to_owned())
}

/// A zone of the IANA time zone database, such as `Europe/Berlin`.
pub(super) fn zone(text: &str) -> Result<TimeZone, Fault> {
    TimeZone::get(text).map_err(|_| {
        let names: Vec<String> = jiff::tz::db()
            .available()
            .map(|name| name.to_string())
            .collect();
        match closest(text, names.iter().map(String::as_str)) {
            Some(_) => unknown("unknown time zone", text, names.iter().map(String::as_str)),
            None => Fault::new(
                format!("unknown time zone `{text}`"),
                if names.is_empty() {
                    "install the system's time zone data (tzdata), or write `UTC`"
                } else {
                    "write a name such as `UTC` or `Europe/Berlin`"
                },
            ),
        }
    })
}

/// A name that Prometheus accepts for a label, and that no label of the prober's own has.
pub(super) fn label_name(text: &str) -> Result<(), Fault> {
    const RESERVED: [&str; 15] = [
        "deployment",
        "workload",
        "family",
        "precision",
        "model",
        "lane",
        "vllm_version",
        "driver",
        "cuda",
        "gpu",
        "mig_profile",
        "quantization",
        "job",
        "instance",
        "le",
    ];
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    let starts_well = text.starts_with(letter);
    if !starts_well || !text.chars().all(|c| letter(c) || c.is_ascii_digit()) {
        return Err(Fault::new(
            format!("`{text}` is no label name"),
            "write letters, digits and `_`, and begin with a letter, as in `cost_center`",
        ));
    }
    if text.starts_with("__") || RESERVED.contains(&text) {
        return Err(Fault::new(
            format!("the label `{text}` is taken by the prober or by Prometheus"),
            format!(
                "give it another name, such as `my_{}`",
                text.trim_start_matches('_')
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_say_how_they_are_written() {
        for (text, seconds) in [
            ("15m", 900.0),
            ("30s", 30.0),
            ("1h30m", 5400.0),
            ("1h 30m", 5400.0),
            ("500ms", 0.5),
            ("1d", 86_400.0),
            ("0s", 0.0),
        ] {
            assert_eq!(duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for (text, mend) in [
            ("900", "write `900s` or `15m` if seconds are meant"),
            ("0.5", "write `0.5s` if seconds are meant"),
            ("-5m", "write a duration of zero or more"),
            ("1mo", "write numbers with the units"),
            ("soon", "write numbers with the units"),
            ("", "write numbers with the units"),
            ("400d", "write a duration of a year or less"),
        ] {
            let fault = duration(text).unwrap_err();
            assert!(fault.mend.starts_with(mend), "{text}: {fault:?}");
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("10 MB"), Ok(10_000_000));
        for text in [
            "64",
            "MiB",
            "1.5MiB",
            "64mib",
            "0B",
            "99999999999GiB",
            "-1B",
            "",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_are_short_and_printable() {
        assert!(name("Qwen3 32B · Zürich").is_ok());
        for text in ["", "  ", " a", "a\n", "a\u{7}b", &"a".repeat(129)] {
            assert!(name(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_misspelt_zone_is_recognised() {
        assert!(zone("UTC").is_ok());
        assert_eq!(
            zone("Europe/Berln").unwrap_err().mend,
            "write `Europe/Berlin`"
        );
    }

    #[test]
    fn label_names_are_prometheus_own_and_not_ours() {
        for (text, good) in [
            ("team", true),
            ("cost_center", true),
            ("model", false),
            ("__name__", false),
            ("cost-center", false),
            ("9lives", false),
            ("", false),
        ] {
            assert_eq!(label_name(text).is_ok(), good, "{text}");
        }
    }
}
