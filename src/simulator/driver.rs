//! Lets simulated engines happen in real time: one thread that steps each when a step is due, and hands
//! each answer's progress to whoever waits for it.
//!
//! Steps lie on the engines' own timeline, counted from the start, so that a late wake-up is made good
//! by the next one. An idle engine uses no CPU. A reader that falls behind finds several tokens at once,
//! as vLLM's output collector gives them, so nothing is queued for it.
//!
//! Engines and counters belong to the server's process. A restart puts a new process in the place of the
//! old one before anything else is seen of the driver; what waited for the old one finds it gone.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::controls::{Conditions, Controls};
use super::engine::{Engine, Snapshot};
use super::faults::Fault;
use super::profile::Profile;
use super::sequence::{Progress, Request, SequenceId};
use super::stats::Finish;

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

/// What every process of a deployment begins with.
#[derive(Clone, Debug)]
pub(super) struct Blueprint {
    pub(super) profile: Profile,
    pub(super) seed: u64,
    pub(super) speedup: f64,
    /// Data-parallel engines, each of them as in `profile`; at least 1.
    pub(super) engines: u32,
}

/// Answered requests by handler, method and class of status, such as `2xx`.
pub(super) type HttpRequests = BTreeMap<(&'static str, &'static str, &'static str), u64>;

/// What the server looks like from outside at a moment.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    /// When its process began.
    pub(super) started: Instant,
    /// One for each engine.
    pub(super) engines: Vec<Snapshot>,
    pub(super) http_requests: HttpRequests,
}

/// Running engines, as the HTTP side sees them. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Driver(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    timeline: Timeline,
    blueprint: Blueprint,
    controls: Controls,
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Debug)]
struct State {
    process: Process,
    /// The restarts that led to this process.
    restarts: u32,
    stands_still: bool,
    is_stopped: bool,
}

/// All that a restart takes away.
#[derive(Debug)]
struct Process {
    started: Instant,
    engines: Vec<Engine>,
    /// Whom to tell of each sequence's progress; dropped with its last token.
    readers: HashMap<(usize, SequenceId), watch::Sender<Progress>>,
    /// Whose turn it is to get a request.
    turn: usize,
    http_requests: HttpRequests,
}

impl Process {
    fn start(blueprint: &Blueprint, restarts: u32) -> Self {
        let seed = blueprint.seed.wrapping_add(u64::from(restarts) << 32);
        let engine = |index: u32| {
            let seed = seed.wrapping_add(u64::from(index));
            Engine::new(blueprint.profile.clone(), seed, blueprint.speedup)
        };
        Self {
            started: Instant::now(),
            engines: (0..blueprint.engines).map(engine).collect(),
            readers: HashMap::new(),
            turn: 0,
            http_requests: HttpRequests::new(),
        }
    }
}

impl Driver {
    /// Starts the thread that drives the engines of `blueprint`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(
        blueprint: Blueprint,
        timeline: Timeline,
        controls: &Controls,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let driver = Self(Arc::new(Shared {
            timeline,
            state: Mutex::new(State {
                process: Process::start(&blueprint, controls.restarts()),
                restarts: controls.restarts(),
                stands_still: false,
                is_stopped: false,
            }),
            blueprint,
            controls: controls.clone(),
            woken: Condvar::new(),
        }));
        let shared = Arc::clone(&driver.0);
        let thread = thread::Builder::new()
            .name("simulated-engine".into())
            .spawn(move || drive(&shared))?;
        Ok((driver, thread))
    }

    /// Queues a request that arrives now. Dropping the receiver aborts it.
    pub(super) fn submit(&self, request: Request) -> watch::Receiver<Progress> {
        let (reader, progress) = watch::channel(Progress::default());
        let mut state = self.0.lock();
        let stands_still = state.stands_still;
        let process = &mut state.process;
        let index = process.turn;
        process.turn = (index + 1) % process.engines.len();
        let engine = &mut process.engines[index];
        let id = engine.submit(self.0.timeline.now(), request);
        let is_idle = engine.step_ends().is_none();
        process.readers.insert((index, id), reader);
        if is_idle || stands_still {
            self.0.woken.notify_one();
        }
        progress
    }

    /// Counts an answered request.
    pub(super) fn count_answer(
        &self,
        handler: &'static str,
        method: &'static str,
        status: &'static str,
    ) {
        let mut state = self.0.lock();
        let requests = &mut state.process.http_requests;
        *requests.entry((handler, method, status)).or_default() += 1;
    }

    /// What the server looks like now.
    pub(super) fn look(&self) -> Sight {
        let process = &self.0.lock().process;
        Sight {
            started: process.started,
            engines: process.engines.iter().map(Engine::snapshot).collect(),
            http_requests: process.http_requests.clone(),
        }
    }

    /// Makes the thread look at the switches again.
    pub(super) fn wake(&self) {
        let _state = self.0.lock();
        self.0.woken.notify_one();
    }

    /// Ends the thread; answers that are not finished end without a finish.
    pub(super) fn stop(&self) {
        let mut state = self.0.lock();
        state.is_stopped = true;
        state.process.readers.clear();
        self.0.woken.notify_one();
    }
}

