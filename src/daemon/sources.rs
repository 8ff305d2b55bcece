//! The sources of deployments while the daemon runs: each is read by a task of its own, again and again, and what it
//! says now is there to be looked at.
//!
//! One that cannot be read keeps what it said last. A slow one holds up nobody.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::client::{ListError, Tokens, fetch_list};
use crate::config::targets::target_groups_in_json;
use crate::config::{DeploymentSource, TargetFiles};
use crate::discovery::Labels;
use crate::discovery::source::{HttpSource, Source};
use crate::panic::said;

/// How long a server may take for its list.
const LIST_PATIENCE: Duration = Duration::from_secs(30);

/// How long the first reading of all sources may hold up those who wait for it.
const FIRST_READING: Duration = Duration::from_secs(5);

/// What a source says.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    /// Every target.
    pub(super) targets: Arc<BTreeSet<Labels>>,
    /// Why not all of it could be read.
    failing: Option<Failing>,
    /// When all of it was last read.
    pub(super) last_success: Option<Timestamp>,
    /// Whether it has been read since it is followed.
    done: bool,
    /// The files of a source of files.
    files: Arc<TargetFiles>,
}

/// Why a source cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failing {
    /// What is told once: the same kind again is no news.
    kind: String,
    words: String,
}

impl Reading {
    /// Whether not all of it could be read.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// What is known when reading it anew ended in a panic.
    fn panicked(&self, said: String) -> Self {
        Self {
            failing: Some(Failing {
                kind: "panic".to_owned(),
                words: format!("it panicked: {said}"),
            }),
            done: true,
            ..self.clone()
        }
    }
}

/// All sources of a configuration.
#[derive(Debug)]
pub(super) struct Sources {
    followed: Vec<Followed>,
    /// Told whenever one was read.
    read: Arc<Notify>,
    tokens: Tokens,
    /// How often files are looked at; only at their refresh interval if absent.
    watch: Option<Duration>,
}

#[derive(Debug)]
struct Followed {
    source: Source,
    reading: watch::Receiver<Reading>,
    _task: AbortOnDropHandle<()>,
}

impl Sources {
    /// None yet. Files will be looked at as often as `watch` says.
    pub(super) fn none(watch: Option<Duration>) -> Self {
        Self {
            followed: Vec::new(),
            read: Arc::default(),
            tokens: Tokens::default(),
            watch,
        }
    }

    /// Follows `sources`, and no others, from now on. Each is read anew; one that was followed before keeps what it
    /// said if it cannot be read. Returns once all were read, or have had their time.
    pub(super) async fn follow(&mut self, sources: &[DeploymentSource]) {
        let followed = sources.iter().map(|named| {
            let known = self.known(&named.source, sources);
            let before = known.map(|known| known.reading.borrow().clone());
            self.start(named, before.unwrap_or_default())
        });
        let mut followed: Vec<Followed> = followed.collect();
        let first = followed.iter_mut().map(async |one| {
            // What it comes with is let go at once: while it is held, the source cannot say anything more.
            drop(one.reading.wait_for(|reading| reading.done).await);
        });
        // Those who are late are taken in when they come.
        let _ = timeout(FIRST_READING, join_all(first)).await;
        self.followed = followed;
    }

    /// The source as it was followed before, or one that is followed no more and told the same list.
    fn known(&self, source: &Source, sources: &[DeploymentSource]) -> Option<&Followed> {
        let goes_on = |known: &Followed| sources.iter().any(|other| other.source == known.source);
        let is_asked_otherwise =
            |known: &&Followed| known.source.is_list_of(source) && !goes_on(known);
        let mut followed = self.followed.iter();
        let same = followed.find(|known| known.source == *source);
        same.or_else(|| self.followed.iter().find(is_asked_otherwise))
    }

    /// Returns once some source has been read again.
    pub(super) async fn read(&self) {
        self.read.notified().await;
    }

    /// What each source says now, in their order.
    pub(super) fn readings(&self) -> Vec<Reading> {
        let readings = self.followed.iter().map(|one| one.reading.borrow().clone());
        readings.collect()
    }

