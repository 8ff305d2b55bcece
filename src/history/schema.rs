//! The tables of the file and their versions. Migrations are only ever added: a file is brought up to date when
//! it is opened for writing, and one that a newer version wrote is left alone.

use std::path::Path;

use sqlx::{Connection, Executor, SqliteConnection};

use super::error::HistoryError;

/// In the order of their versions, the first of which is 1.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_runs.sql"),
    include_str!("migrations/0002_events.sql"),
    include_str!("migrations/0003_light_runs.sql"),
];

/// The version from which on there are events.
pub(super) const EVENTS: i64 = 2;

/// Marks the file as one of this program's: the letters `vllp`.
const APPLICATION: i64 = 0x766c_6c70;

/// The version that this program writes.
fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Brings the file up to date. A new one gets its tables; two processes that create it at once take turns.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    file: &Path,
) -> Result<(), HistoryError> {
    if check(connection, file).await? == newest() {
        return Ok(());
    }
    let failed = |error| HistoryError::of(file, &error);
    let mut transaction = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(failed)?;
    let version = check(&mut transaction, file).await?;
    for (migration, number) in MIGRATIONS.iter().zip(1_i64..) {
        if number > version {
            let step = format!(
                "{migration}; PRAGMA user_version = {number}; PRAGMA application_id = {APPLICATION};"
            );
            transaction.execute(step.as_str()).await.map_err(failed)?;
        }
    }
    transaction.commit().await.map_err(failed)
}

/// The version of the file, 0 for a new one.
///
/// # Errors
/// When it is another program's, or a newer version's.
pub(super) async fn check(
    connection: &mut SqliteConnection,
    file: &Path,
) -> Result<i64, HistoryError> {
    let (version, application, tables): (i64, i64, i64) = sqlx::query_as(
        "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema)
         FROM pragma_user_version, pragma_application_id",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(|error| HistoryError::of(file, &error))?;
    if application != APPLICATION && (tables > 0 || version > 0 || application != 0) {
        return Err(HistoryError::new(
            file,
            "it is another program's file, not a history of vllm-prober; move it away, or name another directory",
        ));
    }
    if version > newest() {
        return Err(HistoryError::new(
            file,
            format!(
                "it has version {version}, and this vllm-prober knows versions up to {}; start the newer vllm-prober \
                 that wrote it, or name another directory",
                newest()
            ),
        ));
    }
    Ok(version)
}
