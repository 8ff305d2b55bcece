//! The closed loop: a fixed number of requests in flight, each followed by the next as soon as it has ended.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::{JoinSet, yield_now};
use uuid::Uuid;

use super::Progress;
use super::follower::Follower;
use super::panic::joined;
use crate::client::{Client, RunClock, Shape, chat};
use crate::measurement::{FailureReason, RequestError, RequestRecord};
use crate::observation::GivenUp;
use crate::workload::{PrefixCache, Workload};

/// What the workers of a run share.
#[derive(Clone)]
pub(super) struct Replay {
    client: Client,
    bodies: Bodies,
    workload: Arc<Workload>,
}

/// What came of replaying some requests.
pub(super) struct Replayed {
    /// In the order of sending.
    pub(super) records: Vec<RequestRecord>,
    /// The clock that timed them.
    pub(super) clock: RunClock,
    /// Why not all of them ended.
    pub(super) given_up: Option<GivenUp>,
}

/// What one worker has done; it outlives the worker when the run is given up.
#[derive(Debug, Default)]
struct Work {
    ended: Vec<RequestRecord>,
    /// When the request that is in flight was begun.
    in_flight: Option<Duration>,
}

impl Replay {
    /// A replay of `workload` that asks for `model`; `run` makes the salts of its own.
    pub(super) fn new(client: Client, workload: Arc<Workload>, model: &str, run: Uuid) -> Self {
        Self {
            client,
            bodies: Bodies::new(&workload, model, run),
            workload,
        }
    }

    /// Sends the numbered requests, `concurrency` of them at a time, each worker its next one as soon as
    /// its last one has ended, until the run's deadline has passed or `follower` gives it up.
    pub(super) async fn requests(
        &self,
        numbers: std::ops::Range<u32>,
        progress: Arc<Progress>,
        follower: &Follower,
    ) -> Replayed {
        let workers = self.workload.concurrency.min(numbers.len() as u32);
        let next = Arc::new(AtomicU32::new(numbers.start));
        let clock = RunClock::start(self.workload.limits.run);
        progress.begin();
        let works: Vec<Arc<Mutex<Work>>> = (0..workers).map(|_| Arc::default()).collect();
        let mut running = JoinSet::new();
        for work in &works {
            running.spawn(self.clone().work(
                Arc::clone(&next),
                numbers.end,
                clock,
                Arc::clone(&progress),
                Arc::clone(work),
            ));
        }
        let all_ended = async {
            while let Some(ended) = running.join_next().await {
                joined(ended);
            }
        };
        let given_up = tokio::select! {
            biased;
            () = all_ended => None,
            reason = follower.given_up() => Some(reason),
        };
        running.shutdown().await;
        let mut records = Vec::with_capacity(numbers.len());
        for work in works {
            let mut work = lock(&work);
            records.append(&mut work.ended);
            records.extend(work.in_flight.map(|sent| RequestRecord {
                sent,
                ended: clock.elapsed(),
                outcome: Err(RequestError::new(
                    FailureReason::Cancelled,
                    given_up.map_or("the worker ended", GivenUp::meaning),
                )),
            }));
        }
        records.sort_by_key(|record| record.sent);
        Replayed {
            records,
            clock,
            given_up,
        }
    }

    async fn work(
        self,
        next: Arc<AtomicU32>,
        end: u32,
        clock: RunClock,
        progress: Arc<Progress>,
        work: Arc<Mutex<Work>>,
    ) {
        let shape = Shape {
            stream: self.workload.stream,
            tokens: self.workload.max_tokens,
        };
        while !clock.deadline_passed() {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= end {
                break;
            }
            let body = self.bodies.of(number);
            lock(&work).in_flight = Some(clock.elapsed());
            let record = self.client.complete(body, shape, &clock).await;
            progress.note(&record);
            {
                let mut work = lock(&work);
                work.in_flight = None;
                work.ended.push(record);
            }
            // The end of a body is seen a moment before its connection is back in the pool. Without this
            // turn for the connection's own task every request would open a new one.
            yield_now().await;
        }
    }
}

/// Nobody panics while holding one of these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The request bodies of a run: one for all, or one each when every request has a salt of its own.
#[derive(Clone)]
enum Bodies {
    Same(Bytes),
    Each {
        workload: Arc<Workload>,
        model: String,
        run: Uuid,
    },
}

impl Bodies {
    fn new(workload: &Arc<Workload>, model: &str, run: Uuid) -> Self {
        let same =
            |salt: Option<&str>| Self::Same(chat::request_body(workload, model, salt).into());
        match workload.prefix_cache {
            PrefixCache::Warm => same(None),
            PrefixCache::PerRun => same(Some(&run.to_string())),
            PrefixCache::Cold => Self::Each {
                workload: Arc::clone(workload),
                model: model.to_owned(),
                run,
            },
        }
    }

    fn of(&self, number: u32) -> Bytes {
        match self {
            Self::Same(body) => body.clone(),
            Self::Each {
                workload,
                model,
                run,
            } => chat::request_body(workload, model, Some(&format!("{run}-{number}"))).into(),
        }
    }
}
