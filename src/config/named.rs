//! What a file defines under a name for other sections to refer to.

use super::field::Field;
use super::likeness::unknown;
use super::section::Key;
use super::source::Fault;
use super::values;

/// Definitions by name, in the order of the file. One that had mistakes keeps its name, so that those
/// who refer to it are not blamed for them.
pub(super) struct Named<T>(Vec<(String, Option<T>)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Named<T> {
    /// Reads each entry of a map whose keys are names.
    pub(super) fn read(field: &Field<'_>, read: impl Fn(&str, &Field<'_>) -> Option<T>) -> Self {
        let define = |(key, field): (Key<'_>, Field<'_>)| {
            if let Err(fault) = values::name(key.name) {
                key.fault(fault);
            }
            (key.name.to_owned(), read(key.name, &field))
        };
        Self(field.entries().into_iter().map(define).collect())
    }

    /// The definition that `field` refers to by its name; `what` says what is looked for.
    pub(super) fn resolve(&self, field: &Field<'_>, what: &str) -> Option<&T> {
        let name = field.text()?;
        let found = self.0.iter().find(|(known, _)| known == name);
        if found.is_none() {
            let known = self.0.iter().map(|(known, _)| known.as_str());
            field.fault(match self.0.as_slice() {
                [] => Fault::new(
                    format!("there is no {what} `{name}`"),
                    format!("define it under `{what}s`"),
                ),
                _ => unknown(&format!("there is no {what}"), name, known),
            });
        }
        found?.1.as_ref()
    }

    /// The definitions that had no mistakes, by their names.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &T)> {
        let all = self.0.iter();
        all.filter_map(|(name, value)| Some((name.as_str(), value.as_ref()?)))
    }

    /// The definitions that had no mistakes.
    pub(super) fn into_values(self) -> impl Iterator<Item = T> {
        self.0.into_iter().filter_map(|(_, value)| value)
    }
}
