//! Another configuration while the daemon runs: on SIGHUP, when asked over HTTP, and when the files change. The web
//! configuration, which is a file of its own, follows the same ways.
//!
//! It is read and checked as a whole before anything follows from it. One that has mistakes changes nothing, and its
//! mistakes are told in the log, in the answer and by a metric. Files are compared by what is in them, not by their
//! times: Kubernetes swaps links, and an editor may save without a change.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::discovery::Discovery;
use super::known::Stored;
use super::web::{self, WebFile};
use crate::board::{Board, Known};
use crate::config::{Contents, DeploymentSource};
use crate::history::{Recorder, Retention};
use crate::lifecycle::ReloadRequests;
use crate::prober::{NextPlan, Plan};
use crate::server::Served;
use crate::supervisor::Supervisor;

/// A configuration that was read, and what it asks for.
#[derive(Debug)]
pub struct Loaded {
    /// What there is to do by what stands in it.
    pub plan: Plan,
    /// The lists that tell of more.
    pub sources: Vec<DeploymentSource>,
    /// The text that `/config` shows.
    pub text: String,
    /// How long the history keeps what is in it.
    pub retention: Retention,
    /// What it was read from.
    pub contents: Contents,
}

/// Reads the configuration, or says what is wrong with it.
pub type Load = Arc<dyn Fn() -> Result<Loaded, String> + Send + Sync>;

/// How the configuration is read anew.
pub struct Reload {
    /// Reads it.
    pub load: Load,
    /// What it was read from: files that hold something else meanwhile are read anew.
    pub contents: Contents,
    /// How often they are looked at; never if absent.
    pub watch: Option<Duration>,
    /// Every SIGHUP since the start, if there is such a thing.
    pub hangups: Option<Signal>,
    /// Whom to probe by it.
    pub discovery: Discovery,
    /// Who is let in, if a file tells.
    pub web: Option<WebFile>,
}

/// Where another configuration is felt.
pub(super) struct Felt<'a> {
    pub(super) plans: mpsc::Sender<NextPlan>,
    pub(super) served: &'a Served,
    pub(super) recorder: Option<Recorder>,
    pub(super) stored: Option<Stored>,
    pub(super) board: Arc<Board>,
    pub(super) supervisor: &'a Supervisor,
}

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            load: _,
            contents,
            watch,
            hangups: _,
            discovery,
            web,
        } = self;
        f.debug_struct("Reload")
            .field("contents", contents)
            .field("watch", watch)
            .field("discovery", discovery)
            .field("web", web)
            .finish_non_exhaustive()
    }
}

/// What asks for another look at the configuration.
enum Cause {
    Signal,
    Request(oneshot::Sender<Result<(), String>>),
    Files,
}

impl Reload {
    /// Lets `served` show what is followed, and how it was loaded.
    pub(super) fn show(&self, served: &Served) {
        if let Some(web) = &self.web {
            web.show(served);
        }
        served.show_sources(self.discovery.statuses());
    }

    /// Follows the configuration until `stop`.
    pub(super) async fn follow(
        mut self,
        mut requests: ReloadRequests,
        felt: Felt<'_>,
        stop: CancellationToken,
    ) {
        let mut hangups = self.hangups.take();
        // Why it was not taken when it was last read.
        let mut refused: Option<String> = None;
        let mut seen = self.contents.clone();
        let mut looks = self.watch.map(looks_every);
        let mut web_looks = self.web.as_ref().map(|_| looks_every(web::LOOK_EVERY));
        while !stop.is_cancelled() {
            let cause = tokio::select! {
                () = stop.cancelled() => return,
                () = hung_up(&mut hangups) => Cause::Signal,
                Some(answer) = requests.recv() => Cause::Request(answer),
                () = next_look(&mut looks) => {
                    // What a refused one lacks may be in files that nobody knows of yet.
                    if refused.is_none() && read_again(seen.clone()).await == seen {
                        continue;
                    }
                    Cause::Files
                }
                () = next_look(&mut web_looks) => {
                    // It tells what is wrong by itself.
                    let _ = self.read_web(false, &felt).await;
                    continue;
                }
                () = self.discovery.read() => {
                    let plan = self.discovery.look().await;
                    if let Some(plan) = plan
                        && adopt(&felt, plan).await.is_err()
                    {
                        return;
                    }
                    felt.served.show_sources(self.discovery.statuses());
                    continue;
                }
            };
            let before = seen.clone();
            seen = read_again(seen).await;
            let done = self.once(&felt).await;
            match &done {
                Ok(()) => {
                    info!(by = cause.word(), "configuration read anew");
                    seen = self.contents.clone();
                    refused = None;
                }
                // What was refused is told again only if that is news, or if someone asked.
                Err(mistakes)
                    if matches!(cause, Cause::Files)
                        && seen == before
                        && refused.as_ref() == Some(mistakes) => {}
                Err(mistakes) => {
                    refused = Some(mistakes.clone());
                    felt.served.reload_failed(now());
                    error!(
                        by = cause.word(),
                        mistakes, "the configuration cannot be used, and nothing has changed"
                    );
                }
            }
            if matches!(cause, Cause::Files) {
                continue;
            }
            let web = self.read_web(true, &felt).await;
            if let Cause::Request(answer) = cause {
                // Whoever asked may have gone.
                let _ = answer.send(in_words(done, web));
            }
        }
    }

