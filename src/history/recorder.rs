//! Between the prober and the file: a run is on the disk before it is published, and yet no disk holds up probing.
//!
//! A run that has ended waits for its commit, but not for long. While the disk is full, slow, locked or gone, runs
//! wait in memory instead, the oldest giving way when they are too many; they are written when it works again.
//! The log has one line when that begins and one when it is over.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Entry, Event, Health, History, HistoryError, Kept, Operation};
use crate::panic::said;
use crate::report::{RunJson, Source};

/// How long a run that has ended waits to be stored before it is published all the same.
const PATIENCE: Duration = Duration::from_secs(2);

/// The first pause after a failure; each further one is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Bytes of runs that may wait in memory: about 4,000 of the reference workload.
const MOST_WAITING: usize = 64 << 20;

/// How often it is looked for what is too old.
const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);

/// Runs that are taken away in one transaction, and the pause between two, in which others may write.
const PRUNE_BATCH: u32 = 200;
const PRUNE_PAUSE: Duration = Duration::from_millis(50);

/// How long what is stored is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Runs.
    pub runs: Duration,
    /// Runs that are mere signs of life.
    pub light_runs: Duration,
    /// The single requests of a run.
    pub requests: Duration,
}

impl Default for Retention {
    /// More than a year of runs, a month of those that are mere signs of life, and two weeks of their requests.
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self {
            runs: 400 * day,
            light_runs: 30 * day,
            requests: 14 * day,
        }
    }
}

/// Takes finished runs in, and stores them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
}

/// The task that writes, to be ended in order.
#[derive(Debug)]
pub struct Writing {
    shared: Arc<Shared>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something has been put into the queue.
    wake: Notify,
    health: Arc<Health>,
    retention: Mutex<Retention>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Since something failed, or took too long, until nothing waits any more.
    behind: bool,
}

#[derive(Debug)]
struct Waiting {
    item: Arc<Item>,
    /// Dropped, used or not, when there is no more sense in waiting for it.
    stored: Option<oneshot::Sender<()>>,
}

/// What waits to be written.
#[derive(Debug)]
enum Item {
    Run(Box<Entry>),
    Event(Box<Event>),
}

impl Item {
    /// About how many bytes it takes.
    fn size(&self) -> usize {
        match self {
            Self::Run(entry) => entry.size(),
            Self::Event(event) => event.size(),
        }
    }

    /// The run that it is, or belongs to.
    fn name(&self) -> &str {
        match self {
            Self::Run(entry) => &entry.id.0,
            Self::Event(event) => match &**event {
                Event::EnvironmentChanged(change) => &change.run.0,
                Event::Intervened(event) => &event.series.deployment,
            },
        }
    }
}

impl Recorder {
    /// Stores what it is given in `history`, and takes away what is older than `retention`.
    pub fn start(history: History, retention: Retention, health: Arc<Health>) -> (Self, Writing) {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Notify::new(),
            health,
            retention: Mutex::new(retention),
        });
        let stop = CancellationToken::new();
        let worker = Worker {
            history,
            shared: Arc::clone(&shared),
            stop: stop.clone(),
        };
        let recorder = Self {
            shared: Arc::clone(&shared),
        };
        let task = tokio::spawn(worker.run());
        (recorder, Writing { shared, stop, task })
    }

    /// Stores `run`, which ended at `ended_at`. Returns when it is on the disk, or when that takes too long: then
    /// it is stored later.
    pub async fn record(&self, run: RunJson, ended_at: Timestamp) {
        let id = run.run_id.clone();
        // A run may have a hundred thousand requests.
        let made = tokio::task::spawn_blocking(move || Entry::new(run, Source::Prober, ended_at));
        let entry = match made.await {
            Ok(Ok(entry)) => entry,
            Ok(Err(error)) => return self.shared.give_up(&id, &error.to_string()),
            Err(error) => return self.shared.give_up(&id, &error.to_string()),
        };
        self.store(Item::Run(Box::new(entry))).await;
    }

    /// Keeps what is stored for so long from now on.
    pub fn retain(&self, retention: Retention) {
        *self.shared.retention() = retention;
    }

    /// Queues `event`, which is stored whether that is waited for or not, and gives what says whether it is on the
    /// disk by now: if not, it is stored later.
    pub fn note(&self, event: Event) -> impl Future<Output = bool> + Send + use<> {
        self.store(Item::Event(Box::new(event)))
    }

    fn store(&self, item: Item) -> impl Future<Output = bool> + Send + use<> {
        let stored = self.shared.put(item);
        let shared = Arc::clone(&self.shared);
        async move {
            let Some(stored) = stored else { return false };
            match timeout(PATIENCE, stored).await {
                Ok(stored) => stored.is_ok(),
                Err(_) => {
                    shared.is_slow();
                    false
                }
            }
        }
    }
}

