//! A thread with a runtime of its own for one run.
//!
//! One current-thread runtime, since a second core would only move a chunk's wake-up to where its stamp
//! comes later.

use std::time::Duration;

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
            let outcome = match tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            {
                Ok(runtime) => {
                    let outcome = runtime.block_on(stop.run_until_cancelled(replay));
                    // A name that is still being resolved is not waited for: the system gives no way
                    // to stop that, and it can take half a minute.
                    runtime.shutdown_background();
                    outcome.unwrap_or(Err(RunError::Cut))
                }
                Err(error) => Err(RunError::Thread(error.to_string())),
            };
            // The receiver is gone only when nobody wants the run any more.
            let _ = ended.send(outcome);
        })
        .map_err(|error| failed(&error))?;
    end.await.unwrap_or_else(|_| Err(failed(&"it panicked")))
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
