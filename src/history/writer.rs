//! The one connection that writes: whole runs in one transaction each, and small batches of what is too old.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions, Connection, Executor, SqliteConnection};

use super::error::HistoryError;
use super::event::{self, Event};
use super::{Entry, Kept, Pruned, nanos, schema, writing};

/// An open connection, and which file it writes to.
#[derive(Debug)]
pub(super) struct Writer {
    connection: SqliteConnection,
    file: PathBuf,
    identity: Option<Identity>,
}

/// Device and number of a file: another one at the same path has others.
type Identity = (u64, u64);

/// Points of series that have ended: those of one that goes on are kept, since its baseline may be as old as it.
const OLD_POINTS: &str = "DELETE FROM point WHERE (series, ended_at, id) IN
    (SELECT series, ended_at, id FROM point WHERE series IN
        (SELECT key FROM series WHERE (SELECT max(ended_at) FROM point WHERE series = key) < ?1)
     LIMIT ?2)";
/// Of light runs, which none judges, nothing is kept.
const OLD_LIGHT_POINTS: &str = "DELETE FROM point WHERE (series, ended_at, id) IN
    (SELECT series, ended_at, id FROM run WHERE light AND ended_at < ?1 ORDER BY ended_at, id LIMIT ?2)";
const REQUESTS_OF_OLD_LIGHT_RUNS: &str = "DELETE FROM requests WHERE id IN
    (SELECT id FROM run WHERE light AND ended_at < ?1 ORDER BY ended_at, id LIMIT ?2)";
const OLD_LIGHT_RUNS: &str = "DELETE FROM run WHERE id IN
    (SELECT id FROM run WHERE light AND ended_at < ?1 ORDER BY ended_at, id LIMIT ?2)";
const REQUESTS_OF_OLD_RUNS: &str = "DELETE FROM requests WHERE id IN
    (SELECT id FROM run WHERE ended_at < ?1 ORDER BY ended_at, id LIMIT ?2)";
const OLD_RUNS: &str = "DELETE FROM run WHERE id IN
    (SELECT id FROM run WHERE ended_at < ?1 ORDER BY ended_at, id LIMIT ?2)";
const OLD_REQUESTS: &str = "DELETE FROM requests WHERE id IN
    (SELECT id FROM requests WHERE ended_at < ?1 ORDER BY ended_at, id LIMIT ?2)";

impl Writer {
    pub(super) async fn open(file: &Path) -> Result<Self, HistoryError> {
        let failed = |error| HistoryError::of(file, &error);
        if let Some(directory) = file.parent() {
            let directory = directory.to_owned();
            let create = move || std::fs::create_dir_all(directory);
            let created = tokio::task::spawn_blocking(create).await;
            created
                .map_err(std::io::Error::other)
                .flatten()
                .map_err(|error| {
                    HistoryError::new(
                        file,
                        format!("its directory cannot be created ({error}); name another one"),
                    )
                })?;
        }
        let mut connection = writing(file).connect().await.map_err(failed)?;
        schema::migrate(&mut connection, file).await?;
        Ok(Self {
            connection,
            file: file.to_owned(),
            identity: identity(file).await,
        })
    }

    /// Whether `file` is still what this connection writes to. A file that was deleted or replaced would be
    /// written all the same, and no one would ever find it.
    pub(super) async fn writes_to(&self, file: &Path) -> bool {
        self.identity.is_some() && identity(file).await == self.identity
    }

