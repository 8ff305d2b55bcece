//! A thread with a runtime of its own for one run.
//!
//! One current-thread runtime, since a second core would only move a chunk's wake-up to where its stamp
//! comes later.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::RunError;
use crate::measurement::{ProcessorTime, Run};

/// Runs `replay` to its end on a new thread, or drops it when `stop` comes first, or when the caller
/// goes away.
pub(super) async fn run(
    stop: CancellationToken,
    replay: impl Future<Output = Result<Run, RunError>> + Send + 'static,
) -> Result<Run, RunError> {
    let stop = stop.child_token();
    let _caller_is_here = stop.clone().drop_guard();
    let (ended, end) = oneshot::channel();
    let failed = |error: &dyn std::fmt::Display| RunError::Thread(error.to_string());
    std::thread::Builder::new()
        .name("measure".to_owned())
        .spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let outcome = match builder.enable_all().build() {
                Ok(runtime) => {
                    // A panic is this run's outcome and no one else's.
                    let replay = AssertUnwindSafe(replay).catch_unwind();
                    let outcome = runtime.block_on(stop.run_until_cancelled(replay));
                    // A name that is still being resolved is not waited for: the system gives no way
                    // to stop that, and it can take half a minute.
                    runtime.shutdown_background();
                    match outcome {
                        None => Err(RunError::Cut),
                        Some(Ok(outcome)) => outcome,
                        Some(Err(payload)) => Err(RunError::panicked(&*payload)),
                    }
                }
                Err(error) => Err(RunError::Thread(error.to_string())),
            };
            // The receiver is gone only when nobody wants the run any more.
            let _ = ended.send(outcome);
        })
        .map_err(|error| failed(&error))?;
    end.await
        .unwrap_or_else(|_| Err(failed(&"it ended without a word")))
}

/// What the calling thread has had of its processor so far; `None` where there is no Linux `/proc`.
pub(super) fn processor_time() -> Option<ProcessorTime> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let mut nanoseconds = stat.split_whitespace().map(str::parse);
    let mut next = || Some(Duration::from_nanos(nanoseconds.next()?.ok()?));
    Some(ProcessorTime {
        used: next()?,
        waited: next()?,
    })
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_what_the_run_comes_to() {
        let replay = async { panic!("index {} is out of bounds", 7) };
        let Err(RunError::Panicked(said)) = run(CancellationToken::new(), replay).await else {
            unreachable!("it came to something else");
        };
        assert_eq!(said, "index 7 is out of bounds");
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_holds_up_no_stop() {
        const RESOLVING: Duration = Duration::from_secs(3);
        let (begun, resolving) = oneshot::channel();
        let stop = CancellationToken::new();
        let run = tokio::spawn(run(stop.clone(), async {
            let name = tokio::task::spawn_blocking(|| {
                begun.send(()).unwrap();
                std::thread::sleep(RESOLVING);
            });
            name.await.unwrap();
            Err(RunError::Thread("it was not stopped".to_owned()))
        }));
        resolving.await.unwrap();
        let told = Instant::now();
        stop.cancel();
        assert!(matches!(run.await.unwrap(), Err(RunError::Cut)));
        assert!(told.elapsed() < RESOLVING / 2, "{:?}", told.elapsed());
    }
}
