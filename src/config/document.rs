//! YAML text in, a tree with places out: the only file that knows how YAML is parsed.
//!
//! The tree keeps what a derived `Deserialize` would lose: where each key and value stands, how a scalar
//! was written (`driver: 580.10` is not 580.1), and keys that are given twice. YAML is read as version
//! 1.2: `no` and `1_000` are text. Anchors, aliases and `<<` work, within limits that keep a
//! small file from growing into a large tree.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{
    DuplicateKeyPolicy, Error, Location, MessageFormatter, NonFiniteFloatPolicy, Options, Spanned,
    UserMessageFormatter,
};

use super::source::Fault;

/// Nested lists and maps: three times what the configuration needs, and bounded because each level
/// takes stack.
const MAX_DEPTH: usize = 24;

/// What aliases may add to the tree, in parser events.
const MAX_ALIASED: usize = 100_000;

/// One value of the document.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    /// In the order of the file; a key may come twice.
    Map(Vec<Entry>),
}

#[derive(Debug)]
pub(super) struct Scalar {
    /// As written, or unquoted where there were quotes.
    pub(super) text: String,
    pub(super) kind: Kind,
}

/// What a scalar is by the rules of YAML.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Text,
    Flag(bool),
    Whole(i128),
    Real(f64),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

/// A stretch of characters in one line, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) width: usize,
}

impl Place {
    fn of(location: Location) -> Self {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Self {
            line: number(location.line()),
            column: number(location.column()),
            width: number(location.span().len()).max(1),
        }
    }
}

/// The tree of `text`, or the first thing in it that is no YAML.
pub(super) fn parse(text: &str) -> Result<Node, (Option<Place>, Fault)> {
    serde_saphyr::from_str_with_options::<Located>(text, options())
        .map(|root| node(root.0, text))
        .map_err(|error| (error.location().map(Place::of), fault(&error)))
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH, flow_nesting_limit: MAX_DEPTH },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_ALIASED },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn fault(error: &Error) -> Fault {
    let message = UserMessageFormatter.format_message(error).into_owned();
    match error {
        Error::MultipleDocuments { .. } => Fault::new(
            "a second YAML document begins here",
            "keep one document a file: delete the `---` and merge what follows",
        ),
        Error::UnknownAnchor { .. } => Fault::new(
            "this alias has no anchor",
            "define `&name` before `*name`, or put quotes around the text if it just begins with `*`",
        ),
        Error::NullIntoString { .. } | Error::Unexpected { .. } => {
            Fault::new("a key must be text", "name the field, or quote the key")
        }
        Error::AliasError { error, .. } => fault(error),
        Error::UnsupportedTag { .. } => Fault::new(
            message,
            "delete the tag, or quote the text if it just begins with `!`",
        ),
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } => Fault::new(
            "the document is nested too deeply, or grows too large by its aliases",
            "use less nesting and fewer aliases",
        ),
        _ if message.contains("recursion limit") => {
            Fault::new("lists and maps are nested too deeply", "use less nesting")
        }
        _ if message.contains("unexpected character") => Fault::new(
            message,
            "put quotes around text that begins with such a character",
        ),
        _ if message.contains("tab") => Fault::new(message, "indent with spaces, never with tabs"),
        _ => Fault::new(
            message,
            "check the indentation, quotes, brackets and colons here and in the line above",
        ),
    }
}

/// A value on its way out of the parser, before its places are put to use.
struct Located(Spanned<Raw>);

enum Raw {
    Null,
    Scalar(Scalar),
    List(Vec<Located>),
    Map(Vec<(Spanned<String>, Located)>),
}

