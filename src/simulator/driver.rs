//! Lets a simulated engine happen in real time: one thread that steps it when a step is due, and hands
//! each answer's progress to whoever waits for it.
//!
//! Steps lie on the engine's own timeline, counted from the start, so that a late wake-up is made good
//! by the next one. An idle engine uses no CPU. A reader that falls behind finds several tokens at once,
//! as vLLM's output collector gives them, so nothing is queued for it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::engine::{Engine, Snapshot};
use super::faults::{Conditions, Controls};
use super::sequence::{Progress, Request, SequenceId};

/// Where engine time is on the machine's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeline {
    started: Instant,
    speedup: f64,
}

impl Timeline {
    /// Engine time is 0 now, and runs `speedup` times as fast as the clock.
    pub(super) fn starting_now(speedup: f64) -> Self {
        Self {
            started: Instant::now(),
            speedup,
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed().mul_f64(self.speedup)
    }

    /// How long to wait on the machine's clock until engine time is `at`.
    fn until(&self, at: Duration) -> Duration {
        at.div_f64(self.speedup)
            .saturating_sub(self.started.elapsed())
    }

    /// Engine time as it passes on the machine's clock.
    pub(super) fn on_the_clock(&self, duration: Duration) -> Duration {
        duration.div_f64(self.speedup)
    }
}

/// A running engine, as the HTTP side sees it. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Driver(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    timeline: Timeline,
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Debug)]
struct State {
    engine: Engine,
    /// Whom to tell of each sequence's progress; dropped with its last token.
    readers: HashMap<SequenceId, watch::Sender<Progress>>,
    stands_still: bool,
    is_stopped: bool,
}

impl Driver {
    /// Starts the thread that drives `engine`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(
        engine: Engine,
        timeline: Timeline,
        controls: &Controls,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let driver = Self(Arc::new(Shared {
            timeline,
            state: Mutex::new(State {
                engine,
                readers: HashMap::new(),
                stands_still: false,
                is_stopped: false,
            }),
            woken: Condvar::new(),
        }));
        let shared = Arc::clone(&driver.0);
        let conditions = controls.subscribe();
        let thread = thread::Builder::new()
            .name("simulated-engine".into())
            .spawn(move || drive(&shared, &conditions))?;
        Ok((driver, thread))
    }

    /// Queues a request that arrives now. Dropping the receiver aborts it.
    pub(super) fn submit(&self, request: Request) -> watch::Receiver<Progress> {
        let (reader, progress) = watch::channel(Progress::default());
        let mut state = self.0.lock();
        let id = state.engine.submit(self.0.timeline.now(), request);
        state.readers.insert(id, reader);
        if state.engine.step_ends().is_none() {
            self.0.woken.notify_one();
        }
        progress
    }

    /// What the engine looks like now.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.0.lock().engine.snapshot()
    }

    /// Makes the thread look at the conditions again.
    pub(super) fn wake(&self) {
        let _state = self.0.lock();
        self.0.woken.notify_one();
    }

    /// Ends the thread; answers that are not finished end without a finish.
    pub(super) fn stop(&self) {
        let mut state = self.0.lock();
        state.is_stopped = true;
        state.readers.clear();
        self.0.woken.notify_one();
    }
}

impl Shared {
    /// The state stays usable when a thread panicked over it: a panic in a test shall not hide behind
    /// another.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drive(shared: &Shared, conditions: &watch::Receiver<Conditions>) {
    let mut state = shared.lock();
    while !state.is_stopped {
        let conditions = *conditions.borrow();
        let due = state.advance(shared.timeline.now(), &conditions);
        state = match due {
            Some(at) => {
                let wait = shared.timeline.until(at);
                let woken = shared.woken.wait_timeout(state, wait);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let woken = shared.woken.wait(state);
                woken.unwrap_or_else(PoisonError::into_inner)
            }
        };
    }
}

impl State {
    /// Lets all happen that is due by `now`, and says when to come again; `None` when nothing will be
    /// due until someone wakes the thread.
    fn advance(&mut self, now: Duration, conditions: &Conditions) -> Option<Duration> {
        if conditions.fault.stops_the_engine() {
            self.stands_still = true;
            return None;
        }
        if std::mem::take(&mut self.stands_still) {
            self.engine.resume(now);
        }
        loop {
            if let Some(ends) = self.engine.step_ends() {
                if ends > now {
                    return Some(ends);
                }
                self.end_step();
            }
            self.abort_abandoned();
            self.engine.begin_step(now, conditions)?;
        }
    }

    fn end_step(&mut self) {
        let Self {
            engine, readers, ..
        } = self;
        engine.end_step(|id, progress| {
            if progress.finish.is_some() {
                if let Some(reader) = readers.remove(&id) {
                    reader.send_replace(progress);
                }
            } else if let Some(reader) = readers.get(&id) {
                reader.send_replace(progress);
            }
        });
    }

    fn abort_abandoned(&mut self) {
        let Self {
            engine, readers, ..
        } = self;
        readers.retain(|&id, reader| {
            let abandoned = reader.is_closed();
            if abandoned {
                engine.abort(id);
            }
            !abandoned
        });
    }
}