    fn start(&self, named: &DeploymentSource, before: Reading) -> Followed {
        let before = Reading {
            done: false,
            ..before
        };
        let (sender, reading) = watch::channel(before.clone());
        let (name, source) = (named.name.clone(), named.source.clone());
        let (read, tokens) = (Arc::clone(&self.read), self.tokens.clone());
        let pause = match (&source, self.watch) {
            (Source::Files(files), Some(watch)) => watch.min(files.refresh_interval),
            _ => source.refresh_interval(),
        };
        let task = tokio::spawn(async move {
            let mut reading = before;
            loop {
                // A panic is a reading that failed, and no end of the following.
                let next = AssertUnwindSafe(read_again(&source, &reading, &tokens));
                let next = next.catch_unwind().await;
                let next = next.unwrap_or_else(|payload| reading.panicked(said(&*payload)));
                tell(&name, reading.failing.as_ref(), next.failing.as_ref());
                reading = next;
                sender.send_replace(reading.clone());
                read.notify_one();
                sleep(pause).await;
            }
        });
        Followed {
            source: named.source.clone(),
            reading,
            _task: AbortOnDropHandle::new(task),
        }
    }
}

async fn read_again(source: &Source, before: &Reading, tokens: &Tokens) -> Reading {
    let (targets, files, failing) = match source {
        Source::Files(files) => {
            let (patterns, known) = (files.patterns.clone(), Arc::clone(&before.files));
            let read = spawn_blocking(move || {
                let files = TargetFiles::read(&patterns, &known);
                let targets = (!files.hold_the_same(&known)).then(|| files.targets());
                (targets, files)
            });
            match read.await {
                Ok((targets, files)) => {
                    let failing = broken(&files);
                    (targets, Arc::new(files), failing)
                }
                Err(error) => {
                    let failing = Failing {
                        kind: "panic".to_owned(),
                        words: error.to_string(),
                    };
                    (None, Arc::clone(&before.files), Some(failing))
                }
            }
        }
        Source::Http(http) => match fetch(http, tokens).await {
            Ok(targets) => (Some(targets), Arc::default(), None),
            Err(failing) => (None, Arc::default(), Some(failing)),
        },
    };
    let last_success = match failing {
        Some(_) => before.last_success,
        None => Some(now()),
    };
    // The same targets stay the same set, by which it is seen that nothing has changed.
    let targets = targets.filter(|targets| *targets != *before.targets);
    Reading {
        targets: targets.map_or_else(|| Arc::clone(&before.targets), Arc::new),
        failing,
        last_success,
        done: true,
        files,
    }
}

fn broken(files: &TargetFiles) -> Option<Failing> {
    let mut words = String::new();
    for mistakes in files.mistakes() {
        // Writing to memory does not fail.
        let _ = writeln!(words, "{mistakes}");
    }
    (!words.is_empty()).then(|| Failing {
        kind: words.clone(),
        words,
    })
}

async fn fetch(http: &HttpSource, tokens: &Tokens) -> Result<BTreeSet<Labels>, Failing> {
    let text = fetch_list(http, tokens, LIST_PATIENCE)
        .await
        .map_err(|error| Failing {
            kind: match &error {
                ListError::Client(error) => error.to_string(),
                ListError::Request(error) => error.reason.label().to_owned(),
            },
            words: error.to_string(),
        })?;
    let (name, url) = (http.name(), http.url.to_string());
    let read = spawn_blocking(move || {
        let groups = target_groups_in_json(&name, &text).map_err(|mistakes| Failing {
            kind: "list".to_owned(),
            words: mistakes.to_string(),
        })?;
        let more = [("__meta_url", url.as_str())];
        Ok(groups
            .iter()
            .flat_map(|group| group.labels(&more))
            .collect())
    });
    read.await.unwrap_or_else(|error| {
        Err(Failing {
            kind: "panic".to_owned(),
            words: error.to_string(),
        })
    })
}

/// Logs that a source has begun to fail, fails otherwise, or is well again.
fn tell(source: &str, before: Option<&Failing>, after: Option<&Failing>) {
    match (before, after) {
        (Some(before), Some(after)) if before.kind == after.kind => {}
        (_, Some(Failing { words, .. })) => warn!(
            source,
            mistakes = words.trim_end(),
            "a source of deployments cannot be read, and what it said last still holds"
        ),
        (Some(_), None) => info!(source, "the source of deployments can be read again"),
        (None, None) => {}
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "when a source was last read is told by a metric"
)]
fn now() -> Timestamp {
    Timestamp::now()
}