impl Writing {
    /// Lets what waits be written for at most `patience`, and closes the history. What is left then is lost, and
    /// the log says so.
    pub async fn finish(mut self, patience: Duration) {
        self.stop.cancel();
        if timeout(patience, &mut self.task).await.is_err() {
            self.task.abort();
        }
        let lost = self.shared.lock().waiting.len();
        if lost > 0 {
            error!(
                runs = lost,
                "finished runs are not in the history: they could not be written before the end"
            );
        }
    }
}

impl Shared {
    fn retention(&self) -> MutexGuard<'_, Retention> {
        self.retention
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `item`; gives what tells that it is stored, unless that is not to be waited for.
    fn put(&self, item: Item) -> Option<oneshot::Receiver<()>> {
        let mut queue = self.lock();
        let (sender, receiver) = oneshot::channel();
        queue.bytes += item.size();
        let waits = !queue.behind;
        queue.waiting.push_back(Waiting {
            item: Arc::new(item),
            stored: waits.then_some(sender),
        });
        while queue.bytes > MOST_WAITING && queue.waiting.len() > 1 {
            let Some(oldest) = queue.waiting.pop_front() else {
                break;
            };
            queue.bytes -= oldest.item.size();
            self.health.failed(Operation::Drop);
        }
        drop(queue);
        self.wake.notify_one();
        waits.then_some(receiver)
    }

    fn front(&self) -> Option<Arc<Item>> {
        Some(Arc::clone(&self.lock().waiting.front()?.item))
    }

    /// Takes `item` off the queue, where it may have given way already. Whether nothing waits any more that had to.
    fn done(&self, item: &Arc<Item>) -> bool {
        let mut queue = self.lock();
        if queue
            .waiting
            .front()
            .is_some_and(|front| Arc::ptr_eq(&front.item, item))
            && let Some(done) = queue.waiting.pop_front()
        {
            queue.bytes -= done.item.size();
            // No one may wait for it any more.
            let _ = done.stored.map(|stored| stored.send(()));
        }
        let is_over = queue.behind && queue.waiting.is_empty();
        queue.behind &= !is_over;
        is_over
    }

    /// Lets no one wait until all is written. Whether that is news.
    fn falls_behind(&self) -> bool {
        let mut queue = self.lock();
        if queue.waiting.is_empty() {
            // It was written at the last moment.
            return false;
        }
        queue
            .waiting
            .iter_mut()
            .for_each(|waiting| waiting.stored = None);
        !std::mem::replace(&mut queue.behind, true)
    }

    fn is_slow(&self) {
        self.health.failed(Operation::Wait);
        if self.falls_behind() {
            warn!(
                patience_seconds = PATIENCE.as_secs_f64(),
                "the history is slow; probing goes on, and runs wait in memory"
            );
        }
    }

    fn give_up(&self, id: &str, why: &str) {
        self.health.failed(Operation::Drop);
        error!(run_id = id, why, "a finished run cannot be stored");
    }
}

