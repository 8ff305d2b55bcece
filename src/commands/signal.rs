//! The signals that the program follows: SIGTERM from a service manager and SIGINT from a developer's keyboard end it
//! in good order, SIGHUP has a daemon read its configuration anew.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// What is to be done before the process ends at once may take so long.
const PATIENCE: Duration = Duration::from_millis(200);

/// A token that is cancelled when the program is told to stop; signals are caught from now on.
///
/// A second signal ends the process at once, as an impatient user expects.
pub(super) fn stop_token() -> CancellationToken {
    stop_token_with(|| {})
}

/// The same, with what is to be done before the process ends at once.
pub(super) fn stop_token_with(at_once: fn()) -> CancellationToken {
    let stop = CancellationToken::new();
    if let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        let told = stop.clone();
        tokio::spawn(async move {
            for again in [false, true] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if again {
                    // A terminal that takes nothing in does not keep the process.
                    let _ = timeout(PATIENCE, spawn_blocking(at_once)).await;
                    // 128 + SIGINT, as shells count.
                    std::process::exit(130);
                }
                told.cancel();
            }
        });
    }
    stop
}

/// Every SIGHUP from now on: one that nobody awaits ends the process. A system that has no such signal, or no more
/// handlers, has none.
pub(super) fn hangups() -> Option<Signal> {
    signal(SignalKind::hangup()).ok()
}
