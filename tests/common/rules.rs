//! The shipped Prometheus rules as data: what is in an expression, how it is changed, and how it is written again.
//!
//! Of PromQL only so much is known as it takes to find its numbers, durations and operators.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A shipped file, by its path in the repository.
pub(crate) fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A YAML file, read.
pub(crate) fn yaml(path: &Path) -> Value {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Writes `value` as JSON, which is YAML too.
pub(crate) fn write(path: &Path, value: &Value) {
    std::fs::write(path, value.to_string()).expect("a file can be written");
}

/// Every rule of a rule file.
pub(crate) fn rules(file: &Value) -> Vec<Value> {
    let groups = file["groups"].as_array().expect("groups");
    let of_group = |group: &Value| group["rules"].as_array().expect("rules").clone();
    groups.iter().flat_map(of_group).collect()
}

/// What a piece of an expression is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    Duration,
    Comparison,
    /// A metric, a function or a keyword.
    Word,
}

/// The pieces of an expression that mean something by themselves; text in quotes and braces is passed over.
pub(crate) fn pieces(expression: &str) -> Vec<(Kind, Range<usize>)> {
    let bytes = expression.as_bytes();
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let run = |from: usize, is: fn(u8) -> bool| {
            bytes[from..]
                .iter()
                .position(|byte| !is(*byte))
                .map_or(bytes.len(), |n| from + n)
        };
        let (kind, end) = match bytes[at] {
            b'"' => (
                None,
                at + 2 + expression[at + 1..].find('"').expect("closed"),
            ),
            b'{' => (None, at + 1 + expression[at..].find('}').expect("closed")),
            byte if byte.is_ascii_digit() => {
                let number = run(at, |byte| byte.is_ascii_digit() || byte == b'.');
                let end = run(number, |byte| byte.is_ascii_alphanumeric());
                let kind = if end == number {
                    Kind::Number
                } else {
                    Kind::Duration
                };
                (Some(kind), end)
            }
            b'=' | b'!' | b'<' | b'>' => (
                Some(Kind::Comparison),
                run(at, |byte| matches!(byte, b'=' | b'!' | b'<' | b'>')),
            ),
            byte if byte.is_ascii_alphabetic() || byte == b'_' => (
                Some(Kind::Word),
                run(at, |byte| {
                    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':')
                }),
            ),
            _ => (None, at + 1),
        };
        pieces.extend(kind.map(|kind| (kind, at..end)));
        at = end;
    }
    pieces
}

/// `expression` with one piece replaced.
pub(crate) fn replaced(expression: &str, piece: &Range<usize>, by: &str) -> String {
    format!(
        "{}{by}{}",
        &expression[..piece.start],
        &expression[piece.end..]
    )
}

/// A duration such as `1h30m`, in milliseconds.
pub(crate) fn milliseconds(duration: &str) -> u64 {
    let mut rest = duration;
    let mut total = 0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or_else(|| panic!("{duration} has a number without a unit"));
        let number: u64 = rest[..digits]
            .parse()
            .unwrap_or_else(|_| panic!("{duration} is no duration"));
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |n| digits + n);
        let unit = match &rest[digits..unit_end] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            unit => panic!("{duration} has the unit {unit}"),
        };
        total += number * unit;
        rest = &rest[unit_end..];
    }
    total
}

/// A duration multiplied; never 0 unless it was.
pub(crate) fn times(duration: &str, factor: f64) -> String {
    let before = milliseconds(duration);
    let after = (before as f64 * factor).round().max(1.0);
    format!("{}ms", if before == 0 { 0.0 } else { after })
}

/// The rules of a file with every time constant multiplied by `factor`, as docs/alerts.md tells it: waiting times, windows,
/// offsets and group intervals, and numbers of seconds that an expression compares with `time()`.
pub(crate) fn scaled(mut file: Value, factor: f64) -> Value {
    for group in file["groups"].as_array_mut().expect("groups") {
        scale_field(group, "interval", factor);
        for rule in group["rules"].as_array_mut().expect("rules") {
            scale_field(rule, "for", factor);
            scale_field(rule, "keep_firing_for", factor);
            let expression = rule["expr"].as_str().expect("an expression");
            rule["expr"] = scaled_expression(expression, factor).into();
        }
    }
    file
}

/// Multiplies the duration in this field, if it is there.
pub(crate) fn scale_field(of: &mut Value, field: &str, factor: f64) {
    if let Some(duration) = of.get(field).and_then(Value::as_str) {
        of[field] = times(duration, factor).into();
    }
}

/// The least number that is taken for seconds.
const LEAST_SECONDS: f64 = 60.0;

pub(crate) fn scaled_expression(expression: &str, factor: f64) -> String {
    let mut scaled = expression.to_owned();
    let is_of_time = expression.contains("time()");
    // From the end, so that what is replaced moves nothing that is still to be.
    for (kind, range) in pieces(expression).into_iter().rev() {
        let piece = &expression[range.clone()];
        match kind {
            Kind::Duration => scaled = replaced(&scaled, &range, &times(piece, factor)),
            Kind::Number if is_of_time => {
                let number: f64 = piece.parse().expect("a number");
                if number >= LEAST_SECONDS {
                    scaled = replaced(&scaled, &range, &(number * factor).to_string());
                }
            }
            _ => {}
        }
    }
    scaled
}