impl Shared {
    /// The state, with the process of the latest restart. It stays usable when a thread panicked over it:
    /// a panic in a test shall not hide behind another.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.catch_up(&mut state);
        state
    }

    fn catch_up(&self, state: &mut State) {
        let restarts = self.controls.restarts();
        if state.restarts != restarts {
            state.restarts = restarts;
            state.process = Process::start(&self.blueprint, restarts);
        }
    }
}

fn drive(shared: &Shared) {
    let mut state = shared.lock();
    while !state.is_stopped {
        shared.catch_up(&mut state);
        let conditions = shared.controls.conditions();
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
        if conditions.fault == Fault::EngineDead {
            self.process.die();
        }
        if conditions.fault.stops_the_engine() {
            self.stands_still = true;
            return None;
        }
        if std::mem::take(&mut self.stands_still) {
            for engine in &mut self.process.engines {
                engine.resume(now);
            }
        }
        let engines = 0..self.process.engines.len();
        engines
            .filter_map(|index| self.process.advance(index, now, conditions))
            .min()
    }
}

impl Process {
    /// Lets all happen on one engine that is due by `now`, and says when its next step ends.
    fn advance(
        &mut self,
        index: usize,
        now: Duration,
        conditions: &Conditions,
    ) -> Option<Duration> {
        let conditions = Conditions {
            foreign_requests: share(conditions.foreign_requests, index, self.engines.len()),
            ..*conditions
        };
        loop {
            if let Some(ends) = self.engines[index].step_ends() {
                if ends > now {
                    return Some(ends);
                }
                self.end_step(index);
            }
            self.abort_abandoned();
            self.engines[index].begin_step(now, &conditions)?;
        }
    }

    fn end_step(&mut self, index: usize) {
        let Self {
            engines, readers, ..
        } = self;
        engines[index].end_step(|id, progress| {
            if progress.finish.is_some() {
                if let Some(reader) = readers.remove(&(index, id)) {
                    reader.send_replace(progress);
                }
            } else if let Some(reader) = readers.get(&(index, id)) {
                reader.send_replace(progress);
            }
        });
    }

    fn abort_abandoned(&mut self) {
        let Self {
            engines, readers, ..
        } = self;
        readers.retain(|&(index, id), reader| {
            let abandoned = reader.is_closed();
            if abandoned {
                engines[index].abort(id);
            }
            !abandoned
        });
    }

    /// Tells everyone who waits that the engine is dead. What it looked like stays on its page.
    fn die(&mut self) {
        for (_, reader) in self.readers.drain() {
            reader.send_modify(|progress| progress.finish = Some(Finish::Error));
        }
    }
}

/// What comes to the engine of this index when `whole` is dealt out among so many.
fn share(whole: u32, index: usize, engines: usize) -> u32 {
    let (index, engines) = (index as u32, engines as u32);
    whole / engines + u32::from(index < whole % engines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_when_it_is_dealt_out() {
        for (whole, engines) in [(0, 1), (5, 1), (5, 2), (5, 3), (1, 4), (8, 4)] {
            let shares: Vec<u32> = (0..engines).map(|i| share(whole, i, engines)).collect();
            assert_eq!(shares.iter().sum::<u32>(), whole, "{shares:?}");
            let spread = shares.iter().max().unwrap() - shares.iter().min().unwrap();
            assert!(spread <= 1, "{shares:?}");
        }
    }
}