    pub(super) async fn append(&mut self, entries: &[Entry]) -> Result<usize, HistoryError> {
        let failed = |error| HistoryError::of(&self.file, &error);
        let mut transaction = self
            .connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed)?;
        let mut stored = 0;
        for entry in entries {
            if append(&mut transaction, entry).await.map_err(failed)? {
                stored += 1;
            }
        }
        transaction.commit().await.map_err(failed)?;
        Ok(stored)
    }

    pub(super) async fn note(&mut self, event: &Event) -> Result<(), HistoryError> {
        let failed = |error| HistoryError::of(&self.file, &error);
        let mut transaction = self
            .connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed)?;
        event::insert(&mut transaction, event)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    pub(super) async fn prune(&mut self, since: Kept, batch: u32) -> Result<Pruned, HistoryError> {
        let failed = |error| HistoryError::of(&self.file, &error);
        let mut transaction = self
            .connection
            .begin_with("BEGIN IMMEDIATE")
            .await
            .map_err(failed)?;
        let (runs, light_runs) = (nanos(since.runs), nanos(since.light_runs));
        // The runs go after what is found by them.
        let mut taken = [0; 7];
        for ((sql, before), taken) in [
            (OLD_POINTS, runs),
            (OLD_LIGHT_POINTS, light_runs),
            (REQUESTS_OF_OLD_LIGHT_RUNS, light_runs),
            (OLD_LIGHT_RUNS, light_runs),
            (REQUESTS_OF_OLD_RUNS, runs),
            (OLD_RUNS, runs),
            (OLD_REQUESTS, nanos(since.requests)),
        ]
        .into_iter()
        .zip(&mut taken)
        {
            let done = sqlx::query(sql)
                .bind(before)
                .bind(batch)
                .execute(&mut *transaction)
                .await;
            *taken = done.map_err(failed)?.rows_affected();
        }
        let [points, _, _, light_runs, _, runs, requests] = taken;
        transaction.commit().await.map_err(failed)?;
        Ok(Pruned {
            runs,
            light_runs,
            requests,
            points,
        })
    }

    /// Merges the write-ahead log into the file, also where that has been moved meanwhile, and closes it. What is
    /// committed stays so whether this succeeds or not.
    pub(super) async fn close(mut self) {
        let _ = self
            .connection
            .execute("PRAGMA wal_checkpoint(TRUNCATE)")
            .await;
        let _ = self.connection.close().await;
    }
}

async fn identity(file: &Path) -> Option<Identity> {
    let file = file.to_owned();
    let read = move || {
        let metadata = std::fs::metadata(file).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    tokio::task::spawn_blocking(read).await.ok().flatten()
}

/// Whether it was not there before.
async fn append(connection: &mut SqliteConnection, entry: &Entry) -> Result<bool, sqlx::Error> {
    let key = entry.series.key(connection).await?;
    let ended_at = nanos(entry.ended_at);
    let new = sqlx::query(
        "INSERT INTO run (id, series, source, light, started_at, ended_at, environment, json)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
    )
    .bind(&entry.id.0)
    .bind(key)
    .bind(entry.source.label())
    .bind(entry.light)
    .bind(nanos(entry.started_at))
    .bind(ended_at)
    .bind(&entry.environment)
    .bind(&entry.json)
    .execute(&mut *connection)
    .await?;
    if new.rows_affected() == 0 {
        return Ok(false);
    }
    let point = &entry.point;
    sqlx::query("INSERT INTO point VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(key)
        .bind(ended_at)
        .bind(&entry.id.0)
        .bind(point.valid)
        .bind(point.contaminated)
        .bind(point.restarted)
        .bind(point.observable)
        .bind(&point.fingerprint)
        .bind(point.decode_tokens_rate)
        .bind(point.requests_rate)
        .bind(point.prompt_tokens_rate)
        .bind(point.ttft_p50)
        .bind(point.tpot_p50)
        .bind(point.e2e_p50)
        .bind(point.completion_tokens_mean)
        .execute(&mut *connection)
        .await?;
    if let Some(requests) = &entry.requests {
        sqlx::query("INSERT INTO requests (id, ended_at, json) VALUES (?, ?, ?)")
            .bind(&entry.id.0)
            .bind(ended_at)
            .bind(requests)
            .execute(&mut *connection)
            .await?;
    }
    Ok(true)
}
