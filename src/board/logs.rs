//! The logs of the last runs, in memory. Those of runs that went wrong are kept for longer: a burst of good ones does
//! not push the last failure out. Whoever asks `/probe` often pushes out none of the scheduled runs'.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::measurement::RunId;
use crate::run_log::{Cause, RunLog};

/// Logs of each kind that are kept unless told otherwise.
pub const USUAL_LOGS: usize = 100;

/// The most bytes that the logs of one kind take together.
const MOST_BYTES: usize = 4 << 20;

/// The logs of the last runs.
#[derive(Debug)]
pub struct RunLogs(Mutex<Shelves>);

#[derive(Debug)]
struct Shelves {
    limit: usize,
    scheduled: Shelf,
    asked_for: Shelf,
}

/// The last logs, and of those before them the last that tell of trouble.
#[derive(Debug, Default)]
struct Shelf {
    recent: Ring,
    trouble: Ring,
}

#[derive(Debug, Default)]
struct Ring {
    logs: VecDeque<Arc<RunLog>>,
    bytes: usize,
}

impl Default for RunLogs {
    fn default() -> Self {
        Self(Mutex::new(Shelves {
            limit: USUAL_LOGS,
            scheduled: Shelf::default(),
            asked_for: Shelf::default(),
        }))
    }
}

impl RunLogs {
    /// Keeps so many logs of each kind from now on: of the last runs, of troubled ones before them, and the same of
    /// those that `/probe` was asked for.
    pub fn keep(&self, limit: usize) {
        self.shelves().limit = limit;
    }

    /// Takes in the log of a run that has just ended.
    pub fn push(&self, log: Arc<RunLog>) {
        let mut shelves = self.shelves();
        let limit = shelves.limit;
        let shelf = match log.heading.cause {
            Cause::Probe => &mut shelves.asked_for,
            Cause::Schedule | Cause::Order => &mut shelves.scheduled,
        };
        for old in shelf.recent.push(log, limit) {
            if old.ending.is_trouble() {
                shelf.trouble.push(old, limit);
            }
        }
    }

    /// The log of a run, while it is kept.
    pub fn get(&self, id: &RunId) -> Option<Arc<RunLog>> {
        let shelves = self.shelves();
        shelves.logs().find(|log| log.heading.id == *id).cloned()
    }

    /// Every log that is kept, the latest run first.
    pub fn all(&self) -> Vec<Arc<RunLog>> {
        let shelves = self.shelves();
        let mut all: Vec<_> = shelves.logs().cloned().collect();
        drop(shelves);
        all.sort_by_key(|log| std::cmp::Reverse(log.heading.begun_at));
        all
    }

    /// The runs whose logs are kept.
    pub fn kept(&self) -> HashSet<RunId> {
        let shelves = self.shelves();
        shelves.logs().map(|log| log.heading.id.clone()).collect()
    }

    /// Nobody panics while holding it.
    fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    fn logs(&self) -> impl Iterator<Item = &Arc<RunLog>> {
        [&self.scheduled, &self.asked_for]
            .into_iter()
            .flat_map(|shelf| [&shelf.recent, &shelf.trouble])
            .flat_map(|ring| &ring.logs)
    }
}

impl Ring {
    /// Adds a log, and returns those for which there is no room any more, oldest first.
    fn push(&mut self, log: Arc<RunLog>, limit: usize) -> Vec<Arc<RunLog>> {
        self.bytes += log.bytes();
        self.logs.push_back(log);
        let mut gone = Vec::new();
        while self.logs.len() > limit || self.bytes > MOST_BYTES {
            let Some(oldest) = self.logs.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
            gone.push(oldest);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::run_log::{Ending, Heading, Lines};

    fn log(number: usize, cause: Cause, ending: Ending, line: &str) -> Arc<RunLog> {
        let mut lines = Lines::default();
        for _ in 0..200 {
            lines.add(Duration::ZERO, line);
        }
        let begun_at = jiff::Timestamp::from_second(number as i64).unwrap();
        Arc::new(RunLog {
            heading: Heading {
                id: RunId(number.to_string()),
                deployment: "d".to_owned(),
                workload: "w".to_owned(),
                cause,
                begun_at,
            },
            ending,
            lines,
        })
    }

    fn kept(logs: &RunLogs) -> Vec<usize> {
        let ids = logs.all().into_iter();
        ids.map(|log| log.heading.id.0.parse().unwrap()).collect()
    }

    #[test]
    fn good_runs_do_not_push_the_last_failures_out() {
        let logs = RunLogs::default();
        logs.keep(3);
        for number in 0..5 {
            logs.push(log(number, Cause::Schedule, Ending::Failed, ""));
        }
        for number in 5..20 {
            logs.push(log(number, Cause::Order, Ending::Valid, ""));
        }
        assert_eq!(kept(&logs), [19, 18, 17, 4, 3, 2]);
        assert!(logs.get(&RunId("4".to_owned())).is_some());
        assert!(logs.get(&RunId("5".to_owned())).is_none());
        // However often /probe is asked.
        for number in 20..40 {
            logs.push(log(number, Cause::Probe, Ending::Invalid, ""));
        }
        assert_eq!(kept(&logs), [39, 38, 37, 36, 35, 34, 19, 18, 17, 4, 3, 2]);
        logs.keep(0);
        logs.push(log(40, Cause::Schedule, Ending::Failed, ""));
        assert!(logs.get(&RunId("40".to_owned())).is_none());
    }

    #[test]
    fn what_all_of_them_take_is_bounded() {
        let logs = RunLogs::default();
        logs.keep(usize::MAX);
        let long = "x".repeat(1_000);
        for number in 0..100 {
            logs.push(log(number, Cause::Schedule, Ending::Failed, &long));
        }
        let bytes: usize = logs.all().iter().map(|log| log.bytes()).sum();
        assert!((MOST_BYTES..=2 * MOST_BYTES).contains(&bytes), "{bytes}");
        assert_eq!(kept(&logs)[0], 99);
    }
}
