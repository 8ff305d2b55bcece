//! The long-running process: a prober and a server over one board, started together and ended in order.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::board::Board;
use crate::prober::{Plan, Prober};
use crate::server::{self, Served};
use crate::vitals::Vitals;

/// How long the last answers may take once the prober has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// A daemon that is ready to run.
#[derive(Debug)]
pub struct Daemon {
    board: Arc<Board>,
    prober: Prober,
    served: Arc<Served>,
    vitals: Arc<Vitals>,
    listeners: Vec<TcpListener>,
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
        Self {
            prober: Prober::new(plan, Arc::clone(&board)),
            board,
            served,
            vitals,
            listeners,
        }
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
            prober,
            served,
            vitals,
            listeners,
            ..
        } = self;
        let probed = CancellationToken::new();
        let mut serving = tokio::spawn(server::serve(
            listeners,
            Arc::clone(&served),
            probed.clone(),
        ));
        served.mark_ready(true);
        info!("probing");
        let probing = async {
            let until_stop = async {
                stop.cancelled().await;
                served.mark_ready(false);
            };
            tokio::join!(prober.run(stop.clone()), vitals.watch(&stop), until_stop)
        };
        tokio::select! {
            _ = probing => {}
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
