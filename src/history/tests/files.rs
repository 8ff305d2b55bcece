//! The file as it is found: another program's, an older or a newer version's, broken, locked, taken away or
//! wanted by two at once.

use std::collections::BTreeSet;
use std::path::PathBuf;

use sqlx::Connection;

use super::*;

/// A directory with a history file that `sql` made.
async fn create(sql: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(FILE);
    let mut connection = writing(&file).connect().await.unwrap();
    sqlx::Executor::execute(&mut connection, sql).await.unwrap();
    connection.close().await.unwrap();
    directory
}

#[tokio::test]
async fn an_older_file_is_read_as_it_is_and_brought_up_to_date_when_it_is_written() {
    let old = entry("a", "w", 0, 0);
    let ended_at = nanos(old.ended_at);
    let older = create(&format!(
        "{}; PRAGMA user_version = 1; PRAGMA application_id = {};
         INSERT INTO series VALUES (1, 'a', 'w', '{}');
         INSERT INTO run VALUES ('{}', 1, 'prober', {ended_at}, {ended_at}, NULL, '{}');",
        include_str!("../migrations/0001_runs.sql"),
        0x766c_6c70,
        old.series.workload_id,
        old.id.0,
        old.json,
    ))
    .await;
    let mut reader = Reader::open(older.path()).await.unwrap();
    let stored = ids(&reader.page(&page(9)).await.unwrap());
    assert_eq!(stored, std::slice::from_ref(&old.id.0));
    assert_eq!(reader.interventions(None).await.unwrap(), []);

    let history = History::open(older.path()).await.unwrap();
    let light = Entry {
        light: true,
        ..entry("a", "canary", 1, 0)
    };
    history.append(&[light]).await.unwrap();
    let pruned = history.prune(kept(0, 1, 0), 9).await.unwrap();
    assert_eq!((pruned.runs, pruned.light_runs), (0, 1));
    let mut reader = history.reader().await.unwrap();
    assert_eq!(ids(&reader.page(&page(9)).await.unwrap()), [old.id.0]);
}

#[tokio::test]
async fn a_foreign_a_newer_and_a_broken_file_are_left_alone_with_a_mend() {
    let told = async |directory: &PathBuf| {
        let writing = History::open(directory).await.unwrap_err().to_string();
        let reading = Reader::open(directory).await.unwrap_err().to_string();
        assert!(
            writing.starts_with(directory.join(FILE).to_str().unwrap()),
            "{writing}"
        );
        (writing, reading)
    };
    let newer = create(&format!(
        "CREATE TABLE t (x); PRAGMA user_version = 99; PRAGMA application_id = {};",
        0x766c_6c70
    ))
    .await;
    let (writing, reading) = told(&newer.path().to_owned()).await;
    for text in [writing, reading] {
        assert!(
            text.contains("version 99") && text.contains("newer vllm-prober"),
            "{text}"
        );
    }
    let foreign = create("CREATE TABLE t (x)").await;
    let (writing, reading) = told(&foreign.path().to_owned()).await;
    assert!(
        writing.contains("another program's file") && reading == writing,
        "{writing}"
    );

    let broken = tempfile::tempdir().unwrap();
    std::fs::write(
        broken.path().join(FILE),
        "this is no database\n".repeat(100),
    )
    .unwrap();
    let (writing, _) = told(&broken.path().to_owned()).await;
    assert!(writing.contains("not a SQLite file"), "{writing}");

    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join(FILE)).unwrap();
    let (writing, _) = told(&directory.path().to_owned()).await;
    assert!(writing.contains("cannot be opened"), "{writing}");

    let nowhere = tempfile::tempdir().unwrap();
    let error = Reader::open(nowhere.path()).await.unwrap_err().to_string();
    assert!(error.contains("there is no history here"), "{error}");
}

#[tokio::test]
async fn a_file_that_was_taken_away_is_begun_anew() {
    let (directory, history) = opened().await;
    history.append(&[entry("a", "w", 0, 0)]).await.unwrap();
    std::fs::rename(history.file(), directory.path().join("saved.db")).unwrap();
    history.append(&[entry("a", "w", 1, 1)]).await.unwrap();
    let left = history
        .reader()
        .await
        .unwrap()
        .page(&page(9))
        .await
        .unwrap();
    assert_eq!(left.len(), 1);
    // What was moved away has all that it had, though it was not merged into the file before.
    std::fs::create_dir(directory.path().join("saved")).unwrap();
    let saved = directory.path().join("saved").join(FILE);
    std::fs::rename(directory.path().join("saved.db"), saved).unwrap();
    let mut reader = Reader::open(&directory.path().join("saved")).await.unwrap();
    assert_eq!(reader.page(&page(9)).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_open_and_write_at_once_take_turns() {
    let directory = tempfile::tempdir().unwrap();
    let writer = |first: u32| {
        let path = directory.path().to_owned();
        tokio::spawn(async move {
            let history = History::open(&path).await.unwrap();
            for n in first..first + 20 {
                history
                    .append(&[entry("a", "w", n, i64::from(n))])
                    .await
                    .unwrap();
                history.reader().await.unwrap().latest().await.unwrap();
            }
        })
    };
    let writers = [writer(0), writer(100), writer(200)];
    for writer in writers {
        writer.await.unwrap();
    }
    let mut reader = Reader::open(directory.path()).await.unwrap();
    let found: BTreeSet<String> = ids(&reader.page(&page(1000)).await.unwrap())
        .into_iter()
        .collect();
    assert_eq!(found.len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_locked_at_the_start_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    // Not in write-ahead mode yet: such a lock keeps readers out too.
    let file = options(&directory.path().join(FILE)).create_if_missing(true);
    let mut other = file.connect().await.unwrap();
    sqlx::Executor::execute(&mut other, "BEGIN EXCLUSIVE")
        .await
        .unwrap();
    let releasing = async {
        sleep(Duration::from_millis(1500)).await;
        other.close().await.unwrap();
    };
    let (history, ()) = tokio::join!(History::open(directory.path()), releasing);
    assert_eq!(
        history
            .unwrap()
            .append(&[entry("a", "w", 0, 0)])
            .await
            .unwrap(),
        1
    );
}
