//! The long-running process: a prober and a server over one board, started together and ended in order.

mod discovery;
mod reload;
mod sources;
mod web;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::discovery::{Discovery, planned};
use self::reload::Felt;
pub use self::reload::{Load, Loaded, Reload};
pub use self::web::WebFile;
use crate::board::{Board, DeploymentStatus, LastRun, Outcome};
use crate::deployment::{Deployment, DeploymentName};
use crate::history::{
    EnvironmentChange, Health, History, HistoryError, Latest, Operation, Recorder, Retention,
    Writing,
};
use crate::lifecycle::{Lifecycle, ReloadRequests, Reloader, lifecycle, reloader};
use crate::measurement::RunId;
use crate::prober::{Plan, Prober};
use crate::report::{EnvironmentJson, FieldChangeJson};
use crate::server::{self, Front, ProbeSettings, Served};
use crate::supervisor::Supervisor;
use crate::vitals::Vitals;

/// How long the last answers may take once the prober has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// How long the last runs may take to be stored once the prober has ended.
const LAST_RUNS: Duration = Duration::from_secs(5);

/// A daemon that is ready to run.
#[derive(Debug)]
pub struct Daemon {
    board: Arc<Board>,
    prober: Prober,
    served: Arc<Served>,
    vitals: Arc<Vitals>,
    listeners: Vec<TcpListener>,
    front: Arc<Front>,
    writing: Option<Writing>,
    recorder: Option<Recorder>,
    /// How the configuration is read anew, and what asks for that.
    reload: Option<(Reload, ReloadRequests)>,
    reloader: Option<Reloader>,
    lifecycle: Lifecycle,
    probes: ProbeSettings,
    supervisor: Supervisor,
    shutdown_grace: Duration,
}

impl Daemon {
    /// Puts a plan and its listeners together. `configuration` is the text that `/config` shows.
    pub fn new(plan: Plan, configuration: String, listeners: Vec<TcpListener>) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the configuration's age counts from here"
        )]
        let configured_at = Timestamp::now();
        let board = Arc::new(plan.board());
        let vitals = Arc::new(Vitals::default());
        let served = Arc::new(Served::new(
            Arc::clone(&board),
            Arc::clone(&vitals),
            configuration,
            configured_at,
        ));
        let (lifecycle, orders) = lifecycle();
        Self {
            shutdown_grace: plan.shutdown_grace,
            prober: Prober::new(plan, Arc::clone(&board)).obeying(orders),
            board,
            served,
            vitals,
            listeners,
            front: Arc::default(),
            writing: None,
            recorder: None,
            reload: None,
            reloader: None,
            lifecycle,
            probes: ProbeSettings::default(),
            supervisor: Supervisor::default(),
        }
    }

    /// The same daemon under a supervisor, which is told when it is ready and when it stops, and may watch the
    /// loop that schedules.
    pub fn supervised(mut self, supervisor: Supervisor) -> Self {
        self.prober = self.prober.watched(supervisor.watchdog());
        Self { supervisor, ..self }
    }

    /// The same daemon with a history: what it holds of the probes is shown from the start, and every finished run
    /// is stored in it.
    ///
    /// # Errors
    /// When the history cannot be read.
    pub async fn keeping(
        mut self,
        history: History,
        retention: Retention,
    ) -> Result<Self, HistoryError> {
        let health = Arc::new(Health::default());
        let mut stored = history.reader().await?;
        restore(&self.board, stored.latest().await?, &health);
        restore_changes(&self.board, stored.environment_changes(None).await?);
        info!(file = %history.file().display(), "history open");
        let storage = history.file().with_file_name("");
        self.served
            .show_history(storage.clone(), Arc::clone(&health));
        let (recorder, writing) = Recorder::start(history, retention, health);
        self.recorder = Some(recorder.clone());
        self.prober = self.prober.recording(recorder, storage);
        self.writing = Some(writing);
        Ok(self)
    }

    /// The same daemon, which follows its configuration while it runs.
    #[must_use]
    pub fn following(mut self, reload: Reload) -> Self {
        let (reloader, requests) = reloader();
        self.reload = Some((reload, requests));
        self.reloader = Some(reloader);
        self
    }

    /// The same daemon, which lets whoever can reach it intervene in what it judges, and have its configuration read
    /// anew.
    #[must_use]
    pub fn allowing_lifecycle(self) -> Self {
        self.served.allow_lifecycle(self.lifecycle.clone());
        if let Some(reloader) = self.reloader.clone() {
            self.served.allow_reload(reloader);
        }
        self
    }

    /// The same daemon, which answers `/probe` like this.
    #[must_use]
    pub fn probing(mut self, probes: ProbeSettings) -> Self {
        self.probes = probes;
        self
    }

    /// The same daemon behind `front`, which may be protected anew while it runs.
    #[must_use]
    pub fn behind(mut self, front: Arc<Front>) -> Self {
        self.front = front;
        self
    }

    /// The board that it publishes on.
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Probes and serves until `stop`: then no run starts any more, those in flight get their grace, and
    /// `/metrics` answers until they have ended.
    ///
    /// # Errors
    /// When a listener fails for good.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        let Self {
            mut prober,
            served,
            vitals,
            listeners,
            front,
            writing,
            recorder,
            reload,
            reloader: _reloader,
            lifecycle,
            probes,
            supervisor,
            shutdown_grace,
            board: _,
        } = self;
        served.answer_probes(lifecycle.probing(), probes);
        let (plans, next_plans) = mpsc::channel(1);
        if reload.is_some() {
            prober = prober.following(next_plans);
        }
        let probed = CancellationToken::new();
        let mut serving = tokio::spawn(server::serve(
            listeners,
            Arc::clone(&served),
            front,
            probed.clone(),
        ));
        served.mark_ready(true);
        supervisor.ready();
        info!("probing");
        let probing = async {
            let until_stop = async {
                stop.cancelled().await;
                served.mark_ready(false);
                supervisor.stopping(shutdown_grace.saturating_add(LAST_RUNS + LAST_ANSWERS));
            };
            let felt = Felt {
                plans,
                served: &served,
                recorder,
                supervisor: &supervisor,
            };
            let following = async {
                if let Some((reload, requests)) = reload {
                    reload.follow(requests, felt, stop.clone()).await;
                }
            };
            tokio::join!(
                prober.run(stop.clone()),
                vitals.watch(&stop),
                following,
                until_stop
            );
            if let Some(writing) = writing {
                writing.finish(LAST_RUNS).await;
            }
        };
        tokio::select! {
            () = probing => {}
            // The server ends by itself only when it cannot go on.
            ended = &mut serving => return ended.map_err(io::Error::other)?,
        }
        probed.cancel();
        match timeout(LAST_ANSWERS, &mut serving).await {
            Ok(ended) => ended.map_err(io::Error::other)??,
            Err(_) => {
                warn!("closing connections that are still open");
                serving.abort();
            }
        }
        info!("stopped");
        Ok(())
    }
}

