//! What people say of verdicts: that one was seen, or what the baseline is to be. It takes effect between two runs,
//! and is replayed there, so that the same history gives the same verdicts again.

use jiff::Timestamp;

use crate::verdict::{Acknowledgement, Measure, Settlement};

/// Someone intervenes in the judging of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intervention {
    /// When it was said.
    pub at: Timestamp,
    /// By whom, in their own words.
    pub by: String,
    /// For the colleagues: the reason.
    pub why: String,
    /// Of which measure; absent when all are meant that it can be said of.
    pub measure: Option<Measure>,
    /// What is to be done.
    pub act: Act,
}

/// What an intervention does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The verdict that stands was seen.
    Acknowledge(Settlement),
    /// The present level becomes the baseline, whatever stands.
    Pin,
    /// The baseline is forgotten, and the next clean runs become one.
    Unpin,
}

impl Act {
    /// The word for it in logs, in JSON and in the history.
    pub fn label(self) -> &'static str {
        match self {
            Self::Acknowledge(Settlement::Until(_)) => "acknowledge",
            Self::Acknowledge(Settlement::Rebaseline) => "rebaseline",
            Self::Pin => "pin",
            Self::Unpin => "unpin",
        }
    }

    /// How long it holds, for one that ends by itself.
    pub fn until(self) -> Option<Timestamp> {
        match self {
            Self::Acknowledge(Settlement::Until(end)) => Some(end),
            _ => None,
        }
    }

    /// The act of this label and end; `None` for a word that a later version has added.
    pub fn of(label: &str, until: Option<Timestamp>) -> Option<Self> {
        match (label, until) {
            ("acknowledge", Some(end)) => Some(Self::Acknowledge(Settlement::Until(end))),
            ("rebaseline", _) => Some(Self::Acknowledge(Settlement::Rebaseline)),
            ("pin", _) => Some(Self::Pin),
            ("unpin", _) => Some(Self::Unpin),
            _ => None,
        }
    }
}

impl Intervention {
    /// What a judge is told of one that acknowledges.
    pub(super) fn acknowledgement(&self, settlement: Settlement) -> Acknowledgement {
        Acknowledgement {
            by: self.by.clone(),
            at: self.at,
            why: self.why.clone(),
            settlement,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_act_is_known_again_by_its_label_and_end() {
        let end = Timestamp::from_second(1_800_000_000).unwrap();
        for act in [
            Act::Acknowledge(Settlement::Until(end)),
            Act::Acknowledge(Settlement::Rebaseline),
            Act::Pin,
            Act::Unpin,
        ] {
            assert_eq!(Act::of(act.label(), act.until()), Some(act));
        }
        assert_eq!(Act::of("acknowledge", None), None);
        assert_eq!(Act::of("forgive", None), None);
    }
}
