//! How one program tells another what someone says of verdicts, and what came of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::judges::Act;
use crate::verdict::Settlement;

/// Someone intervenes: the body of `POST /api/v1/deployments/{name}/acknowledgements`, `…/baseline/pin` and
/// `…/baseline/unpin`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InterventionJson {
    /// The workload's name; absent when all are meant that are judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// The measure; absent when all are meant that it can be said of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measure: Option<String>,
    /// Who says it.
    pub by: String,
    /// For which reason.
    pub why: String,
    /// Until when the verdict is silent; for an acknowledgement only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Instead of an end: the level of the verdict becomes the baseline.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rebaseline: bool,
}

/// What came of it, for each workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntervenedJson {
    /// The workload's name.
    pub workload: String,
    /// The measures that it was said of.
    pub measures: Vec<String>,
    /// Whether it is on the disk. If not, it is stored as soon as the history works again.
    pub stored: bool,
}

/// The workloads whose runs are coming, or were cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadsJson {
    /// Their names.
    pub workloads: Vec<String>,
}

/// An answer that is none, as RFC 9457 has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl InterventionJson {
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
            let json = InterventionJson {
                until: until.map(at),
                rebaseline,
                ..InterventionJson::default()
            };
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
