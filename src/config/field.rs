//! Reads typed values out of the document and notes what is wrong with them, all of it.
//!
//! A field that cannot be read is noted and reads as `None`; the caller goes on with a default. That
//! is safe because a configuration with a mistake is never handed out, so no default outlives one.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use std::path::Path;

use super::document::{Kind, Node, Scalar, Value};
use super::finding::Severity;
use super::likeness::unknown;
use super::notes::Notes;
use super::section::Key;
use super::source::Fault;

/// A value of the document, and the way to it.
#[derive(Clone)]
pub(super) struct Field<'a> {
    notes: &'a Notes<'a>,
    node: &'a Node,
    path: String,
}

impl<'a> Field<'a> {
    pub(super) fn root(notes: &'a Notes<'a>, node: &'a Node) -> Self {
        Self {
            notes,
            node,
            path: String::new(),
        }
    }

    pub(super) fn mistake(&self, message: impl Into<String>, mend: impl Into<String>) {
        self.fault(Fault::new(message, mend));
    }

    pub(super) fn fault(&self, fault: Fault) {
        self.note(Severity::Mistake, fault);
    }

    pub(super) fn warning(&self, message: impl Into<String>, mend: impl Into<String>) {
        self.note(Severity::Warning, Fault::new(message, mend));
    }

    fn note(&self, severity: Severity, fault: Fault) {
        self.notes
            .add(severity, Some(self.node.place), self.path.clone(), fault);
    }

    /// The line it stands in, for messages that point from one place to another.
    pub(super) fn line(&self) -> usize {
        self.node.place.line
    }

