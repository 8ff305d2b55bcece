//! Why the history could not be read or written: which file, what is wrong, and what mends it.

use std::path::{Path, PathBuf};

use crate::measurement::RunId;

/// What went wrong with the file of the history.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", .file.display())]
pub struct HistoryError {
    file: PathBuf,
    what: String,
    kind: Kind,
}

/// What of it matters to whoever tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Another process holds the file for the moment.
    Locked,
    /// It is about the run that was to be written: it would fail again.
    Run,
    /// It is about a run that is not in the file.
    UnknownRun,
    /// Anything else.
    Other,
}

impl HistoryError {
    pub(super) fn new(file: &Path, what: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            what: what.into(),
            kind: Kind::Other,
        }
    }

    pub(super) fn unknown_run(file: &Path, id: &RunId) -> Self {
        Self {
            kind: Kind::UnknownRun,
            ..Self::new(file, format!("there is no run {id} to go on from"))
        }
    }

    pub(super) fn of(file: &Path, error: &sqlx::Error) -> Self {
        let code = error
            .as_database_error()
            .and_then(|error| error.code()?.parse::<i32>().ok());
        // The low byte is SQLite's own result code, the others refine it.
        let (kind, mend) = match code.map(|code| code & 0xff) {
            Some(5 | 6) => (
                Kind::Locked,
                "another process holds the file; end it, or give it another file",
            ),
            Some(8) => (
                Kind::Other,
                "the file cannot be written; check its permissions",
            ),
            Some(11) => (
                Kind::Other,
                "the file is damaged; move it away, and save what `sqlite3 FILE .recover` finds in it",
            ),
            Some(13) => (Kind::Other, "the disk is full; free some of it"),
            Some(14) => (
                Kind::Other,
                "it cannot be opened; check that it is a file and that this user may write it and its directory",
            ),
            Some(18..=20) => (Kind::Run, "this run cannot be stored"),
            Some(26) => (
                Kind::Other,
                "it is not a SQLite file; move it away, or name another directory",
            ),
            _ => (Kind::Other, ""),
        };
        let what = if mend.is_empty() {
            error.to_string()
        } else {
            format!("{mend} ({error})")
        };
        Self {
            file: file.to_owned(),
            what,
            kind,
        }
    }

    /// Whether another process holds the file, so that it is worth trying again soon.
    pub fn is_locked(&self) -> bool {
        self.kind == Kind::Locked
    }

    /// Whether the file is as it should be, and the run that was named is not in it.
    pub fn is_about_an_unknown_run(&self) -> bool {
        self.kind == Kind::UnknownRun
    }

    /// Whether it is about the run that was to be written, not about the file.
    pub fn is_about_the_run(&self) -> bool {
        self.kind == Kind::Run
    }
}
