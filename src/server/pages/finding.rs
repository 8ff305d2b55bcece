//! What the judges found, in words: whether it is slower, than what, since when, and how sure that is.

use jiff::Timestamp;

use super::quantity::{self, count, number, percent, percent_range, span};
use super::said::Said;
use crate::board::{DeploymentStatus, ProbeStatus, RecentChange};
use crate::closed_set::closed_set;
use crate::verdict::{
    Compared, Comparison, Decision, Good, Judgement, Measure, Settlement, StandingVerdict, Verdict,
};

closed_set! {
    /// Where the judging of a probe stands.
    Stand:
    Slower "slower" "Slower than before, beyond the margin and beyond chance.",
    Faster "faster" "Faster than before, beyond the margin and beyond chance.",
    Unchanged "unchanged" "Whatever changed lies within the tolerance.",
    Inconclusive "not sure yet" "The runs do not suffice to say slower, faster or unchanged.",
    TooFew "too few runs" "There are not enough clean runs yet to compare anything.",
    Reading "reading history" "The stored runs are being judged again.",
    NotJudged "not judged" "A sign of life is no measurement.",
}

/// What is to be said of a probe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finding<'a> {
    pub(super) stand: Stand,
    /// What it is said of.
    pub(super) measure: Measure,
    pub(super) judgement: Option<&'a Judgement>,
    pub(super) compared: Compared,
    pub(super) comparison: Option<&'a Comparison>,
    pub(super) standing: Option<&'a StandingVerdict>,
}

/// Clean runs that a baseline needs before it is used.
const LEAST_BASELINE: usize = 10;

impl<'a> Finding<'a> {
    /// A regression is what is told, of the headline first; then an improvement; else where the headline stands.
    pub(super) fn of(probe: &'a ProbeStatus) -> Self {
        let nothing = |stand| Finding {
            stand,
            measure: Measure::DecodeTokensRate,
            judgement: None,
            compared: Compared::Baseline,
            comparison: None,
            standing: None,
        };
        let Some(opinion) = &probe.opinion else {
            return nothing(if probe.workload.is_light() {
                Stand::NotJudged
            } else if probe.last.is_none() {
                Stand::TooFew
            } else {
                Stand::Reading
            });
        };
        let with = |verdict: Verdict| {
            let mut measures = Measure::ALL.iter();
            measures.find_map(|measure| {
                let judgement = opinion.judgements.get(measure)?;
                let standing = judgement.standing.as_ref()?;
                (standing.verdict == verdict).then_some((*measure, judgement, standing))
            })
        };
        if let Some((measure, judgement, standing)) =
            with(Verdict::Regressed).or_else(|| with(Verdict::Improved))
        {
            let is_of = |comparison: &Comparison| comparison.verdict == Some(standing.verdict);
            let compared = match &judgement.previous {
                Some(previous) if is_of(previous) => Compared::Previous,
                _ => Compared::Baseline,
            };
            return Finding {
                stand: match standing.verdict {
                    Verdict::Regressed => Stand::Slower,
                    Verdict::Improved => Stand::Faster,
                },
                measure,
                judgement: Some(judgement),
                compared,
                comparison: judgement.comparison(compared),
                standing: Some(standing),
            };
        }
        let Some(judgement) = opinion.judgements.get(&Measure::DecodeTokensRate) else {
            return nothing(Stand::TooFew);
        };
        let compared = if judgement.baseline.is_some() {
            Compared::Baseline
        } else {
            Compared::Previous
        };
        let comparison = judgement.comparison(compared);
        Finding {
            stand: match comparison.map(|comparison| comparison.decision) {
                None => Stand::TooFew,
                Some(Decision::Unchanged) => Stand::Unchanged,
                Some(_) => Stand::Inconclusive,
            },
            judgement: Some(judgement),
            compared,
            comparison,
            ..nothing(Stand::TooFew)
        }
    }

    /// The verdict in a few words, such as `5.1 % slower`.
    pub(super) fn in_short(&self) -> String {
        match (self.stand, self.comparison) {
            (Stand::Slower | Stand::Faster, Some(comparison)) => {
                let (change, ..) = self.change(comparison);
                let of = match self.measure {
                    Measure::DecodeTokensRate => String::new(),
                    measure => format!(" in {}", name(measure)),
                };
                format!("{} {}{of}", percent(change), self.stand.label())
            }
            (stand, _) => stand.label().to_owned(),
        }
    }

