//! A reload as its users meet it: what is different changes, all else goes on, and mistakes change nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use vllm_prober::simulator::{Profile, Settings, Simulator};

#[path = "common/http.rs"]
mod http;
#[path = "common/program.rs"]
mod program;

use program::Program;

const PATIENCE: Duration = Duration::from_secs(30);

/// Files that a daemon has open at most while no run is in flight: its database, its listener, its runtime's.
const QUIET: usize = 24;

async fn simulator() -> Simulator {
    Simulator::start(Settings {
        speedup: 20.0,
        ..Settings::new(Profile::named("fp8").unwrap())
    })
    .await
    .unwrap()
}

const WORKLOADS: &str = "workloads:\n  burst: { requests: 16, max_tokens: 64, prompt_file: prompt.txt, \
     validity: { min_concurrency_utilization: 0, max_client_delay: 10s, max_client_load_ratio: 1 } }\n";

fn deployment(name: &str, base_url: &str, every: &str) -> String {
    format!(
        "  - name: {name}\n    base_url: {base_url}\n    probes: [{{ workload: burst, every: {every} }}]\n"
    )
}

fn write(directory: &Path, deployments: &[String]) -> PathBuf {
    let path = directory.join("prober.yaml");
    let text = format!("{WORKLOADS}deployments:\n{}", deployments.concat());
    std::fs::write(directory.join("prompt.txt"), "Count to ten.\n").unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

async fn metrics(base_url: &str) -> String {
    http::get(&format!("{base_url}/metrics")).await.unwrap().1
}

async fn until(base_url: &str, holds: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = metrics(base_url).await;
        if holds(&text) {
            return text;
        }
        assert!(Instant::now() < deadline, "{text}");
        sleep(Duration::from_millis(50)).await;
    }
}

fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

fn runs(text: &str, name: &str) -> f64 {
    value(
        text,
        &format!("vllm_probe_runs_total{{deployment=\"{name}\""),
    )
    .unwrap_or(-1.0)
}

