//! A map whose fields are known by name, and what can be wrong with its keys.

use super::document::Place;
use super::field::Field;
use super::finding::Severity;
use super::likeness::{closest, unknown};
use super::notes::Notes;
use super::source::{Fault, names_a_secret};

/// A map with known fields.
pub(super) struct Section<'a> {
    known: &'static [&'static str],
    entries: Vec<(Key<'a>, Field<'a>)>,
    /// The map itself.
    pub(super) whole: Field<'a>,
}

impl<'a> Section<'a> {
    /// Reads `field` as a map whose keys are among `known`; others are mistakes.
    pub(super) fn of(field: &Field<'a>, known: &'static [&'static str]) -> Self {
        let entries = field.entries();
        for (key, _) in &entries {
            if known.contains(&key.name) {
                continue;
            }
            if names_a_secret(key.name) {
                let here = ["_file", "_env"].map(|end| format!("{}{end}", key.name));
                let places = if here.iter().all(|place| known.contains(&place.as_str())) {
                    format!("`{}` or `{}`", here[0], here[1])
                } else {
                    "`bearer_token_file` or `bearer_token_env` in `auths`".to_owned()
                };
                key.mistake(
                    format!(
                        "`{}` has no place here: a secret is never written into the configuration",
                        key.name
                    ),
                    format!(
                        "save it in a file or an environment variable, and name that with {places}"
                    ),
                );
            } else {
                key.fault(unknown("unknown field", key.name, known.iter().copied()));
            }
        }
        Self {
            known,
            entries,
            whole: field.clone(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<Field<'a>> {
        debug_assert!(
            self.known.contains(&name),
            "`{name}` is not among the known fields"
        );
        let (_, field) = self.entries.iter().find(|(key, _)| key.name == name)?;
        Some(field.clone())
    }

    /// The fields that should not be there.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &Field<'a>> {
        let unknown = self
            .entries
            .iter()
            .filter(|(key, _)| !self.known.contains(&key.name));
        unknown.map(|(_, field)| field)
    }

    /// A field that must be there; `example` shows how it is written.
    pub(super) fn require(&self, name: &str, example: &str) -> Option<Field<'a>> {
        let field = self.get(name);
        if field.is_none() && self.lacks(name) {
            self.whole.mistake(
                format!("`{name}` is missing"),
                format!("add `{name}: {example}`"),
            );
        }
        field
    }

    /// The one of several fields that excludes the others.
    pub(super) fn exactly_one(
        &self,
        names: &[&'static str],
        example: &str,
    ) -> Option<(&'static str, Field<'a>)> {
        let mut given: Vec<_> = names
            .iter()
            .filter_map(|name| Some((*name, self.get(name)?)))
            .collect();
        let either = names
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(" or ");
        if given.len() > 1 {
            given[1].1.mistake(
                format!("`{}` is given besides `{}`", given[1].0, given[0].0),
                format!("keep either {either}"),
            );
        }
        if given.is_empty() {
            if names.iter().all(|name| self.lacks(name)) {
                self.whole
                    .mistake(format!("{either} is missing"), format!("add `{example}`"));
            }
            return None;
        }
        Some(given.swap_remove(0))
    }

    /// Whether nothing that was written can be meant as this field; if something can, it has been told.
    fn lacks(&self, name: &str) -> bool {
        let slip = |(key, _): &(Key<'_>, Field<'_>)| {
            !self.known.contains(&key.name)
                && closest(key.name, self.known.iter().copied()) == Some(name)
        };
        self.whole.is_map() && !self.entries.iter().any(slip)
    }
}

/// A key, where a mistake can be about it rather than about its value.
pub(super) struct Key<'a> {
    pub(super) notes: &'a Notes<'a>,
    pub(super) name: &'a str,
    pub(super) place: Place,
    pub(super) path: String,
}

impl Key<'_> {
    pub(super) fn mistake(&self, message: impl Into<String>, mend: impl Into<String>) {
        self.fault(Fault::new(message, mend));
    }

    pub(super) fn fault(&self, fault: Fault) {
        self.notes.add(
            Severity::Mistake,
            Some(self.place),
            self.path.clone(),
            fault,
        );
    }
}