    /// What qualifies it, such as since when it stands, or what is missing.
    pub(super) fn qualified(&self) -> Said {
        if let Some(standing) = self.standing {
            return Said::from("since ").at(standing.since);
        }
        let judgement = self.judgement;
        let words = match self.stand {
            Stand::TooFew => {
                let runs = judgement.map_or(0, |judgement| judgement.baseline_runs);
                if runs < LEAST_BASELINE {
                    format!("{runs} of {LEAST_BASELINE} clean runs")
                } else {
                    format!("baseline of {}", count(runs, "run", "runs"))
                }
            }
            Stand::Unchanged | Stand::Inconclusive => judgement
                .and_then(|judgement| judgement.minimum_detectable_change)
                .map(|least| format!("would see {}", percent(least)))
                .unwrap_or_default(),
            _ => String::new(),
        };
        Said::from(words)
    }

    /// By how much it is worse (or better, if it is judged faster), and the interval of that, as shares.
    fn change(&self, comparison: &Comparison) -> (f64, f64, f64) {
        let better = self.stand == Stand::Faster;
        let is_falling = (self.measure.good() == Good::High) != better;
        let share = |ratio: f64| {
            if is_falling { 1.0 - ratio } else { ratio - 1.0 }
        };
        let (a, b) = (share(comparison.lower), share(comparison.upper));
        (share(comparison.ratio), a.min(b), a.max(b))
    }

    /// All of it in a sentence or two, with its numbers.
    pub(super) fn in_full(&self, status: Option<&DeploymentStatus>, now: Timestamp) -> Said {
        let subject = capitalised(name(self.measure));
        let verb = if self.measure.good() == Good::High {
            "is"
        } else {
            "has become"
        };
        match (self.stand, self.comparison) {
            (Stand::Slower | Stand::Faster, Some(comparison)) => {
                let (change, low, high) = self.change(comparison);
                let mut said = Said::from(format!(
                    "{subject} {verb} {} {} than {}, ",
                    percent(change),
                    self.stand.label(),
                    self.reference(status)
                ));
                if let Some(standing) = self.standing {
                    let ago = span(now.duration_since(standing.since));
                    said = said
                        .and("since ")
                        .at(standing.since)
                        .and(format!(" ({ago} ago). "));
                }
                said.and(format!(
                    "95\u{a0}% interval {}, {}{}.",
                    percent_range(low, high),
                    runs(comparison),
                    self.could_have_seen()
                ))
            }
            (Stand::Slower | Stand::Faster, None) => Said::from(format!(
                "{subject} was judged {}; there are too few runs since to say by how much.",
                self.stand.label()
            )),
            (Stand::Unchanged | Stand::Inconclusive, Some(comparison)) => {
                let difference = format!(
                    "its ratio to {} is {}, 95\u{a0}% interval {} to {}, {}",
                    self.reference(status),
                    quantity::ratio(comparison.ratio),
                    quantity::ratio(comparison.lower),
                    quantity::ratio(comparison.upper),
                    runs(comparison)
                );
                let said = if self.stand == Stand::Unchanged {
                    "is unchanged"
                } else {
                    "shows nothing for sure yet"
                };
                Said::from(format!(
                    "{subject} {said}: {difference}{}.",
                    self.could_have_seen()
                ))
            }
            (Stand::TooFew, _) | (Stand::Unchanged | Stand::Inconclusive, None) => {
                let runs = self
                    .judgement
                    .map_or(0, |judgement| judgement.baseline_runs);
                Said::from(if runs < LEAST_BASELINE {
                    format!(
                        "There are {runs} of the {LEAST_BASELINE} clean runs that a baseline needs, so nothing can be said yet."
                    )
                } else {
                    "The baseline is there; five more clean runs are needed to compare anything with it.".to_owned()
                })
            }
            (Stand::Reading, _) => Said::from(
                "The stored runs are being judged again; this takes a moment after a start.",
            ),
            (Stand::NotJudged, _) => Said::from(
                "This workload is a sign of life and no measurement, so it is not judged.",
            ),
        }
    }

