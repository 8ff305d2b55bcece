//! What a form of a deployment's page says: which button was pressed, and what stands in the fields. It is kept as it
//! was typed, so that it can be shown again when nothing can come of it.

use jiff::{SignedDuration, Timestamp};
use url::form_urlencoded;

use crate::closed_set::closed_set;
use crate::judges::Act;
use crate::lifecycle::ProbeRequest;
use crate::report::{AcknowledgingJson, InterventionJson};

closed_set! {
    /// What a button does.
    Button:
    Run "run" "Asks for a run before its time, which starts as soon as its lane is free.",
    Cancel "cancel" "Cuts the run that goes on; it leaves no trace.",
    Acknowledge "acknowledge" "Silences the verdict, which stands as before. A further step is told anew.",
    Pin "pin" "Makes the clean runs since the last change of level the baseline, whatever stands.",
    Unpin "unpin" "Forgets the baseline and what stands. The next 10 clean runs become one.",
}

closed_set! {
    /// For how long a verdict is acknowledged.
    Term:
    Hour "1h" "for 1 hour",
    Shift "8h" "for 8 hours",
    Day "1d" "for 1 day",
    Week "7d" "for 7 days",
    Baseline "baseline" "this is the new baseline",
}

/// The name of the field that has the button.
pub(super) const BUTTON: &str = "act";

/// What came with a form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Posted {
    /// Absent for a word that no button has.
    pub(super) button: Option<Button>,
    /// The workload's name; empty for all.
    pub(super) workload: String,
    /// Who presses it.
    pub(super) by: String,
    /// For which reason.
    pub(super) why: String,
    /// The word for how long, as it came.
    pub(super) until: String,
}

impl Posted {
    /// Reads a form's body. What is there several times is as it was first; what is not, is empty.
    pub(super) fn read(body: &[u8]) -> Self {
        let mut posted = Self::default();
        let mut button = String::new();
        for (name, value) in form_urlencoded::parse(body) {
            let field = match &*name {
                BUTTON => &mut button,
                "workload" => &mut posted.workload,
                "by" => &mut posted.by,
                "why" => &mut posted.why,
                "until" => &mut posted.until,
                _ => continue,
            };
            if field.is_empty() {
                *field = value.into_owned();
            }
        }
        let mut all = Button::ALL.iter().copied();
        posted.button = all.find(|known| known.label() == button);
        posted
    }

    /// How long, if that can be read.
    pub(super) fn term(&self) -> Option<Term> {
        let mut all = Term::ALL.iter().copied();
        all.find(|term| term.label() == self.until)
    }

    fn meant(&self) -> Option<String> {
        Some(self.workload.clone()).filter(|name| !name.is_empty())
    }

    /// Which probes of `deployment` it is about.
    pub(super) fn probes(&self, deployment: &str) -> ProbeRequest {
        ProbeRequest {
            deployment: deployment.to_owned(),
            workload: self.meant(),
        }
    }

    /// What it says to the judges.
    pub(super) fn said(&self) -> InterventionJson {
        InterventionJson {
            workload: self.meant(),
            measure: None,
            by: self.by.clone(),
            why: self.why.clone(),
        }
    }

    /// The acknowledgement that this is at the time `now`.
    ///
    /// # Errors
    /// When it does not say for how long.
    pub(super) fn acknowledgement(&self, now: Timestamp) -> Result<Act, String> {
        let hours = match self.term() {
            Some(Term::Hour) => Some(1),
            Some(Term::Shift) => Some(8),
            Some(Term::Day) => Some(24),
            Some(Term::Week) => Some(7 * 24),
            Some(Term::Baseline) => None,
            None => return Err("it does not say for how long; choose a time".to_owned()),
        };
        let until = hours.map(|hours| now + SignedDuration::from_hours(hours));
        let json = AcknowledgingJson::new(self.said(), until, until.is_none());
        json.acknowledgement(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Settlement;

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let posted = Posted::read(
            b"by=Zo%C3%AB+%26+co&why=a%3Db&workload=&until=8h&act=acknowledge&more=1&by=other",
        );
        let expected = Posted {
            button: Some(Button::Acknowledge),
            workload: String::new(),
            by: "Zoë & co".to_owned(),
            why: "a=b".to_owned(),
            until: "8h".to_owned(),
        };
        assert_eq!(posted, expected);
        assert_eq!(posted.probes("d").workload, None);
        let one = Posted::read(b"workload=burst&act=run");
        assert_eq!(one.probes("d").workload.as_deref(), Some("burst"));
        for nonsense in [&b""[..], b"act=", b"act=Run", b"\xff\xfe&&==&act", b"{}"] {
            assert_eq!(Posted::read(nonsense).button, None, "{nonsense:?}");
        }
    }

    #[test]
    fn a_verdict_is_acknowledged_for_a_time_or_as_the_baseline() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let said = |until: &str| {
            let posted = Posted {
                until: until.to_owned(),
                ..Posted::default()
            };
            posted.acknowledgement(now)
        };
        let ends = |text: &str| {
            let end = text.parse().unwrap();
            Ok(Act::Acknowledge(Settlement::Until(end)))
        };
        assert_eq!(said("1h"), ends("2026-03-01T13:00:00Z"));
        assert_eq!(said("8h"), ends("2026-03-01T20:00:00Z"));
        assert_eq!(said("1d"), ends("2026-03-02T12:00:00Z"));
        assert_eq!(said("7d"), ends("2026-03-08T12:00:00Z"));
        assert_eq!(
            said("baseline"),
            Ok(Act::Acknowledge(Settlement::Rebaseline))
        );
        for nonsense in ["", "1y", "-1h"] {
            let told = said(nonsense).unwrap_err();
            assert!(told.contains("choose a time"), "{told}");
        }
    }
}
