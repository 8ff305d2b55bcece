//! A thread with a runtime of its own for one run.
//!
//! One current-thread runtime, since a second core would only move a chunk's wake-up to where its stamp
//! comes later.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::RunError;
use crate::measurement::Run;

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
                Ok(runtime) => runtime
                    .block_on(stop.run_until_cancelled(replay))
                    .unwrap_or(Err(RunError::Cut)),
                Err(error) => Err(RunError::Thread(error.to_string())),
            };
            // The receiver is gone only when nobody wants the run any more.
            let _ = ended.send(outcome);
        })
        .map_err(|error| failed(&error))?;
    end.await.unwrap_or_else(|_| Err(failed(&"it panicked")))
}

/// Processor time of the calling thread so far; `None` where there is no Linux `/proc`.
pub(super) fn cpu_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split_whitespace()
        .next()?
        .parse()
        .ok()
        .map(Duration::from_nanos)
}