/// What a deployment ran on by its latest run of any probe, so that a change while the prober was down is one.
fn restore_environment(
    board: &Board,
    deployment: &Deployment,
    environment: &EnvironmentJson,
    seen_at: Timestamp,
) {
    let shown = board.snapshot();
    let known = shown.deployments.get(&deployment.name);
    if known.is_some_and(|known| known.seen_at >= seen_at) {
        return;
    }
    let status = DeploymentStatus {
        generation: environment.to_generation(),
        ..DeploymentStatus::unknown(seen_at)
    };
    board.update_deployment(&deployment.name, status);
}

/// When each environment last changed, as far as it is known at all what it is now.
fn restore_changes(board: &Board, changes: Vec<EnvironmentChange>) {
    for change in changes {
        let name = DeploymentName::new(change.deployment);
        let shown = board.snapshot();
        if let Some(status) = shown.deployments.get(&name) {
            let mut status = DeploymentStatus::clone(status);
            let fields = change.fields.iter().filter_map(FieldChangeJson::read);
            status.changed(change.at, fields.collect());
            board.update_deployment(&name, status);
        }
    }
}

/// Shows the last run of every probe that has one of the very workload that it replays now.
fn restore(board: &Board, known: Vec<Latest>, health: &Health) {
    for latest in known {
        let shown = board.snapshot();
        let probe = shown.probes.iter().position(|probe| {
            probe.deployment.name.as_str() == latest.series.deployment
                && probe.workload.name.as_str() == latest.series.workload
                && probe.workload.id().to_string() == latest.series.workload_id
        });
        let Some(probe) = probe else { continue };
        let run = latest.run.read();
        match run.and_then(|run| Ok((run.summary()?, run))) {
            Ok((summary, run)) => {
                let base_url = shown.probes[probe].deployment.endpoint.base_url();
                let is_same_server = run.base_url.as_deref() == Some(base_url);
                let process_start = summary.server.process_start.filter(|_| is_same_server);
                restore_environment(
                    board,
                    &shown.probes[probe].deployment,
                    &run.environment,
                    latest.run.ended_at,
                );
                let last = LastRun {
                    ended_at: latest.run.ended_at,
                    outcome: Outcome::Ran {
                        id: RunId(run.run_id),
                        model: run.model,
                        server_version: run.server.version,
                        summary: Arc::new(summary),
                    },
                };
                board.update(probe, |status| {
                    status.restore(last, latest.last_valid, process_start);
                });
            }
            Err(error) => {
                health.failed(Operation::Read);
                warn!(run_id = %latest.run.id, %error, "the last run cannot be read, so it is not shown");
            }
        }
    }
}
