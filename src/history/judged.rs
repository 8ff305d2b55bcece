//! Stored runs before the judges: wherever they are judged again, they are the same to the judges, and what people
//! said is said at the same place.

use super::{SeriesPoint, StoredIntervention};
use crate::judges::{JudgedFigures, Judges};
use crate::measure::{Measure, Tolerances};
use crate::verdict::Edge;

/// Judges the runs of a series, oldest first, with what was said between them, and tells `each` run with the verdicts
/// that begin with it.
pub fn judge_again(
    points: &[SeriesPoint],
    said: &[StoredIntervention],
    tolerances: &Tolerances,
    mut each: impl FnMut(&SeriesPoint, &[(Measure, Edge)]),
) -> Judges {
    let mut said: Vec<_> = said.iter().map(|said| (said.place(points), said)).collect();
    said.sort_by_key(|(place, _)| *place);
    let mut said = said.into_iter().peekable();
    let mut judges = Judges::new(tolerances);
    for (index, point) in points.iter().enumerate() {
        each(point, &judges.feed(&JudgedFigures::from(point)));
        while let Some((_, said)) = said.next_if(|(place, _)| *place <= index + 1) {
            // With another tolerance there may be no verdict where one was acknowledged.
            let _ = judges.intervene(&said.intervention);
        }
    }
    judges
}

impl StoredIntervention {
    /// After how many of `points` it was said: by its time only, if the run before it is not there any more.
    pub fn place(&self, points: &[SeriesPoint]) -> usize {
        let known = self
            .after_run
            .as_ref()
            .and_then(|id| points.iter().rposition(|point| point.id == *id));
        known.map_or_else(
            || points.partition_point(|point| point.ended_at <= self.intervention.at),
            |index| index + 1,
        )
    }
}

impl From<&SeriesPoint> for JudgedFigures {
    fn from(stored: &SeriesPoint) -> Self {
        let point = &stored.point;
        let values = [
            (Measure::DecodeTokensRate, point.decode_tokens_rate),
            (Measure::RequestsRate, point.requests_rate),
            (Measure::PromptTokensRate, point.prompt_tokens_rate),
            (Measure::TtftP50, point.ttft_p50),
            (Measure::TpotP50, point.tpot_p50),
            (Measure::E2eP50, point.e2e_p50),
        ];
        Self {
            ended_at: stored.ended_at,
            values: values
                .into_iter()
                .filter_map(|(measure, value)| Some((measure, value?)))
                .collect(),
            completion_tokens_mean: point.completion_tokens_mean,
            contaminated: point.contaminated,
            contention_observable: point.observable,
            fingerprint: point.fingerprint.clone().unwrap_or_default(),
            restarted: point.restarted,
        }
    }
}
