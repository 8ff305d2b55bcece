//! What a deployment runs on, in the JSON of a run: each field with where it is known from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::environment::{
    Environment, EnvironmentField, EnvironmentSource, FieldChange, Finding, Generation,
};

/// What the deployment ran on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct EnvironmentJson {
    /// Stands for all identity fields; absent when nothing is known.
    pub fingerprint: Option<String>,
    /// By name.
    pub fields: BTreeMap<String, FieldJson>,
}

/// A value, and where it is known from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldJson {
    /// As it was found.
    pub value: String,
    /// The best source that told it.
    pub source: String,
}

/// A field that has another value than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldChangeJson {
    /// Its name.
    pub field: String,
    /// Its value before.
    pub before: String,
    /// Its value now.
    pub after: String,
}

impl From<&FieldChange> for FieldChangeJson {
    fn from(change: &FieldChange) -> Self {
        Self {
            field: change.field.label().to_owned(),
            before: change.before.clone(),
            after: change.after.clone(),
        }
    }
}

impl FieldChangeJson {
    /// The change again; `None` for a field that a later version has added.
    pub fn read(&self) -> Option<FieldChange> {
        Some(FieldChange {
            field: EnvironmentField::named(&self.field)?,
            before: self.before.clone(),
            after: self.after.clone(),
        })
    }
}

impl From<&Environment> for EnvironmentJson {
    fn from(environment: &Environment) -> Self {
        let field = |known: Finding| {
            let field = FieldJson {
                value: known.value,
                source: known.source.label().to_owned(),
            };
            (known.field.label().to_owned(), field)
        };
        let fields: BTreeMap<_, _> = environment.known().map(field).collect();
        Self {
            fingerprint: (!fields.is_empty()).then(|| environment.fingerprint()),
            fields,
        }
    }
}

impl EnvironmentJson {
    /// The environment as it is known by now, under the fingerprint that it has had since its last change.
    pub fn of(generation: &Generation) -> Self {
        let json = Self::from(&generation.environment);
        Self {
            fingerprint: json.fingerprint.and(Some(generation.fingerprint.clone())),
            ..json
        }
    }

    /// The environment again, under the fingerprint that it had.
    pub fn to_generation(&self) -> Option<Generation> {
        Some(Generation {
            fingerprint: self.fingerprint.clone()?,
            environment: self.to_environment(),
        })
    }

    /// The environment again; fields and sources that a later version added are passed over.
    pub fn to_environment(&self) -> Environment {
        let findings = self.fields.iter().filter_map(|(name, known)| {
            let field = EnvironmentField::named(name)?;
            let source = EnvironmentSource::named(&known.source)?;
            Finding::new(field, &known.value, source)
        });
        Environment::of(findings)
    }
}