    /// What changed with it, as far as that is known, for a verdict that stands.
    pub(super) fn why(&self, status: Option<&DeploymentStatus>) -> Option<Said> {
        let standing = self.standing?;
        if self.compared == Compared::Previous && change_before(status, standing).is_some() {
            // The sentence names it.
            return None;
        }
        Some(match change_before(status, standing) {
            Some(change) => Said::from(format!(
                "The last change of its environment that is known before that: {}, at ",
                fields(change)
            ))
            .at(change.at)
            .and("."),
            None => Said::from("No change of its environment is known that came before it."),
        })
    }

    /// Who has seen the verdict.
    pub(super) fn acknowledged(&self, now: Timestamp) -> Option<Said> {
        let standing = self.standing?;
        let acknowledgement = standing.acknowledgement.as_ref()?;
        if !acknowledgement.holds(now) {
            return None;
        }
        let mut said = Said::from(format!("Acknowledged by {}", acknowledgement.by));
        if let Settlement::Until(end) = acknowledgement.settlement {
            said = said.and(", until ").at(end);
        }
        Some(said.and(format!(": {}", acknowledgement.why)))
    }

    /// Whether it is a regression that nobody has acknowledged.
    pub(super) fn is_news(&self, now: Timestamp) -> bool {
        self.stand == Stand::Slower
            && !self
                .standing
                .is_some_and(|standing| standing.is_acknowledged(now))
    }

    fn reference(&self, status: Option<&DeploymentStatus>) -> String {
        match self.compared {
            Compared::Previous => {
                let change = self
                    .standing
                    .and_then(|standing| change_before(status, standing))
                    .or_else(|| status?.recent_changes.last());
                change.map_or_else(
                    || "before the last change of its environment".to_owned(),
                    |change| format!("before {}", fields(change)),
                )
            }
            Compared::Baseline => {
                let median = self
                    .judgement
                    .and_then(|judgement| judgement.baseline_median);
                match median {
                    Some(median) => format!("its baseline of {}", with_unit(self.measure, median)),
                    None => "its baseline".to_owned(),
                }
            }
        }
    }

    fn could_have_seen(&self) -> String {
        self.judgement
            .and_then(|judgement| judgement.minimum_detectable_change)
            .map(|least| format!("; a change of {} could have been seen", percent(least)))
            .unwrap_or_default()
    }
}

fn runs(comparison: &Comparison) -> String {
    format!(
        "{} against {}",
        count(comparison.runs_after, "clean run", "clean runs"),
        comparison.runs_before
    )
}

/// The last change before a verdict began.
fn change_before<'a>(
    status: Option<&'a DeploymentStatus>,
    standing: &StandingVerdict,
) -> Option<&'a RecentChange> {
    let mut changes = status?.recent_changes.iter().rev();
    changes.find(|change| change.at <= standing.since)
}

/// What changed, such as `driver 580.95 → 590.12`.
pub(super) fn fields(change: &RecentChange) -> String {
    let fields: Vec<String> = change
        .fields
        .iter()
        .map(|field| format!("{} {} → {}", field.field.label(), field.before, field.after))
        .collect();
    if fields.is_empty() {
        "something that this version does not know".to_owned()
    } else {
        fields.join(", ")
    }
}

/// A measure as people call it.
pub(super) fn name(measure: Measure) -> &'static str {
    match measure {
        Measure::DecodeTokensRate => "decode rate",
        Measure::RequestsRate => "request rate",
        Measure::PromptTokensRate => "prompt rate",
        Measure::TtftP50 => "time to first token",
        Measure::TpotP50 => "time per output token",
        Measure::E2eP50 => "latency",
    }
}

/// A value of it with its unit.
pub(super) fn with_unit(measure: Measure, value: f64) -> String {
    match measure {
        Measure::DecodeTokensRate | Measure::PromptTokensRate => {
            format!("{}\u{a0}tok/s", number(value))
        }
        Measure::RequestsRate => format!("{}\u{a0}requests/s", number(value)),
        Measure::TtftP50 | Measure::TpotP50 | Measure::E2eP50 => quantity::seconds(value),
    }
}

/// A text that begins a sentence.
pub(super) fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}
/// The verdict that stands on `probe`, in a sentence; `None` while none does. `status` is of its deployment.
pub(crate) fn verdict_in_words(
    probe: &ProbeStatus,
    status: Option<&DeploymentStatus>,
    now: Timestamp,
) -> Option<String> {
    let finding = Finding::of(probe);
    finding.standing?;
    Some(finding.in_full(status, now).text(now))
}