    async fn read_web(&mut self, asked: bool, felt: &Felt<'_>) -> Result<(), String> {
        match &mut self.web {
            Some(web) => web.read(asked, felt.served).await,
            None => Ok(()),
        }
    }

    async fn once(&mut self, felt: &Felt<'_>) -> Result<(), String> {
        let load = Arc::clone(&self.load);
        let loaded = spawn_blocking(move || load()).await;
        let Loaded {
            plan,
            sources,
            text,
            retention,
            contents,
        } = loaded.map_err(|error| error.to_string())??;
        felt.supervisor.reloading();
        let plan = self.discovery.follow(plan, sources).await;
        adopt(felt, plan).await?;
        felt.served.show_sources(self.discovery.statuses());
        if let Some(recorder) = &felt.recorder {
            recorder.retain(retention);
        }
        felt.served.reloaded(text, now());
        self.contents = contents;
        felt.supervisor.ready();
        Ok(())
    }
}

/// What whoever asked is told of the configuration and of the web configuration.
fn in_words(done: Result<(), String>, web: Result<(), String>) -> Result<(), String> {
    let refused = |mistakes: String| {
        let mistakes = mistakes.trim_end();
        format!("the configuration cannot be used, and nothing has changed:\n{mistakes}")
    };
    let web_refused = |mistakes: String| {
        let mistakes = mistakes.trim_end();
        format!(
            "the web configuration cannot be used, and the one before stays in force:\n{mistakes}"
        )
    };
    match (done.map_err(refused), web.map_err(web_refused)) {
        (Ok(()), Ok(())) => Ok(()),
        (Err(told), Ok(())) => Err(told),
        (Ok(()), Err(told)) => Err(format!("the configuration was read anew\n{told}")),
        (Err(one), Err(other)) => Err(format!("{one}\n{other}")),
    }
}

/// Lets the prober go over to `plan`, and waits until it has.
async fn adopt(felt: &Felt<'_>, plan: Plan) -> Result<(), String> {
    let stopping = || "the prober is stopping".to_owned();
    let known = match &felt.stored {
        Some(stored) => stored.of_new(&plan, &felt.board).await,
        None => Known::default(),
    };
    let (adopted, done) = oneshot::channel();
    let sent = felt
        .plans
        .send(NextPlan {
            plan,
            known,
            adopted,
        })
        .await;
    sent.map_err(|_| stopping())?;
    done.await.map_err(|_| stopping())
}

impl Cause {
    fn word(&self) -> &'static str {
        match self {
            Self::Signal => "SIGHUP",
            Self::Request(_) => "request",
            Self::Files => "change of its files",
        }
    }
}

async fn hung_up(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

fn looks_every(pause: Duration) -> Interval {
    let mut looks = interval_at(Instant::now() + pause, pause);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

/// Returns when the files are to be looked at again.
async fn next_look(looks: &mut Option<Interval>) {
    match looks {
        Some(looks) => _ = looks.tick().await,
        None => std::future::pending().await,
    }
}

async fn read_again(contents: Contents) -> Contents {
    let read = spawn_blocking(move || contents.read_again()).await;
    read.unwrap_or_default()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a configuration's age counts from here"
)]
fn now() -> Timestamp {
    Timestamp::now()
}