fn signal(program: &Program, signal: &str) {
    let status = Command::new("kill")
        .args([signal, &program.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

const SUCCESSFUL: &str = "vllm_probe_config_last_reload_successful";
const RELOADED: &str = "vllm_probe_config_last_reload_success_timestamp_seconds";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_different_changes_and_all_else_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = simulator().await;
    let url = simulator.base_url();
    let (kept, gone) = (
        deployment("kept", &url, "1s"),
        deployment("gone", &url, "1s"),
    );
    let config = write(directory.path(), &[kept.clone(), gone]);
    let (mut daemon, address) = Program::serve_with(&config, &["--web.enable-lifecycle"]);
    let before = until(&address, |text| {
        runs(text, "kept") >= 2.0 && runs(text, "gone") >= 1.0
    })
    .await;

    write(
        directory.path(),
        &[deployment("new", &url, "1s"), kept.clone()],
    );
    signal(&daemon, "-HUP");
    daemon.line("configuration read anew", PATIENCE);
    let after = metrics(&address).await;
    assert!(!after.contains("deployment=\"gone\""), "{after}");
    assert!(runs(&after, "kept") >= runs(&before, "kept"));
    assert!(value(&after, RELOADED) > value(&before, RELOADED));
    until(&address, |text| {
        runs(text, "new") >= 1.0 && runs(text, "kept") > runs(&after, "kept")
    })
    .await;
    let (_, shown) = http::get(&format!("{address}/config")).await.unwrap();
    assert!(shown.contains("name: new") && !shown.contains("gone"));

    // Mistakes are told, and change nothing.
    std::fs::write(&config, format!("{WORKLOADS}deployments:\n  - nme: x\n")).unwrap();
    let (status, told) = http::post(&format!("{address}/-/reload")).await.unwrap();
    assert_eq!(status, 500);
    assert!(
        told.contains("did you mean `name`?") && told.contains("prober.yaml:"),
        "{told}"
    );
    let text = until(&address, |text| value(text, SUCCESSFUL) == Some(0.0)).await;
    until(&address, |now| runs(now, "kept") > runs(&text, "kept")).await;
    write(directory.path(), &[kept]);
    let (status, _) = http::post(&format!("{address}/-/reload")).await.unwrap();
    assert_eq!(status, 200);
    let text = metrics(&address).await;
    assert_eq!(value(&text, SUCCESSFUL), Some(1.0));
    assert!(!text.contains("deployment=\"new\""));
    assert!(daemon.terminate(PATIENCE).0.success());
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_comes_back_shows_its_last_run_at_once() {
    const NEVER: &str = "cron: '0 0 1 1 *'";
    let directory = tempfile::tempdir().unwrap();
    let simulator = simulator().await;
    let url = simulator.base_url();
    let other = deployment("other", &url, "12h");
    // A sign of life has no judges, whose reading of the history shows other runs.
    let back = |when: &str| {
        let workloads = ["burst", "light"];
        let probes = workloads.map(|workload| format!("{{ workload: {workload}, {when} }}"));
        let probes = probes.join(", ");
        format!("  - name: back\n    base_url: {url}\n    probes: [{probes}]\n")
    };
    let light = "  light: { requests: 1, concurrency: 1, max_tokens: 8, prompt: hello }\n";
    let write = |deployments: &[String]| {
        let path = write(directory.path(), deployments);
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replacen("deployments:", &format!("{light}deployments:"), 1);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ended = |text: &str, workload: &str| {
        let series = "vllm_probe_last_valid_run_timestamp_seconds";
        let labels = format!("{{deployment=\"back\",workload=\"{workload}\"}}");
        value(text, &format!("{series}{labels}"))
    };
    let config = write(&[other.clone(), back("every: 1s")]);
    let (daemon, address) = Program::serve_with(&config, &["--web.enable-lifecycle"]);
    let reload = async || {
        let (status, told) = http::post(&format!("{address}/-/reload")).await.unwrap();
        assert_eq!(status, 200, "{told}");
    };
    until(&address, |text| {
        ended(text, "burst").is_some() && ended(text, "light").is_some()
    })
    .await;

    write(&[other.clone(), back(NEVER)]);
    reload().await;
    let before = until(&address, |text| {
        let running = "vllm_probe_run_in_progress{deployment=\"back\"";
        let mut running = text.lines().filter(|line| line.starts_with(running));
        running.all(|line| line.ends_with(" 0"))
    })
    .await;
    write(std::slice::from_ref(&other));
    reload().await;
    assert!(!metrics(&address).await.contains("deployment=\"back\""));

    write(&[other, back(NEVER)]);
    reload().await;
    let after = metrics(&address).await;
    for workload in ["burst", "light"] {
        let ended = |text: &str| ended(text, workload);
        assert!(ended(&before).is_some(), "{before}");
        assert_eq!(ended(&after), ended(&before), "{workload}");
    }
    let decode = "vllm_probe_run_decode_tokens_per_second{deployment=\"back\",workload=\"burst\"}";
    assert!(value(&before, decode).is_some(), "{before}");
    assert_eq!(value(&after, decode), value(&before, decode));
    assert_eq!(runs(&after, "back"), 0.0, "counters count from then on");
    let environment = "vllm_probe_environment_info{deployment=\"back\"";
    assert!(after.contains(environment), "{after}");
    assert!(daemon.terminate(PATIENCE).0.success());
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_change_are_noticed_also_when_links_are_swapped() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = simulator().await;
    let url = simulator.base_url();
    // As Kubernetes mounts a ConfigMap: the file is a link into a folder that is a link.
    let version = |name: &str, deployments: &[String]| {
        let folder = directory.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        write(&folder, deployments);
    };
    let link = |target: &str, name: &str| {
        let (new, at) = (
            directory.path().join("new-link"),
            directory.path().join(name),
        );
        std::os::unix::fs::symlink(target, &new).unwrap();
        std::fs::rename(new, at).unwrap();
    };
    version("v1", &[deployment("a", &url, "1h")]);
    version("v2", &[deployment("b", &url, "1h")]);
    link("v1", "..data");
    link("..data/prober.yaml", "prober.yaml");
    link("..data/prompt.txt", "prompt.txt");
    let config = directory.path().join("prober.yaml");
    let (mut daemon, address) = Program::serve_with(&config, &["--config.watch-interval", "100ms"]);
    until(&address, |text| text.contains("deployment=\"a\"")).await;
    link("v2", "..data");
    daemon.line("configuration read anew", PATIENCE);
    let text = metrics(&address).await;
    assert!(text.contains("deployment=\"b\"") && !text.contains("deployment=\"a\""));
    // Another prompt is another workload.
    std::fs::write(directory.path().join("v2/prompt.txt"), "Count to eleven.\n").unwrap();
    daemon.line("configuration read anew", PATIENCE);
    let (status, _) = http::post(&format!("{address}/-/reload")).await.unwrap();
    assert_eq!(status, 403, "not without --web.enable-lifecycle");
    assert!(daemon.terminate(PATIENCE).0.success());
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_configuration_lacked_is_taken_in_as_soon_as_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let list = [deployment("a", "http://gpu-0:8000", "12h")];
    let config = write(directory.path(), &list);
    let text = std::fs::read_to_string(&config).unwrap();
    let (mut daemon, address) = Program::serve_with(&config, &["--config.watch-interval", "50ms"]);
    // The files are copied one after the other: first the one that names the others.
    let next = text.replace("prompt.txt", "next.txt").replace(
        "deployments:\n  - name: a\n",
        "auths: { key: { bearer_token_file: key } }\ndeployments:\n  - name: b\n    auth: key\n",
    );
    std::fs::write(&config, next).unwrap();
    let refused = "the configuration cannot be used";
    daemon.line(refused, PATIENCE);
    until(&address, |text| value(text, SUCCESSFUL) == Some(0.0)).await;
    std::fs::write(directory.path().join("next.txt"), "Count to nine.\n").unwrap();
    let line = daemon.line(refused, PATIENCE);
    assert!(!line.contains("next.txt") && line.contains("key"), "{line}");
    // It is told once, however often it is looked whether something has changed.
    sleep(Duration::from_millis(300)).await;
    std::fs::write(directory.path().join("key"), "planted-77aa").unwrap();
    daemon.line("configuration read anew", PATIENCE);
    let text = metrics(&address).await;
    assert!(text.contains("deployment=\"b\"") && value(&text, SUCCESSFUL) == Some(1.0));
    let (status, log) = daemon.terminate(PATIENCE);
    assert!(status.success());
    let told = log.iter().filter(|line| line.contains(refused)).count();
    assert_eq!(told, 2, "{log:#?}");
}

/// Open files and threads of a process, and its memory in kB.
fn held(id: u32) -> (usize, usize, u64) {
    let count = |what: &str| {
        std::fs::read_dir(format!("/proc/{id}/{what}"))
            .unwrap()
            .count()
    };
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let memory = memory.unwrap().trim().trim_end_matches(" kB");
    (count("fd"), count("task"), memory.parse().unwrap())
}

/// What it holds once the runs in flight have ended, each of which has its connections: the least of
/// each within two seconds of seeing at most `most` files.
async fn at_rest(id: u32, most: usize) -> (usize, usize, u64) {
    let deadline = Instant::now() + PATIENCE;
    while held(id).0 > most {
        assert!(
            Instant::now() < deadline,
            "{most} files became {}",
            held(id).0
        );
        sleep(Duration::from_millis(20)).await;
    }
    let mut least = held(id);
    for _ in 0..100 {
        sleep(Duration::from_millis(20)).await;
        let now = held(id);
        least = (least.0.min(now.0), least.1.min(now.1), least.2.min(now.2));
    }
    least
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_reloads_under_load_leave_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = simulator().await;
    let url = simulator.base_url();
    let rare = || deployment("rare", &url, "24h");
    let some = |from: usize| {
        let busy = (from..from + 10).map(|n| deployment(&format!("d{n}"), &url, "1s"));
        busy.chain([rare()]).collect::<Vec<_>>()
    };
    let config = write(directory.path(), &some(0));
    let (daemon, address) = Program::serve_with(&config, &["--web.enable-lifecycle"]);
    until(&address, |text| runs(text, "d9") >= 1.0).await;
    let load = async |deployments: &[String]| {
        write(directory.path(), deployments);
        let (status, told) = http::post(&format!("{address}/-/reload")).await.unwrap();
        assert_eq!(status, 200, "{told}");
    };
    let reload = async |n: usize| {
        // Half of the deployments stay each time, and the order changes.
        let mut deployments = some(5 * (n % 3));
        deployments.rotate_left(n % 11);
        load(&deployments).await;
    };
    for n in 0..50 {
        reload(n).await;
    }
    // What is held is compared while nothing runs: how soon a busy machine has such a moment is chance.
    load(&[rare()]).await;
    let (files, threads, memory) = at_rest(daemon.id(), QUIET).await;
    for n in 50..500 {
        reload(n).await;
    }
    load(&[rare()]).await;
    let after = at_rest(daemon.id(), files + 10).await;
    println!("{files} files, {threads} threads, {memory} kB; then {after:?}");
    assert!(
        after.1 <= threads + 6,
        "{threads} threads became {}",
        after.1
    );
    assert!(after.2 <= memory + 20_000, "{memory} kB became {}", after.2);
    reload(499).await;
    let text = metrics(&address).await;
    // 499 % 3 is 1.
    assert_eq!(text.matches("vllm_probe_runs_total{").count(), 11);
    until(&address, |now| runs(now, "d9") > runs(&text, "d9")).await;
    assert!(daemon.terminate(PATIENCE).0.success());
    simulator.stop().await.unwrap();
}