/// What the task does: write what waits, and now and then take away what is too old.
struct Worker {
    history: History,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl Worker {
    /// Works until the stop. A panic is told and ends nothing: the next runs are stored as ever.
    async fn run(self) {
        while let Err(payload) = AssertUnwindSafe(self.work()).catch_unwind().await {
            self.shared.health.failed(Operation::Prune);
            error!(
                panic = said(&*payload),
                "the history's care panicked, and goes on"
            );
            self.pause(LONGEST_PAUSE).await;
        }
        self.history.close().await;
    }

    async fn work(&self) {
        let mut pause = FIRST_PAUSE;
        let mut prune_at = Instant::now();
        let mut prunes = true;
        self.measure().await;
        loop {
            if let Some(item) = self.shared.front() {
                let writing = AssertUnwindSafe(self.write(&item)).catch_unwind();
                let written = match writing.await {
                    Ok(written) => written,
                    Err(payload) => {
                        // It would panic again, and no other run would be stored any more.
                        let why = format!("it panicked: {}", said(&*payload));
                        self.shared.give_up(item.name(), &why);
                        self.shared.done(&item);
                        continue;
                    }
                };
                match written {
                    Ok(()) => {
                        pause = FIRST_PAUSE;
                        if self.shared.done(&item) {
                            info!("the history is written again");
                        }
                        self.measure().await;
                    }
                    Err(error) if error.is_about_the_run() => {
                        self.shared.give_up(item.name(), &error.to_string());
                        self.shared.done(&item);
                    }
                    Err(error) => {
                        self.failed(&error);
                        self.pause(pause).await;
                        pause = (2 * pause).min(LONGEST_PAUSE);
                    }
                }
            } else if self.stop.is_cancelled() {
                break;
            } else if Instant::now() >= prune_at {
                prune_at = Instant::now() + self.prune(&mut prunes).await;
            } else {
                tokio::select! {
                    () = self.shared.wake.notified() => {}
                    () = sleep_until(prune_at) => {}
                    () = self.stop.cancelled() => {}
                }
            }
        }
    }

    async fn write(&self, item: &Item) -> Result<(), HistoryError> {
        match item {
            Item::Run(entry) => {
                let stored = self.history.append(std::slice::from_ref(&**entry)).await;
                stored.map(|_| ())
            }
            Item::Event(event) => self.history.note(event).await,
        }
    }

    fn failed(&self, error: &HistoryError) {
        self.shared.health.failed(Operation::Append);
        if self.shared.falls_behind() {
            error!(%error, "the history cannot be written; probing goes on, and runs wait in memory");
        }
    }

    /// Before the next attempt. A stop lets it be made at once, and the one after that soon.
    async fn pause(&self, pause: Duration) {
        if self.stop.is_cancelled() {
            sleep(FIRST_PAUSE / 5).await;
        } else {
            let _ = self.stop.run_until_cancelled(sleep(pause)).await;
        }
    }

    /// Takes a batch away, and says when to look again.
    async fn prune(&self, worked: &mut bool) -> Duration {
        #[expect(
            clippy::disallowed_methods,
            reason = "what is too old is so by the wall clock"
        )]
        let now = Timestamp::now();
        let before = |age: Duration| now.checked_sub(age).unwrap_or(Timestamp::MIN);
        let retention = *self.shared.retention();
        let since = Kept {
            runs: before(retention.runs),
            light_runs: before(retention.light_runs),
            requests: before(retention.requests),
        };
        match self.history.prune(since, PRUNE_BATCH).await {
            Ok(pruned) => {
                *worked = true;
                if pruned.most() >= u64::from(PRUNE_BATCH) {
                    return PRUNE_PAUSE;
                }
                self.measure().await;
            }
            Err(error) => {
                self.shared.health.failed(Operation::Prune);
                if std::mem::replace(worked, false) {
                    warn!(%error, "what is too old could not be taken out of the history");
                }
            }
        }
        PRUNE_EVERY
    }

    async fn measure(&self) {
        self.shared.health.set_size(self.history.size_bytes().await);
    }
}

#[cfg(test)]
mod tests;
