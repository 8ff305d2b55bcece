//! What the daemon can be told while it runs: orders, which the prober takes one at a time between its other work,
//! each with its answer.

mod probing;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::judges::Act;
use crate::measure::Measure;
use crate::target::TargetRefusal;
use crate::verdict::NothingToAcknowledge;

pub use self::probing::{ProbeFailure, Probed, Probing, Unmeasured, Wanted};

/// Orders that may wait to be taken.
const WAITING: usize = 16;

/// Where orders are given. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lifecycle(mpsc::Sender<Order>);

/// Where they are taken.
pub type Orders = mpsc::Receiver<Order>;

/// An order, and where its answer goes; whoever asked may have gone.
#[derive(Debug)]
pub enum Order {
    /// Someone intervenes in the judging.
    Intervene(InterventionRequest, Answer<Vec<Intervened>>),
    /// A run is wanted before its time; the answer names the workloads that have one coming.
    Run(ProbeRequest, Answer<Vec<String>>),
    /// A run is to be cut; the answer names the workloads whose run is.
    Cancel(ProbeRequest, Answer<Vec<String>>),
    /// A light run is wanted beside the schedule; the answer comes when it is over.
    Probe(Wanted, Answer<Probed>),
}

/// Where an answer goes.
pub type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// Which probes are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeRequest {
    /// The deployment's name.
    pub deployment: String,
    /// The workload's name; absent when all of the deployment's are meant.
    pub workload: Option<String>,
}

/// Someone intervenes in the judging of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterventionRequest {
    /// Of which probes: of several, all are meant that are judged.
    pub probes: ProbeRequest,
    /// Of which measure; absent when all are meant that it can be said of.
    pub measure: Option<Measure>,
    /// By whom.
    pub by: String,
    /// For which reason.
    pub why: String,
    /// What is to be done.
    pub act: Act,
}

/// What an intervention was said of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intervened {
    /// The workload's name.
    pub workload: String,
    /// Which measures.
    pub measures: Vec<Measure>,
    /// Whether it is in the history by now. If not, it is stored as soon as the history works again; without a
    /// history it is forgotten at the end.
    pub stored: bool,
}

/// Why an order was not followed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no such deployment.
    #[error("there is no deployment `{0}`")]
    UnknownDeployment(String),
    /// There is no such probe.
    #[error("the deployment `{deployment}` has no probe of the workload `{workload}`")]
    UnknownWorkload {
        /// The deployment, which there is.
        deployment: String,
        /// The workload.
        workload: String,
    },
    /// A light probe has no judges.
    #[error(
        "the runs of these probes are not judged: a workload of one request in flight is a sign of life, and no \
         measurement"
    )]
    NotJudged,
    /// The judges are still reading the history.
    #[error("the history is still being read; try again in a moment")]
    NotYet,
    /// Their runs go on already.
    #[error("a run is going on already; wait for its end, or cancel it")]
    Running,
    /// There is no run to cut.
    #[error("no run is going on")]
    NotRunning,
    /// There is no verdict.
    #[error(transparent)]
    NothingToAcknowledge(#[from] NothingToAcknowledge),
    /// It cannot be probed so.
    #[error(transparent)]
    Target(#[from] TargetRefusal),
    /// The prober is ending.
    #[error("the prober is stopping")]
    Stopping,
}

/// Where the configuration is asked to be read anew. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloader(mpsc::Sender<ReloadAnswer>);

/// Where it is read.
pub type ReloadRequests = mpsc::Receiver<ReloadAnswer>;

/// Where the outcome goes: what is wrong with the configuration or with the web configuration, in words for people.
pub type ReloadAnswer = oneshot::Sender<Result<(), String>>;

/// Both ends of what asks for another configuration.
pub fn reloader() -> (Reloader, ReloadRequests) {
    let (sender, requests) = mpsc::channel(WAITING);
    (Reloader(sender), requests)
}

impl Reloader {
    /// Asks for the configuration and the web configuration to be read anew, and waits until they hold.
    ///
    /// # Errors
    /// What is wrong with which of them: that one has changed nothing.
    pub async fn reload(&self) -> Result<(), String> {
        let stopping = || Refusal::Stopping.to_string();
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.map_err(|_| stopping())?;
        answered.await.unwrap_or_else(|_| Err(stopping()))
    }
}

/// Both ends.
pub fn lifecycle() -> (Lifecycle, Orders) {
    let (sender, orders) = mpsc::channel(WAITING);
    (Lifecycle(sender), orders)
}

impl Lifecycle {
    /// What can ask for runs beside the schedule, and for nothing else.
    pub fn probing(&self) -> Probing {
        Probing(self.0.clone())
    }

    /// Asks for an intervention, and waits until it is done.
    ///
    /// # Errors
    /// When it could not be; the others say so too.
    pub async fn intervene(
        &self,
        request: InterventionRequest,
    ) -> Result<Vec<Intervened>, Refusal> {
        self.ask(|answer| Order::Intervene(request, answer)).await
    }

    /// Asks for a run before its time, which starts as soon as its lane is free and nothing else is in its way.
    ///
    /// # Errors
    /// When one goes on already.
    pub async fn run(&self, probes: ProbeRequest) -> Result<Vec<String>, Refusal> {
        self.ask(|answer| Order::Run(probes, answer)).await
    }

    /// Asks for runs to be cut, which leave no trace then.
    ///
    /// # Errors
    /// When none goes on.
    pub async fn cancel(&self, probes: ProbeRequest) -> Result<Vec<String>, Refusal> {
        self.ask(|answer| Order::Cancel(probes, answer)).await
    }

    async fn ask<T>(&self, order: impl FnOnce(Answer<T>) -> Order) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        let sent = self.0.send(order(answer)).await;
        sent.map_err(|_| Refusal::Stopping)?;
        answered.await.unwrap_or(Err(Refusal::Stopping))
    }
}
