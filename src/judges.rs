//! The judges of one probe, one for each measure: what a run is to them, and what they say.
//!
//! Light probes have none: a sign of life is no measurement.

mod intervention;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use self::intervention::{Act, Intervention};
use crate::verdict::{
    Edge, Judge, JudgedRun, Judgement, Measure, NothingToAcknowledge, PresentLevel, Tolerances,
};

/// What is judged of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgedFigures {
    /// When it ended.
    pub ended_at: Timestamp,
    /// Of a run that counts.
    pub values: BTreeMap<Measure, f64>,
    /// Completion tokens of a request; absent when the run does not count.
    pub completion_tokens_mean: Option<f64>,
    /// Whether others used the server beyond the threshold.
    pub contaminated: bool,
    /// Whether that could be seen.
    pub contention_observable: bool,
    /// Of the environment; empty when nothing is known of it.
    pub fingerprint: String,
    /// Whether the server was started anew since the run before.
    pub restarted: bool,
}

/// The judges of every measure of one deployment and workload.
#[derive(Clone, Debug)]
pub struct Judges {
    judges: BTreeMap<Measure, Judge>,
    completion_tokens_mean: Option<f64>,
}

/// What the judges of a probe say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Opinion {
    /// Of each measure.
    pub judgements: BTreeMap<Measure, Judgement>,
    /// The headline's present level, and the completion tokens of a request: what precisions are compared by.
    /// Absent while the level has too few runs.
    pub level: Option<(PresentLevel, f64)>,
}

impl Judges {
    /// Judges of a probe without runs.
    pub fn new(tolerances: &Tolerances) -> Self {
        let judge = |measure: &Measure| {
            let judge = Judge::new(measure.good(), tolerances.of(*measure));
            (*measure, judge)
        };
        Self {
            judges: Measure::ALL.iter().map(judge).collect(),
            completion_tokens_mean: None,
        }
    }

    /// Takes in the next run, and tells the verdicts that begin with it.
    pub fn feed(&mut self, run: &JudgedFigures) -> Vec<(Measure, Edge)> {
        self.completion_tokens_mean = run.completion_tokens_mean.or(self.completion_tokens_mean);
        let edges = self.judges.iter_mut().filter_map(|(measure, judge)| {
            let edge = judge.feed(&JudgedRun {
                ended_at: run.ended_at,
                value: run.values.get(measure).copied(),
                contaminated: run.contaminated,
                contention_observable: run.contention_observable,
                fingerprint: &run.fingerprint,
                restarted: run.restarted,
            })?;
            Some((*measure, edge))
        });
        edges.collect()
    }

    /// Does what an intervention asks for, and tells the measures that it was said of.
    ///
    /// # Errors
    /// When it acknowledges a verdict, and none stands.
    pub fn intervene(
        &mut self,
        intervention: &Intervention,
    ) -> Result<Vec<Measure>, NothingToAcknowledge> {
        let is_meant = |measure: Measure| intervention.measure.is_none_or(|meant| meant == measure);
        let mut measures = Vec::new();
        for (measure, judge) in &mut self.judges {
            if !is_meant(*measure) {
                continue;
            }
            match intervention.act {
                Act::Acknowledge(settlement) => {
                    let acknowledgement = intervention.acknowledgement(settlement);
                    if judge.acknowledge(acknowledgement).is_err() {
                        continue;
                    }
                }
                Act::Pin => judge.pin(),
                Act::Unpin => judge.unpin(),
            }
            measures.push(*measure);
        }
        if measures.is_empty() {
            return Err(NothingToAcknowledge);
        }
        Ok(measures)
    }

