//! The two signals that end the program in good order: SIGTERM from a service manager, SIGINT from a
//! developer's keyboard.

use tokio::signal::unix::{SignalKind, signal};

/// Resolves when the program is told to stop.
pub(super) async fn stop() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        // Without handlers the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
