//! Judges the runs of every probe as they end. After a start the runs of the history come first, in the background:
//! verdicts are opinions about stored runs, and come out the same whenever they are made again.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tracing::warn;

use super::PlannedProbe;
use crate::history::{Reader, Series, SeriesPoint};
use crate::judges::{JudgedFigures, Judges};
use crate::statistics::{InvalidReason, Summary};
use crate::verdict::{Edge, Measure};

/// Where the judges of one probe stand.
#[derive(Debug)]
pub(super) enum Bench {
    /// A light probe is not judged.
    Empty,
    /// The history is being read; meanwhile runs wait.
    Replaying(Vec<JudgedFigures>),
    /// Every run so far was judged.
    Sitting(Box<Judges>),
}

/// The judges of a probe, after the runs of the history.
#[derive(Debug)]
pub(super) struct Replayed {
    /// Whose.
    pub(super) probe: usize,
    judges: Judges,
    /// The end of the last run that they know; absent without any.
    until: Option<Timestamp>,
}

impl Bench {
    /// For a probe whose history is read first, if there is one.
    pub(super) fn of(planned: &PlannedProbe, has_history: bool) -> Self {
        match (planned.workload.is_light(), has_history) {
            (true, _) => Self::Empty,
            (false, true) => Self::Replaying(Vec::new()),
            (false, false) => Self::Sitting(Box::default()),
        }
    }

    /// Judges a run that has just ended.
    pub(super) fn take(&mut self, run: JudgedFigures) -> Vec<(Measure, Edge)> {
        match self {
            Self::Empty => Vec::new(),
            Self::Replaying(waiting) => {
                waiting.push(run);
                Vec::new()
            }
            Self::Sitting(judges) => judges.feed(&run),
        }
    }

    /// Takes the judges in that have read the history, and lets them judge what has waited for them. The history may
    /// have held some of it already.
    pub(super) fn sit(&mut self, replayed: Replayed) -> Vec<(Measure, Edge)> {
        let Replayed {
            mut judges, until, ..
        } = replayed;
        let mut edges = Vec::new();
        if let Self::Replaying(waiting) = self {
            for run in waiting.drain(..) {
                if until.is_none_or(|until| run.ended_at > until) {
                    edges.extend(judges.feed(&run));
                }
            }
        }
        *self = Self::Sitting(Box::new(judges));
        edges
    }

    /// The judges, once they sit.
    pub(super) fn judges(&self) -> Option<&Judges> {
        match self {
            Self::Sitting(judges) => Some(judges),
            Self::Empty | Self::Replaying(_) => None,
        }
    }
}

/// Lets judges read the history of each probe that is judged, and sends them when they are done.
pub(super) async fn replay(
    mut reader: Reader,
    probes: Vec<PlannedProbe>,
    done: mpsc::Sender<Replayed>,
) {
    for (probe, planned) in probes.into_iter().enumerate() {
        if planned.workload.is_light() {
            continue;
        }
        let series = Series {
            deployment: planned.deployment.name.to_string(),
            workload: planned.workload.name.to_string(),
            workload_id: planned.workload.id().to_string(),
        };
        let points = match reader.series(&series, Timestamp::UNIX_EPOCH).await {
            Ok(points) => points,
            Err(error) => {
                warn!(deployment = series.deployment, workload = series.workload, %error, "the history cannot be read, so the verdicts begin anew");
                Vec::new()
            }
        };
        // Years of runs take a while to judge.
        let judged = spawn_blocking(move || {
            let mut judges = Judges::default();
            let until = points.last().map(|point| point.ended_at);
            for point in points {
                judges.feed(&of_point(point));
            }
            Replayed {
                probe,
                judges,
                until,
            }
        });
        let Ok(replayed) = judged.await else { continue };
        if done.send(replayed).await.is_err() {
            return;
        }
    }
}

fn of_point(stored: SeriesPoint) -> JudgedFigures {
    let point = stored.point;
    let values = [
        (Measure::DecodeTokensRate, point.decode_tokens_rate),
        (Measure::RequestsRate, point.requests_rate),
        (Measure::PromptTokensRate, point.prompt_tokens_rate),
        (Measure::TtftP50, point.ttft_p50),
        (Measure::TpotP50, point.tpot_p50),
        (Measure::E2eP50, point.e2e_p50),
    ];
    JudgedFigures {
        ended_at: stored.ended_at,
        values: values
            .into_iter()
            .filter_map(|(measure, value)| Some((measure, value?)))
            .collect(),
        completion_tokens_mean: point.completion_tokens_mean,
        contaminated: point.contaminated,
        contention_observable: point.observable,
        fingerprint: point.fingerprint.unwrap_or_default(),
        restarted: point.restarted,
    }
}

/// What is judged of a run that has just ended, in the environment of that fingerprint.
pub(super) fn of_summary(
    summary: &Arc<Summary>,
    ended_at: Timestamp,
    fingerprint: String,
) -> JudgedFigures {
    let figures = summary.figures.as_ref();
    let values = figures.map(|figures| {
        [
            (Measure::DecodeTokensRate, Some(figures.decode_tps)),
            (Measure::RequestsRate, Some(figures.qps)),
            (Measure::PromptTokensRate, Some(figures.prompt_tps)),
            (Measure::TtftP50, figures.ttft.map(|ttft| ttft.p50)),
            (Measure::TpotP50, figures.tpot.map(|tpot| tpot.p50)),
            (Measure::E2eP50, Some(figures.latency.p50)),
        ]
    });
    JudgedFigures {
        ended_at,
        values: values
            .into_iter()
            .flatten()
            .filter_map(|(measure, value)| Some((measure, value?)))
            .collect(),
        completion_tokens_mean: figures.map(|figures| figures.completion_tokens_mean),
        contaminated: summary
            .invalid_reasons
            .contains(&InvalidReason::Contaminated),
        contention_observable: summary.server.is_observable(),
        fingerprint,
        restarted: summary.server.restarted,
    }
}
