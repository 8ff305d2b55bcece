//! What a command writes to standard output.

use std::io::{ErrorKind, Write};

/// Writes to standard output. One that is closed, as `head` does, has had enough.
pub(super) fn print(text: &str) -> Result<(), String> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}"))
        }
        _ => Ok(()),
    }
}
