//! The long-running process: a prober and a server over one board, started together and ended in order.

mod discovery;
mod known;
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
use self::known::{Stored, known};
use self::reload::Felt;
pub use self::reload::{Load, Loaded, Reload};
pub use self::web::WebFile;
use crate::board::{Board, Snapshot};
use crate::history::{Health, History, HistoryError, Recorder, Retention, Writing};
use crate::lifecycle::{Lifecycle, ReloadRequests, Reloader, lifecycle, reloader};
use crate::prober::{Plan, Prober};
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
    /// Where the history is.
    stored: Option<Stored>,
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
            stored: None,
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
        let known = known(&mut stored, &health).await?;
        let mut shown = Snapshot::clone(&self.board.snapshot());
        shown.recall(known);
        self.board.replace(shown);
        info!(file = %history.file().display(), "history open");
        let storage = history.file().with_file_name("");
        self.served
            .show_history(storage.clone(), Arc::clone(&health));
        self.stored = Some(Stored {
            storage: storage.clone(),
            health: Arc::clone(&health),
        });
        let (recorder, writing) = Recorder::start(history, retention, health);
        self.recorder = Some(recorder.clone());
        self.prober = self.prober.recording(recorder, storage);
        self.writing = Some(writing);
        Ok(self)
    }

    /// The same daemon, which follows its configuration while it runs.
    #[must_use]
    pub fn following(mut self, reload: Reload) -> Self {
        // Nothing is served before: the first scrape has all that later ones have.
        reload.show(&self.served);
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
            stored,
            board,
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
                stored,
                board,
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
