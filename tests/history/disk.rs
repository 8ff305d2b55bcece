//! A history that is locked, read-only, full, damaged or gone.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;

use tokio::runtime::Handle;

use super::*;

/// Lets a daemon, started by `command` with its history in `directory`, lose its disk and get it back.
async fn lose_the_disk(
    command: &mut Command,
    directory: &Path,
    lose: impl Fn(u32),
    give_back: impl Fn(u32),
) {
    let storage = directory.join("data");
    let simulator = simulator().await;
    let config = configuration(directory, 2, &simulator.base_url(), "every: 1s");
    let (daemon, base_url) = Program::serve_by(command, &config, &[]);
    let series = "vllm_probe_runs_total{deployment=\"d0\"";
    scrape_until(&base_url, series, |runs| runs >= 1.0).await;
    lose(daemon.id());
    let failing = "vllm_probe_history_errors_total{operation=\"append\"}";
    let text = scrape_until(&base_url, failing, |errors| errors >= 1.0).await;
    let runs = value(&text, series).unwrap();
    scrape_until(&base_url, series, |now| now >= runs + 3.0).await;
    give_back(daemon.id());
    let until = Instant::now() + PATIENCE;
    loop {
        let shown = metrics(&base_url).await;
        let of = |name: &str| {
            let series = format!("vllm_probe_runs_total{{deployment=\"{name}\"");
            value(&shown, &series).unwrap()
        };
        let stored = stored(&storage).await.len() as f64;
        let finished = of("d0") + of("d1");
        if stored >= finished {
            break;
        }
        assert!(Instant::now() < until, "{stored} of {finished} are stored");
        sleep(Duration::from_millis(50)).await;
    }
    let (status, log) = daemon.terminate(PATIENCE);
    assert!(status.success());
    let stored = stored(&storage).await;
    assert!(announced(&log).is_subset(&stored), "{}", log.join("\n"));
    for line in ["history cannot be written", "history is written again"] {
        let said = log.iter().filter(|said| said.contains(line)).count();
        assert_eq!(said, 1, "{line}: {}", log.join("\n"));
    }
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn probing_goes_on_while_nothing_can_be_written_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let limit = |id: u32, bytes: &str| {
        let limit = format!("--fsize={bytes}:");
        let status = Command::new("prlimit")
            .args(["--pid", &id.to_string(), &limit])
            .status();
        assert!(status.unwrap().success());
    };
    // A limit on the size of files stands for a full disk; its signal is not to end the daemon.
    lose_the_disk(
        Command::new("sh").args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]),
        directory.path(),
        |id| limit(id, "4096"),
        |id| limit(id, "unlimited"),
    )
    .await;
}

/// A command that starts what it is given without the power to write what is not to be written, which root has.
fn without_privilege() -> Command {
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout != b"0\n" {
        return Command::new("env");
    }
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-dac_override,-dac_read_search");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn probing_goes_on_while_the_file_is_read_only() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data/history.db");
    let signal = |id: u32, signal: &str| {
        let status = Command::new("kill")
            .args([signal, &id.to_string()])
            .status();
        assert!(status.unwrap().success());
    };
    let permit = |mode| std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    // A file that is open stays writable, so another one with the same runs takes its place, as after a restore.
    let replace = |id| {
        signal(id, "-STOP");
        let copy = directory.path().join("copy.db");
        let copying = async {
            let mut stored = SqliteConnectOptions::new()
                .filename(&file)
                .connect()
                .await?;
            let into = sqlx::query("VACUUM INTO ?").bind(copy.to_str().unwrap());
            into.execute(&mut stored).await?;
            stored.close().await
        };
        tokio::task::block_in_place(|| Handle::current().block_on(copying)).unwrap();
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", file.display()));
        }
        std::fs::rename(&copy, &file).unwrap();
        permit(0o444);
        signal(id, "-CONT");
    };
    lose_the_disk(&mut without_privilege(), directory.path(), replace, |_| {
        permit(0o644);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "fills a file system of a few MB, whose directory VLLM_PROBER_TEST_SMALL_DISK names"]
async fn probing_goes_on_while_the_disk_is_full() {
    let directory = PathBuf::from(std::env::var("VLLM_PROBER_TEST_SMALL_DISK").unwrap());
    let directory = tempfile::tempdir_in(directory).unwrap();
    let filler = directory.path().join("filler");
    let fill = |_| {
        let mut file = std::fs::File::create(&filler).unwrap();
        let full = (0..1 << 20).find_map(|_| file.write_all(&[0; 4096]).err());
        assert_eq!(full.unwrap().kind(), std::io::ErrorKind::StorageFull);
    };
    let empty = |_| std::fs::remove_file(&filler).unwrap();
    lose_the_disk(&mut Command::new("env"), directory.path(), fill, empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_cannot_be_opened_ends_the_start_with_its_mend() {
    let directory = tempfile::tempdir().unwrap();
    let config = configuration(directory.path(), 1, "http://127.0.0.1:9", NEVER);
    let storage = directory.path().join("data");
    std::fs::create_dir(&storage).unwrap();
    std::fs::write(storage.join("history.db"), "no database ".repeat(200)).unwrap();
    let output = prober(&[
        "serve",
        "--config.file",
        config.to_str().unwrap(),
        "--web.listen-address",
        "127.0.0.1:0",
        "--storage.path",
        storage.to_str().unwrap(),
    ])
    .await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    for word in ["--storage.path", "history.db", "not a SQLite file"] {
        assert!(said.contains(word), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_is_taken_away_begins_anew_and_the_log_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = simulator().await;
    let config = configuration(directory.path(), 1, &simulator.base_url(), "every: 1s");
    let (mut daemon, base_url) = Program::serve(&config);
    let series = "vllm_probe_runs_total{deployment=\"d0\"";
    scrape_until(&base_url, series, |runs| runs >= 1.0).await;
    let storage = directory.path().join("data");
    // At once, so that nothing is begun anew in between.
    std::fs::rename(&storage, directory.path().join("elsewhere")).unwrap();
    let line = daemon.line("the file of the history is gone", PATIENCE);
    assert!(
        line.contains("level=warn") && line.contains("history.db"),
        "{line}"
    );
    let (status, log) = daemon.terminate(PATIENCE);
    assert!(status.success());
    assert!(!stored(&storage).await.is_empty(), "{}", log.join("\n"));
    let told = log
        .iter()
        .filter(|line| line.contains("history is gone"))
        .count();
    assert_eq!(told, 1, "{}", log.join("\n"));
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_waits_for_the_history_ends_when_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let config = configuration(directory.path(), 1, "http://127.0.0.1:9", NEVER);
    let storage = directory.path().join("data");
    std::fs::create_dir(&storage).unwrap();
    let options = SqliteConnectOptions::new().filename(storage.join("history.db"));
    let mut other = options.create_if_missing(true).connect().await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    let (daemon, _) = Program::serve(&config);
    // Less than it would wait for the other process.
    let (status, log) = daemon.terminate(Duration::from_secs(5));
    assert!(status.success(), "{log:?}");
    assert!(
        log.iter()
            .any(|line| line.contains("stopped before it was ready")),
        "{log:?}"
    );
    other.close().await.unwrap();
}