    /// Notes that the configuration is also what is in `file`, which is `text`.
    pub(super) fn is_also_in(&self, file: &Path, text: &str) {
        self.notes.read(file, text);
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        match &self.node.value {
            Value::Null => true,
            Value::Scalar(_) => false,
            Value::List(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
        }
    }

    /// Whether it can have fields; nothing at all is a map without any.
    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_) | Value::Null)
    }

    /// A scalar as written; numbers and flags are text too, so that `cuda: 12.10` needs no quotes.
    pub(super) fn text(&self) -> Option<&'a str> {
        Some(self.scalar("text")?.text.as_str())
    }

    /// A scalar that `parse` understands.
    pub(super) fn parsed<T>(&self, parse: impl FnOnce(&str) -> Result<T, Fault>) -> Option<T> {
        parse(self.text()?).map_err(|fault| self.fault(fault)).ok()
    }

    /// A whole number within `range`.
    pub(super) fn whole<T: TryFrom<i128>>(&self, range: RangeInclusive<i128>) -> Option<T> {
        let scalar = self.scalar("a whole number")?;
        let Kind::Whole(number) = scalar.kind else {
            let example = 0.clamp(*range.start(), *range.end());
            return self.unlike(scalar, "a whole number", &example.to_string());
        };
        if range.contains(&number) {
            return T::try_from(number).ok();
        }
        self.mistake(
            format!("{} {number} is out of range", self.name()),
            format!("write a number from {} to {}", range.start(), range.end()),
        );
        None
    }

    /// A number within `range`.
    pub(super) fn number(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let scalar = self.scalar("a number")?;
        let number = match scalar.kind {
            Kind::Whole(number) => number as f64,
            Kind::Real(number) => number,
            Kind::Text | Kind::Flag(_) => {
                return self.unlike(scalar, "a number", &range.start().to_string());
            }
        };
        if range.contains(&number) {
            return Some(number);
        }
        self.mistake(
            format!("{} {number} is out of range", self.name()),
            format!("write a number from {} to {}", range.start(), range.end()),
        );
        None
    }

    /// `None` for `word`, which stands for no bound at all; anything else is the number that `read` takes.
    pub(super) fn bound<T>(
        &self,
        word: &str,
        read: impl FnOnce(&Self) -> Option<T>,
    ) -> Option<Option<T>> {
        if let Value::Scalar(scalar) = &self.node.value
            && scalar.kind == Kind::Text
            && !scalar.text.parse().is_ok_and(f64::is_finite)
        {
            if scalar.text == word {
                return Some(None);
            }
            self.mistake(
                format!("expected a number or `{word}`, found `{}`", scalar.text),
                format!("write a number, or `{word}` if there is to be no bound"),
            );
            return None;
        }
        read(self).map(Some)
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Option<bool> {
        let scalar = self.scalar("true or false")?;
        match scalar.kind {
            Kind::Flag(flag) => Some(flag),
            _ => {
                let denied = ["no", "off", "n", "0"].contains(&scalar.text.to_lowercase().as_str());
                self.unlike(
                    scalar,
                    "true or false",
                    if denied { "false" } else { "true" },
                )
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let chosen = choices.iter().find(|(word, _)| *word == text);
        if chosen.is_none() {
            let words = choices.iter().map(|(word, _)| *word);
            self.fault(unknown("unknown word", text, words));
        }
        chosen.map(|(_, value)| *value)
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Vec<Self> {
        let items = match &self.node.value {
            Value::List(items) => items.as_slice(),
            Value::Null => &[],
            _ => {
                self.mistake(
                    format!("expected a list, found {}", self.kind()),
                    "begin each item with `- `, or write the items in brackets: `[a, b]`",
                );
                &[]
            }
        };
        let field = |(at, node)| Self {
            notes: self.notes,
            node,
            path: format!("{}[{at}]", self.path),
        };
        items.iter().enumerate().map(field).collect()
    }

    /// The entries of a map, whatever their keys; a key that comes twice is a mistake.
    pub(super) fn entries(&self) -> Vec<(Key<'a>, Self)> {
        let entries = match &self.node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => {
                self.mistake(
                    format!("expected fields, found {}", self.kind()),
                    "write `name: value` lines, indented below this one",
                );
                &[]
            }
        };
        let mut lines = BTreeMap::new();
        let mut read = Vec::new();
        for entry in entries {
            let key = Key {
                notes: self.notes,
                name: &entry.key,
                place: entry.place,
                path: below(&self.path, &entry.key),
            };
            if let Some(line) = lines.insert(entry.key.as_str(), entry.place.line) {
                key.mistake(
                    format!("`{}` is given twice, first in line {line}", entry.key),
                    "keep one of the two",
                );
                continue;
            }
            let field = Self {
                notes: self.notes,
                node: &entry.node,
                path: key.path.clone(),
            };
            read.push((key, field));
        }
        read
    }

    /// The value as JSON.
    pub(super) fn json(&self) -> serde_json::Value {
        match &self.node.value {
            Value::Null => serde_json::Value::Null,
            Value::Scalar(scalar) => match scalar.kind {
                Kind::Flag(flag) => flag.into(),
                Kind::Whole(number) => serde_json::Number::from_i128(number).into(),
                Kind::Real(number) => number.into(),
                Kind::Text => scalar.text.clone().into(),
            },
            Value::List(_) => self.items().iter().map(Self::json).collect(),
            Value::Map(_) => {
                let json = |(key, field): (Key<'_>, Self)| (key.name.to_owned(), field.json());
                self.entries().into_iter().map(json).collect()
            }
        }
    }

    /// Keeps the value out of every message.
    pub(super) fn hide(&self) {
        self.notes.hide(self.node.place);
    }

    fn scalar(&self, expected: &str) -> Option<&'a Scalar> {
        match &self.node.value {
            Value::Scalar(scalar) => Some(scalar),
            Value::Null => {
                self.mistake(
                    format!("expected {expected}, found nothing"),
                    "write a value after the colon, or delete the line to get the default",
                );
                None
            }
            Value::List(_) | Value::Map(_) => {
                self.mistake(
                    format!("expected {expected}, found {}", self.kind()),
                    "write one plain value",
                );
                None
            }
        }
    }

    fn unlike<T>(&self, scalar: &Scalar, expected: &str, example: &str) -> Option<T> {
        let unquoted = scalar.text.parse::<f64>().is_ok() && scalar.kind == Kind::Text;
        self.mistake(
            format!("expected {expected}, found `{}`", scalar.text),
            if unquoted {
                format!("take the quotes off: `{}: {}`", self.name(), scalar.text)
            } else {
                format!("write it as in `{}: {example}`", self.name())
            },
        );
        None
    }

    /// The last part of the way to it.
    fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }

    fn kind(&self) -> &'static str {
        match &self.node.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a plain value",
            Value::List(_) => "a list",
            Value::Map(_) => "fields",
        }
    }
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
