//! Runs that someone asks for and waits for, beside the schedule: what is asked, and what came of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Order, Refusal};
use crate::closed_set::closed_set;
use crate::deployment::Deployment;
use crate::measurement::Run;
use crate::run_log::RunLog;
use crate::statistics::Summary;
use crate::workload::Workload;

/// Where such runs are asked for. Cheap to clone; it can ask for nothing else.
#[derive(Clone, Debug)]
pub struct Probing(pub(super) mpsc::Sender<Order>);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The name of a deployment, or a base URL.
    pub target: String,
    /// The workload's name; absent when the only light one is meant.
    pub workload: Option<String>,
    /// How long whoever asks waits for the answer, as far as that is known.
    pub patience: Option<Duration>,
    /// What of that is left for the answer's way.
    pub offset: Duration,
    /// Since when.
    pub asked: Instant,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Probed {
    /// Whom it was about.
    pub deployment: Arc<Deployment>,
    /// What was replayed.
    pub workload: Arc<Workload>,
    /// How long it was allowed to take in all.
    pub limit: Duration,
    /// How long it took in all, until it was over.
    pub took: Duration,
    /// How long of that it had to wait for its lane; all of it, if it was never let in.
    pub waited: Duration,
    /// The run and what it amounts to, or why there was none.
    pub outcome: Result<(Arc<Run>, Arc<Summary>), Unmeasured>,
    /// Its log.
    pub log: Arc<RunLog>,
}

/// Why there was no run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmeasured {
    /// The reason of a closed set.
    pub reason: ProbeFailure,
    /// What there is to say of it, for people.
    pub detail: String,
}

closed_set! {
    /// Why a probe came to no run.
    ProbeFailure:
    Lane "lane" "Another run held the lane or the deployment until the time was over.",
    Timeout "timeout" "The run had not ended when the time was over.",
    Asleep "asleep" "The server sleeps, and a probe never wakes it.",
    NotRun "not_run" "No run came about: nothing could be sent, the model to ask for is unknown, or the run panicked.",
}

impl Probing {
    /// Asks for a run, and waits until it is over. Whoever does not wait to the end cuts it, and it leaves no trace.
    ///
    /// # Errors
    /// When nothing is to be probed so.
    pub async fn probe(&self, wanted: Wanted) -> Result<Probed, Refusal> {
        let (answer, answered) = oneshot::channel();
        let sent = self.0.send(Order::Probe(wanted, answer)).await;
        sent.map_err(|_| Refusal::Stopping)?;
        answered.await.unwrap_or(Err(Refusal::Stopping))
    }
}
