//! The `relabel_configs` of a source, in Prometheus' own spelling.

use super::field::Field;
use super::likeness::unknown;
use super::section::Section;
use crate::discovery::relabel::{Action, Rule, Written};

pub(super) const FIELDS: &[&str] = &[
    "source_labels",
    "separator",
    "regex",
    "modulus",
    "target_label",
    "replacement",
    "action",
];

/// The largest modulus: every shard's number is one that all programs write alike.
const MOST_SHARDS: i128 = u32::MAX as i128;

pub(super) fn read_rules(field: &Field<'_>) -> Vec<Rule> {
    field.items().iter().filter_map(read_rule).collect()
}

fn read_rule(field: &Field<'_>) -> Option<Rule> {
    let section = Section::of(field, FIELDS);
    if section.unknown().next().is_some() {
        return None;
    }
    let text = |name| match section.get(name) {
        Some(field) => field.text().map(|text| Some(text.to_owned())),
        None => Some(None),
    };
    let source_labels = section.get("source_labels").map(|field| field.items());
    let action = match section.get("action") {
        Some(field) => Some(field.parsed(action)?),
        None => None,
    };
    let modulus = match section.get("modulus") {
        Some(field) => Some(field.whole(1..=MOST_SHARDS)?),
        None => None,
    };
    let written = Written {
        source_labels: source_labels
            .unwrap_or_default()
            .iter()
            .map(|label| label.text().map(str::to_owned))
            .collect::<Option<_>>()?,
        separator: text("separator")?,
        regex: text("regex")?,
        modulus,
        target_label: text("target_label")?,
        replacement: text("replacement")?,
        action,
    };
    match Rule::new(written) {
        Ok(rule) => Some(rule),
        Err(refused) => {
            let part = refused.part.and_then(|part| section.get(part.label()));
            let place = part.as_ref().unwrap_or(&section.whole);
            place.mistake(refused.message, refused.mend);
            None
        }
    }
}

fn action(text: &str) -> Result<Action, super::source::Fault> {
    let words = || Action::ALL.iter().map(|action| action.label());
    Action::named(text).ok_or_else(|| unknown("unknown action", text, words()))
}
