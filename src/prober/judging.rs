//! Judges the runs of every probe as they end. After a start the runs of the history come first, in the background:
//! verdicts are opinions about stored runs, and come out the same whenever they are made again. What people said of
//! them is stored too, and is said again where it was said.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::{JoinError, spawn_blocking};
use tracing::warn;

use crate::board::{MOST_RUNS, RecentRun};
use crate::history::{
    HistoryError, Reader, Series, SeriesPoint, StoredIntervention, StoredRun, judge_again,
};
use crate::judges::{Intervention, JudgedFigures, Judges};
use crate::lifecycle::Refusal;
use crate::measure::{Measure, Tolerances};
use crate::measurement::RunId;
use crate::panic::said;
use crate::statistics::{InvalidReason, Summary};
use crate::verdict::Edge;

/// A run that is to be judged, and which it is.
type Judged = (RunId, JudgedFigures);

/// Where the judges of one probe stand.
#[derive(Debug)]
pub(super) enum Bench {
    /// A light probe is not judged.
    Empty,
    /// The history is being read; meanwhile runs wait.
    Replaying {
        /// Which judges are awaited.
        seat: u64,
        waiting: Vec<Judged>,
    },
    /// Every run so far was judged.
    Sitting {
        judges: Box<Judges>,
        /// The last run that they know.
        last: Option<RunId>,
    },
}

/// Judges who have yet to read the history.
#[derive(Debug)]
pub(super) struct Unread {
    /// Where they are to sit.
    pub(super) seat: u64,
    pub(super) series: Series,
    pub(super) tolerances: Tolerances,
}

/// The judges of a probe, after the runs of the history.
#[derive(Debug)]
pub(super) struct Replayed {
    /// Where they are to sit.
    pub(super) seat: u64,
    judges: Judges,
    /// The last run that they know, and its end; absent without any.
    last: Option<(RunId, Timestamp)>,
    /// The last runs, to be shown.
    pub(super) recent: Vec<RecentRun>,
}

impl Bench {
    /// Judges who know of no run.
    pub(super) fn sitting(tolerances: &Tolerances) -> Self {
        Self::Sitting {
            judges: Box::new(Judges::new(tolerances)),
            last: None,
        }
    }

    /// Awaits the judges of that seat, who read the history.
    pub(super) fn replaying(seat: u64) -> Self {
        Self::Replaying {
            seat,
            waiting: Vec::new(),
        }
    }

    /// Whether the judges of that seat are awaited.
    pub(super) fn awaits(&self, seat: u64) -> bool {
        matches!(self, Self::Replaying { seat: own, .. } if *own == seat)
    }

    /// Judges a run that has just ended.
    pub(super) fn take(&mut self, id: RunId, run: JudgedFigures) -> Vec<(Measure, Edge)> {
        match self {
            Self::Empty => Vec::new(),
            Self::Replaying { waiting, .. } => {
                waiting.push((id, run));
                Vec::new()
            }
            Self::Sitting { judges, last } => {
                *last = Some(id);
                judges.feed(&run)
            }
        }
    }

    /// Takes the judges in that have read the history, and lets them judge what has waited for them. The history may
    /// have held some of it already.
    pub(super) fn sit(&mut self, replayed: Replayed) -> Vec<(Measure, Edge)> {
        let Replayed {
            mut judges, last, ..
        } = replayed;
        let (mut last, until) = last.unzip();
        let mut edges = Vec::new();
        if let Self::Replaying { waiting, .. } = self {
            for (id, run) in waiting.drain(..) {
                if until.is_none_or(|until| run.ended_at > until) {
                    edges.extend(judges.feed(&run));
                    last = Some(id);
                }
            }
        }
        *self = Self::Sitting {
            judges: Box::new(judges),
            last,
        };
        edges
    }

    /// Does what someone asks for, and tells which measures that was about and after which run it took effect.
    pub(super) fn intervene(
        &mut self,
        intervention: &Intervention,
    ) -> Result<(Vec<Measure>, Option<RunId>), Refusal> {
        match self {
            Self::Empty => Err(Refusal::NotJudged),
            Self::Replaying { .. } => Err(Refusal::NotYet),
            Self::Sitting { judges, last } => Ok((judges.intervene(intervention)?, last.clone())),
        }
    }

    /// The judges, once they sit.
    pub(super) fn judges(&self) -> Option<&Judges> {
        match self {
            Self::Sitting { judges, .. } => Some(judges),
            Self::Empty | Self::Replaying { .. } => None,
        }
    }
}

/// Lets judges read the history in `storage`, one after another, and sends them when they are done. All of them come:
/// while one is awaited its runs wait, and nothing is said of them.
pub(super) async fn replay(storage: PathBuf, unread: Vec<Unread>, done: mpsc::Sender<Replayed>) {
    let mut reader = Reader::open(&storage).await;
    for one in unread {
        let judging = AssertUnwindSafe(judged(reader.as_mut(), &one)).catch_unwind();
        let replayed = judging.await.unwrap_or_else(|payload| {
            one.tell(&format!("it panicked: {}", said(&*payload)));
            Replayed::nothing(&one)
        });
        if done.send(replayed).await.is_err() {
            return;
        }
    }
}

/// The judges of one probe, after what `reader` has of it.
async fn judged(reader: Result<&mut Reader, &mut HistoryError>, unread: &Unread) -> Replayed {
    let read = match reader {
        Ok(reader) => stored(reader, &unread.series)
            .await
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let (points, said, recent) = match read {
        Ok(stored) => stored,
        Err(error) => {
            unread.tell(&error);
            return Replayed::nothing(unread);
        }
    };
    let (seat, tolerances) = (unread.seat, unread.tolerances.clone());
    // Years of runs take a while to judge.
    let judging = spawn_blocking(move || Replayed {
        seat,
        last: points
            .last()
            .map(|point| (point.id.clone(), point.ended_at)),
        judges: judge_again(&points, &said, &tolerances, |_, _| {}),
        recent: recent.iter().filter_map(to_be_shown).collect(),
    });
    match judging.await.map_err(JoinError::try_into_panic) {
        Ok(replayed) => replayed,
        Err(Ok(payload)) => resume_unwind(payload),
        // The process ends.
        Err(Err(_cut)) => Replayed::nothing(unread),
    }
}

impl Unread {
    fn tell(&self, error: &str) {
        warn!(
            deployment = self.series.deployment,
            workload = self.series.workload,
            error,
            "the history cannot be read, so the verdicts begin anew"
        );
    }
}

impl Replayed {
    /// The judges of `unread` who know of no run.
    fn nothing(unread: &Unread) -> Self {
        Self {
            seat: unread.seat,
            judges: Judges::new(&unread.tolerances),
            last: None,
            recent: Vec::new(),
        }
    }
}

/// What the history has of a series: what is judged, what was said of it, and the last runs.
type Stored = (Vec<SeriesPoint>, Vec<StoredIntervention>, Vec<StoredRun>);

async fn stored(reader: &mut Reader, series: &Series) -> Result<Stored, HistoryError> {
    let points = reader.series(series, Timestamp::UNIX_EPOCH).await?;
    let said = reader.interventions(Some(series)).await?;
    Ok((points, said, reader.last_runs(series, MOST_RUNS).await?))
}

/// `None` for one that cannot be read, which is told where it is the last.
fn to_be_shown(stored: &StoredRun) -> Option<RecentRun> {
    let summary = stored.read().ok()?.summary().ok()?;
    Some(RecentRun::of(stored.id.clone(), stored.ended_at, &summary))
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