fn node(located: Spanned<Raw>, text: &str) -> Node {
    let span = located.defined.span();
    let written = || {
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let length = usize::try_from(span.byte_len()?).ok()?;
        text.get(start..start + length)
    };
    let value = match located.value {
        Raw::Null => Value::Null,
        Raw::Scalar(scalar) if scalar.kind == Kind::Text => Value::Scalar(scalar),
        Raw::Scalar(scalar) => Value::Scalar(Scalar {
            text: written().map_or(scalar.text, |text| text.trim().to_owned()),
            ..scalar
        }),
        Raw::List(items) => Value::List(items.into_iter().map(|item| node(item.0, text)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry {
                    place: Place::of(key.defined),
                    key: key.value,
                    node: node(value.0, text),
                })
                .collect(),
        ),
    };
    Node {
        place: Place::of(located.defined),
        value,
    }
}

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Raw, E> {
        Ok(scalar(flag, Kind::Flag(flag)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Raw, E> {
        Ok(scalar(number, Kind::Whole(number.into())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Raw, E> {
        Ok(scalar(number, Kind::Whole(number.into())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Raw, E> {
        Ok(scalar(number, Kind::Real(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(scalar(text, Kind::Text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

fn scalar(text: impl ToString, kind: Kind) -> Raw {
    Raw::Scalar(Scalar {
        text: text.to_string(),
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Vec<Entry> {
        match parse(text).unwrap().value {
            Value::Map(entries) => entries,
            other => panic!("no map: {other:?}"),
        }
    }

    #[test]
    fn scalars_follow_yaml_1_2_and_keep_their_spelling() {
        for (written, text, kind) in [
            ("no", "no", Kind::Text),
            ("true", "true", Kind::Flag(true)),
            ("22:00", "22:00", Kind::Text),
            ("0123", "0123", Kind::Text),
            ("1_000", "1_000", Kind::Text),
            ("64", "64", Kind::Whole(64)),
            ("'64'", "64", Kind::Text),
            ("580.10", "580.10", Kind::Real(580.1)),
            (".inf", ".inf", Kind::Text),
            ("-7", "-7", Kind::Whole(-7)),
        ] {
            let entries = map(&format!("ü: {written} # note\n"));
            let Value::Scalar(scalar) = &entries[0].node.value else {
                panic!("{written}");
            };
            assert_eq!(
                (scalar.text.as_str(), scalar.kind),
                (text, kind),
                "{written}"
            );
        }
    }

    #[test]
    fn keys_and_values_know_their_place() {
        let entries = map("\r\nfirst: 1\r\nsecond: { third: abc }\r\n");
        let place = |line, column, width| Place {
            line,
            column,
            width,
        };
        assert_eq!(entries[0].place, place(2, 1, 5));
        assert_eq!(entries[0].node.place, place(2, 8, 1));
        let Value::Map(inner) = &entries[1].node.value else {
            panic!("{entries:?}");
        };
        assert_eq!(inner[0].place, place(3, 11, 5));
        assert_eq!(inner[0].node.place, place(3, 18, 3));
    }

    #[test]
    fn a_key_given_twice_is_kept_and_one_merged_in_is_overridden() {
        let keys = |text| {
            map(text)
                .into_iter()
                .map(|entry| entry.key)
                .collect::<Vec<_>>()
        };
        assert_eq!(keys("a: 1\na: 2\n"), ["a", "a"]);
        assert_eq!(keys("<<: { a: 1, b: 2 }\na: 3\n"), ["a", "b"]);
    }

    #[test]
    fn a_small_file_cannot_grow_into_a_large_tree() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let below = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb += &format!("a{level}: &a{level} [{below}]\n");
        }
        let (place, fault) = parse(&bomb).unwrap_err();
        assert!(place.is_some());
        assert_eq!(fault.mend, "use less nesting and fewer aliases");
        for deep in [
            "[".repeat(10_000),
            "{a: ".repeat(10_000),
            (0..1000).map(|n| " ".repeat(n) + "a:\n").collect(),
            "- ".repeat(10_000),
        ] {
            let (_, fault) = parse(&deep).unwrap_err();
            assert!(fault.mend.contains("less nesting"), "{fault:?}");
        }
    }
}
