//! Every finished run, kept in one file: what is shown comes back after a restart, and what is judged is there to
//! be judged.
//!
//! An embedded SQLite file in write-ahead mode. One connection writes, and is opened anew after any failure, or
//! when the file at its path is not the one that it writes to; readers have connections of their own and neither
//! wait for the writer nor hold it up. A commit is on the disk before it is reported (`synchronous = FULL`):
//! a run takes seconds to measure and milliseconds to store, so that not even a power failure need lose one.

mod entry;
mod error;
mod event;
mod health;
mod judged;
mod reader;
mod recorder;
mod schema;
mod subject;
mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tracing::warn;

pub use self::entry::{Entry, Point, Series};
pub use self::error::HistoryError;
pub use self::event::{EnvironmentChange, Event, StoredIntervention};
pub use self::health::{Health, Operation};
pub use self::judged::judge_again;
pub use self::reader::{Latest, Order, Page, Reader, SeriesPoint, StoredRun};
pub use self::recorder::{Recorder, Retention, Writing};
pub use self::subject::{Subject, UnreadSubject, fields_changed};
use self::writer::Writer;

/// The file within the directory that `--storage.path` names.
const FILE: &str = "history.db";

/// How long opening waits for a file that another process holds.
const LOCKED: Duration = Duration::from_secs(10);

/// How long a statement waits for a lock before it fails.
const BUSY: Duration = Duration::from_secs(1);

/// Bytes of a page of a new file: the JSON of a run takes about 3 kB, of which a page of the usual 4 kB has one.
const PAGE: u32 = 16 << 10;

/// Pages of the write-ahead log, 4 MB, after which it is merged into the file.
const CHECKPOINT: u32 = 256;

/// Rows that a reader fetches ahead: a series has tens of thousands.
const ROWS_AHEAD: usize = 1024;

/// The history, as its one writer in this process has it. Shared: appending waits for its turn.
#[derive(Debug)]
pub struct History {
    file: PathBuf,
    /// Absent after a failure, until it is opened anew.
    writer: Mutex<Option<Writer>>,
}

/// What is kept, by when it ended: what ended before is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Runs.
    pub runs: Timestamp,
    /// Runs that are mere signs of life; those before `runs` go anyway.
    pub light_runs: Timestamp,
    /// The single requests of a run; those of runs that go anyway.
    pub requests: Timestamp,
}

/// How much one batch of pruning took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Runs, with all that belongs to them.
    pub runs: u64,
    /// Light runs, likewise, which were not as old as that.
    pub light_runs: u64,
    /// Runs whose requests were taken away.
    pub requests: u64,
    /// What is judged of runs, of series that go on no more.
    pub points: u64,
}

impl Pruned {
    /// Of the kind of which most was taken away.
    pub fn most(self) -> u64 {
        let Self {
            runs,
            light_runs,
            requests,
            points,
        } = self;
        runs.max(light_runs).max(requests).max(points)
    }
}

impl History {
    /// Opens the history in `directory`, and creates both where they are missing. Waits a little for a file that
    /// another process holds.
    ///
    /// # Errors
    /// When it cannot be opened, or is not a file that this version may write.
    pub async fn open(directory: &Path) -> Result<Self, HistoryError> {
        let file = directory.join(FILE);
        let deadline = Instant::now() + LOCKED;
        loop {
            match Writer::open(&file).await {
                Ok(writer) => {
                    return Ok(Self {
                        file,
                        writer: Mutex::new(Some(writer)),
                    });
                }
                Err(error) if error.is_locked() && Instant::now() < deadline => {
                    sleep(Duration::from_millis(200)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it is.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Stores all of `entries`, or none of them, and says how many were not stored before. When it returns they
    /// are on the disk.
    ///
    /// # Errors
    /// When they could not be stored; it may be tried again.
    pub async fn append(&self, entries: &[Entry]) -> Result<usize, HistoryError> {
        let mut slot = self.writer.lock().await;
        let mut writer = self.writer(&mut slot).await?;
        let stored = writer.append(entries).await?;
        *slot = Some(writer);
        Ok(stored)
    }

    /// Stores an event, unless it is stored already. When it returns it is on the disk.
    ///
    /// # Errors
    /// When it could not be stored; it may be tried again.
    pub async fn note(&self, event: &Event) -> Result<(), HistoryError> {
        let mut slot = self.writer.lock().await;
        let mut writer = self.writer(&mut slot).await?;
        writer.note(event).await?;
        *slot = Some(writer);
        Ok(())
    }

    /// Takes away up to `batch` runs of each kind that ended before what is kept `since`, and the requests of up to
    /// `batch` of them. There is more to take away if as many as `batch` were. What is judged of a run stays for as
    /// long as there are runs of its series: verdicts are made from it, and a baseline may be old. Light runs are not
    /// judged, so nothing stays of them.
    ///
    /// # Errors
    /// When that could not be done; it may be tried again.
    pub async fn prune(&self, since: Kept, batch: u32) -> Result<Pruned, HistoryError> {
        let mut slot = self.writer.lock().await;
        let mut writer = self.writer(&mut slot).await?;
        let pruned = writer.prune(since, batch).await?;
        *slot = Some(writer);
        Ok(pruned)
    }

    /// A reader of what is committed by now and later.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn reader(&self) -> Result<Reader, HistoryError> {
        Reader::open_file(&self.file).await
    }

    /// The bytes that it takes on the disk, with what is yet to be merged into the file.
    pub async fn size_bytes(&self) -> u64 {
        let file = self.file.clone();
        let sizes = move || {
            let of = |suffix: &str| {
                let mut path = file.clone().into_os_string();
                path.push(suffix);
                std::fs::metadata(path).map_or(0, |metadata| metadata.len())
            };
            of("") + of("-wal")
        };
        // The disk may hang, and is not to hold up the other tasks of this thread.
        tokio::task::spawn_blocking(sizes).await.unwrap_or(0)
    }

    /// The writer, to be put back after it has done its work. One that fails, or is given up, is closed.
    async fn writer(&self, slot: &mut Option<Writer>) -> Result<Writer, HistoryError> {
        if let Some(writer) = slot.take() {
            if writer.writes_to(&self.file).await {
                return Ok(writer);
            }
            warn!(
                file = %self.file.display(),
                "the file of the history is gone, or another one is in its place; it is opened anew"
            );
            // Its write-ahead log must not be taken for that of the file that is there now.
            writer.close().await;
        }
        Writer::open(&self.file).await
    }

    /// Closes the file in order, with all of it in one piece.
    pub async fn close(&self) {
        if let Some(writer) = self.writer.lock().await.take() {
            writer.close().await;
        }
    }
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(BUSY)
        .disable_statement_logging()
}

fn writing(file: &Path) -> SqliteConnectOptions {
    options(file)
        .create_if_missing(true)
        .page_size(PAGE)
        .pragma("wal_autocheckpoint", CHECKPOINT.to_string())
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
}

/// As the file has it: nanoseconds since the epoch, which reach from 1677 to 2262. Times beyond are the first or
/// the last of these.
fn nanos(time: Timestamp) -> i64 {
    let bound = if time < Timestamp::UNIX_EPOCH {
        i64::MIN
    } else {
        i64::MAX
    };
    i64::try_from(time.as_nanosecond()).unwrap_or(bound)
}

/// A time of the file.
fn timestamp(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanos.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