    /// What they say.
    pub fn opinion(&self) -> Opinion {
        let judgement = |(measure, judge): (&Measure, &Judge)| (*measure, judge.judgement());
        let headline = self.judges.get(&Measure::DecodeTokensRate);
        Opinion {
            judgements: self.judges.iter().map(judgement).collect(),
            level: headline
                .and_then(Judge::present_level)
                .zip(self.completion_tokens_mean),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Settlement, Verdict};

    fn run(n: i64, decode_tps: f64, fingerprint: &str) -> JudgedFigures {
        JudgedFigures {
            ended_at: Timestamp::from_second(900 * n).unwrap(),
            values: BTreeMap::from([
                (Measure::DecodeTokensRate, decode_tps),
                (Measure::E2eP50, 4_096.0 / decode_tps),
            ]),
            completion_tokens_mean: Some(256.0),
            contaminated: false,
            contention_observable: true,
            fingerprint: fingerprint.to_owned(),
            restarted: false,
        }
    }

    #[test]
    fn a_change_that_costs_a_twentieth_is_found_by_every_measure_that_shows_it() {
        let mut judges = Judges::new(&Tolerances::default());
        let wobble = |n: i64| 1.0 + 0.002 * f64::from(i8::try_from(n % 5).unwrap() - 2);
        for n in 0..30 {
            assert_eq!(judges.feed(&run(n, 600.0 * wobble(n), "a")), []);
        }
        let mut found = Vec::new();
        for n in 30..40 {
            let edges = judges.feed(&run(n, 570.0 * wobble(n), "b"));
            found.extend(
                edges
                    .into_iter()
                    .map(|(measure, edge)| (n, measure, edge.verdict)),
            );
        }
        let measures: Vec<_> = found
            .iter()
            .map(|(_, measure, verdict)| (*measure, *verdict))
            .collect();
        assert_eq!(
            measures,
            [
                (Measure::DecodeTokensRate, Verdict::Regressed),
                (Measure::E2eP50, Verdict::Regressed),
            ]
        );
        assert!(found.iter().all(|(n, ..)| *n <= 36), "{found:?}");
        let opinion = judges.opinion();
        let previous = opinion.judgements[&Measure::DecodeTokensRate]
            .previous
            .unwrap();
        assert!(
            previous.lower < 0.95 && 0.95 < previous.upper,
            "{previous:?}"
        );
        assert_eq!(opinion.judgements[&Measure::TtftP50].baseline_runs, 0);
    }

    fn said(at: i64, act: Act) -> Intervention {
        Intervention {
            at: Timestamp::from_second(900 * at).unwrap(),
            by: "on-call".to_owned(),
            why: "a test".to_owned(),
            measure: None,
            act,
        }
    }

    #[test]
    fn an_intervention_is_about_every_measure_that_it_can_be_said_of() {
        let mut judges = Judges::new(&Tolerances::default());
        let wobble = |n: i64| 1.0 + 0.002 * f64::from(i8::try_from(n % 5).unwrap() - 2);
        let until = Settlement::Until(Timestamp::from_second(900 * 60).unwrap());
        let seen = said(40, Act::Acknowledge(until));
        assert_eq!(judges.intervene(&seen), Err(NothingToAcknowledge));
        for n in 0..40 {
            let (level, fingerprint) = if n < 30 { (600.0, "a") } else { (570.0, "b") };
            judges.feed(&run(n, level * wobble(n), fingerprint));
        }
        let judged = Ok(vec![Measure::DecodeTokensRate, Measure::E2eP50]);
        assert_eq!(judges.intervene(&seen), judged);
        let at = |n: i64| Timestamp::from_second(900 * n).unwrap();
        let headline =
            |judges: &Judges| judges.opinion().judgements[&Measure::DecodeTokensRate].clone();
        let stands = headline(&judges).standing.unwrap();
        assert!(stands.is_acknowledged(at(59)) && !stands.is_acknowledged(at(61)));

        let one = Intervention {
            measure: Some(Measure::E2eP50),
            ..said(41, Act::Pin)
        };
        assert_eq!(judges.intervene(&one), Ok(vec![Measure::E2eP50]));
        let opinion = judges.opinion();
        assert_eq!(opinion.judgements[&Measure::E2eP50].standing, None);
        assert!(headline(&judges).standing.is_some());

        assert_eq!(
            judges.intervene(&said(42, Act::Unpin)),
            Ok(Measure::ALL.to_vec())
        );
        let headline = headline(&judges);
        assert_eq!((headline.baseline_runs, headline.standing), (0, None));
    }
}
