//! How one program tells another what someone says of verdicts, and what came of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};

use crate::judges::Act;
use crate::measure::Measure;
use crate::verdict::Settlement;

/// Someone intervenes: the body of `POST /api/v1/deployments/{name}/baseline/pin` and `…/baseline/unpin`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InterventionJson {
    /// The workload's name; absent when all are meant that are judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// The measure; absent when all are meant that it can be said of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = measure)]
    pub measure: Option<String>,
    /// Who says it.
    #[schema(required, pattern = r"\S")]
    pub by: String,
    /// For which reason.
    #[schema(required, pattern = r"\S")]
    pub why: String,
}

/// Someone has seen a verdict: the body of `POST /api/v1/deployments/{name}/acknowledgements`. What follows from it is
/// one of `until` and `rebaseline`.
// The fields of an intervention are written out again: serde cannot flatten a type and refuse unknown fields as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AcknowledgingJson {
    /// The workload's name; absent when all are meant that are judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// The measure; absent when all are meant that it can be said of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = measure)]
    pub measure: Option<String>,
    /// Who says it.
    #[schema(required, pattern = r"\S")]
    pub by: String,
    /// For which reason.
    #[schema(required, pattern = r"\S")]
    pub why: String,
    /// Until when the verdict is silent: a time to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Instead of an end: the level of the verdict becomes the baseline.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rebaseline: bool,
}

/// The schema of a measure's name.
fn measure() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .enum_values(Some(
            Measure::ALL
                .iter()
                .map(|measure| Some(measure.label()))
                .chain([None]),
        ))
        .build()
}

/// What came of it, for each workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IntervenedJson {
    /// The workload's name.
    pub workload: String,
    /// The measures that it was said of.
    pub measures: Vec<String>,
    /// Whether it is on the disk. If not, it is stored as soon as the history works again.
    pub stored: bool,
}

/// The workloads whose runs are coming, or were cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkloadsJson {
    /// Their names.
    pub workloads: Vec<String>,
}

/// An answer that is none, as RFC 9457 has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemJson {
    /// What kind of problem: always `about:blank`, so that the status says it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The status.
    pub status: u16,
    /// What is wrong this time, and how to mend it.
    pub detail: String,
}

impl From<AcknowledgingJson> for InterventionJson {
    fn from(said: AcknowledgingJson) -> Self {
        let AcknowledgingJson {
            workload,
            measure,
            by,
            why,
            until: _,
            rebaseline: _,
        } = said;
        Self {
            workload,
            measure,
            by,
            why,
        }
    }
}

impl AcknowledgingJson {
    /// What is said, and what follows from it.
    pub fn new(said: InterventionJson, until: Option<Timestamp>, rebaseline: bool) -> Self {
        let InterventionJson {
            workload,
            measure,
            by,
            why,
        } = said;
        Self {
            workload,
            measure,
            by,
            why,
            until,
            rebaseline,
        }
    }

    /// The acknowledgement that this is, at the time `now`.
    ///
    /// # Errors
    /// When it does not say what follows from it, or says it twice, or is over already.
    pub fn acknowledgement(&self, now: Timestamp) -> Result<Act, String> {
        let settlement = match (self.until, self.rebaseline) {
            (Some(end), false) if end > now => Settlement::Until(end),
            (Some(end), false) => {
                return Err(format!(
                    "`until` is {end}, which is past; name a time to come"
                ));
            }
            (None, true) => Settlement::Rebaseline,
            (Some(_), true) => {
                return Err(
                    "there are both `until` and `rebaseline`; leave one of them out".into(),
                );
            }
            (None, false) => {
                return Err(
                    "it does not say what follows; give `until`, a time, or `\"rebaseline\": true`"
                        .into(),
                );
            }
        };
        Ok(Act::Acknowledge(settlement))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_says_what_follows_from_it() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let said = |until: Option<i64>, rebaseline| {
            let json =
                AcknowledgingJson::new(InterventionJson::default(), until.map(at), rebaseline);
            json.acknowledgement(at(100))
        };
        let until = Settlement::Until(at(101));
        assert_eq!(said(Some(101), false), Ok(Act::Acknowledge(until)));
        assert_eq!(
            said(None, true),
            Ok(Act::Acknowledge(Settlement::Rebaseline))
        );
        for (until, rebaseline, told) in [
            (Some(100), false, "past"),
            (Some(101), true, "both"),
            (None, false, "what follows"),
        ] {
            let error = said(until, rebaseline).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
