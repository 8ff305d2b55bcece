//! Whom to probe, told by lists: files and servers that change, break and mend while the daemon runs, and what
//! Prometheus makes of our own list.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use vllm_prober::client::{Tokens, fetch_list};
use vllm_prober::discovery::source::HttpSource;
use vllm_prober::endpoint::{Auth, Route};
use vllm_prober::simulator::{Profile, Settings, Simulator};

#[path = "common/http.rs"]
mod http;
#[path = "common/program.rs"]
mod program;
#[path = "common/prometheus.rs"]
mod prometheus;
#[path = "common/scripted.rs"]
mod scripted;

use program::Program;
use prometheus::{Prometheus, promtool_finds_nothing};
use scripted::{Asked, Habits, Scripted, Wire};

const PATIENCE: Duration = Duration::from_secs(60);

/// Files are looked at ten times a second.
const SWIFT: [&str; 2] = ["--config.watch-interval", "100ms"];

const WORKLOADS: &str = "workloads:\n  burst: { requests: 16, max_tokens: 64, prompt: Count to ten., \
     validity: { min_concurrency_utilization: 0, max_client_delay: 10s, max_client_load_ratio: 1 } }\n";

/// Probes every second.
const BUSY: &str = "    probes: [{ workload: burst, every: 1s }]\n";

/// Probes in the first minute of the year.
const IDLE: &str = "    probes: [{ workload: burst, cron: \"0 0 1 1 *\" }]\n";

async fn simulator() -> Simulator {
    Simulator::start(Settings {
        speedup: 20.0,
        ..Settings::new(Profile::named("fp8").unwrap())
    })
    .await
    .unwrap()
}

/// A configuration with `lists`, each the YAML of one entry.
fn configuration(directory: &Path, before: &str, lists: &[String]) -> PathBuf {
    let path = directory.join("prober.yaml");
    let text = format!("{before}{WORKLOADS}deployments_from:\n{}", lists.concat());
    std::fs::write(&path, text).unwrap();
    path
}

fn group(name: &str, address: &str) -> Value {
    json!({"targets": [address], "labels": {"name": name, "family": "qwen"}})
}

fn groups(names: &[&str], address: &str) -> String {
    let groups: Value = names.iter().map(|name| group(name, address)).collect();
    groups.to_string()
}

fn address(simulator: &Simulator) -> String {
    simulator.address().to_string()
}

async fn until(base_url: &str, holds: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = http::get(&format!("{base_url}/metrics")).await.unwrap().1;
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

fn of_source(text: &str, name: &str) -> Option<f64> {
    value(text, &format!("vllm_probe_discovery_{name}{{"))
}

fn runs(text: &str, name: &str) -> Option<f64> {
    let series = format!("vllm_probe_runs_total{{deployment=\"{name}\"");
    value(text, &series)
}

/// The names that the daemon says it probes.
async fn offered(base_url: &str) -> Vec<String> {
    let (status, body) = http::get(&format!("{base_url}/discovery")).await.unwrap();
    assert_eq!(status, 200);
    let groups: Vec<Value> = serde_json::from_str(&body).unwrap();
    let name = |group: &Value| group["targets"][0].as_str().unwrap().to_owned();
    groups.iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_a_file_is_followed_and_what_is_the_same_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = simulator().await;
    let at = address(&simulator);
    let list = directory.path().join("targets.json");
    let write = |text: &str| std::fs::write(&list, text).unwrap();
    write(&groups(&["kept", "gone"], &at));
    let entry = format!("  - file_sd: {{ files: [targets.json] }}\n{BUSY}");
    let config = configuration(directory.path(), "", &[entry]);
    let (mut daemon, base_url) = Program::serve_with(&config, &SWIFT);
    let before = until(&base_url, |text| {
        runs(text, "kept") >= Some(2.0) && runs(text, "gone") >= Some(1.0)
    })
    .await;
    assert_eq!(of_source(&before, "failing"), Some(0.0));
    assert_eq!(of_source(&before, "targets"), Some(2.0));
    assert!(before.contains("discovery_targets{source=\"targets.json\"}"));

    // One is added and one taken away; the order of a list means nothing.
    write(&groups(&["new", "kept"], &at));
    let after = until(&base_url, |text| runs(text, "new").is_some()).await;
    assert!(runs(&after, "gone").is_none());
    assert!(runs(&after, "kept") >= runs(&before, "kept"));
    until(&base_url, |text| {
        runs(text, "new") >= Some(1.0) && runs(text, "kept") > runs(&after, "kept")
    })
    .await;

    // Broken: all goes on, it is told with its place and once, and a metric says so.
    write("[{\"targets\": [\"a\"],\n}]");
    let line = daemon.line("a source of deployments cannot be read", PATIENCE);
    assert!(line.contains("targets.json:2:"), "{line}");
    let broken = until(&base_url, |text| of_source(text, "failing") == Some(1.0)).await;
    assert_eq!(of_source(&broken, "targets"), Some(2.0));
    until(&base_url, |text| {
        runs(text, "kept") > runs(&broken, "kept") && runs(text, "new") > runs(&broken, "new")
    })
    .await;
    std::fs::remove_file(&list).unwrap();
    daemon.line("cannot read", PATIENCE);
    assert_eq!(offered(&base_url).await, ["kept", "new"]);

    // Mended, with one that cannot be probed.
    let mended = json!([
        group("kept", &at),
        group("bad", "a/b"),
        group("kept", "gpu-9:1")
    ]);
    write(&mended.to_string());
    daemon.line("can be read again", PATIENCE);
    let refused = daemon.line("a target cannot be probed", PATIENCE);
    assert!(
        refused.contains("mend=") && refused.contains("family="),
        "{refused}"
    );
    let text = until(&base_url, |text| runs(text, "new").is_none()).await;
    assert_eq!(of_source(&text, "failing"), Some(0.0));
    assert_eq!(of_source(&text, "targets"), Some(3.0));
    assert_eq!(of_source(&text, "refused_targets"), Some(2.0));
    assert!(runs(&text, "kept") > runs(&broken, "kept"));

    let (status, log) = daemon.terminate(PATIENCE);
    assert!(status.success());
    let told = |words: &str| log.iter().filter(|line| line.contains(words)).count();
    assert_eq!(
        told("cannot be read, and what it said"),
        2,
        "{}",
        log.join("\n")
    );
    assert_eq!(told("a target cannot be probed"), 2, "{}", log.join("\n"));
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_in_json_tells_the_labels_of_a_target_that_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let hostile = "a\n\"b\" \u{1b}[31m";
    let list = json!([{"targets": ["a/b"], "labels": {"x": hostile}}]);
    std::fs::write(directory.path().join("targets.json"), list.to_string()).unwrap();
    let entry = format!("  - file_sd: {{ files: [targets.json] }}\n{IDLE}");
    let config = configuration(directory.path(), "", &[entry]);
    let (mut daemon, base_url) = Program::serve_by(
        &mut std::process::Command::new("env"),
        &config,
        &[&SWIFT[..], &["--log.format", "json"]].concat(),
    );
    until(&base_url, |text| {
        of_source(text, "refused_targets") == Some(1.0)
    })
    .await;
    let line = daemon.line("a target cannot be probed", PATIENCE);
    let told: Value = serde_json::from_str(&line).unwrap();
    assert!(told["labels"].as_str().unwrap().contains("a/b"), "{line}");
    // Of two fields of one name most readers keep one.
    assert_eq!(line.matches("\"target\":").count(), 1, "{line}");
    assert!(daemon.terminate(PATIENCE).0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_what_a_list_said_and_takes_in_another_template() {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("targets.yml");
    std::fs::write(&list, groups(&["a"], "gpu-0:8000")).unwrap();
    let entry = |more: &str| format!("  - file_sd: {{ files: ['*.yml'] }}\n{more}{IDLE}");
    let config = configuration(directory.path(), "", &[entry("")]);
    let arguments = [&SWIFT[..], &["--web.enable-lifecycle"]].concat();
    let (daemon, base_url) = Program::serve_with(&config, &arguments);
    until(&base_url, |text| of_source(text, "targets") == Some(1.0)).await;
    std::fs::write(&list, "- tragets: []\n").unwrap();
    until(&base_url, |text| of_source(text, "failing") == Some(1.0)).await;
    // The list is broken, and the configuration is not.
    configuration(directory.path(), "", &[entry("    precision: fp8\n")]);
    let reload = http::post(&format!("{base_url}/-/reload")).await.unwrap();
    assert_eq!(reload.0, 200, "{}", reload.1);
    let text = http::get(&format!("{base_url}/metrics")).await.unwrap().1;
    let info = text.lines().find(|line| line.contains("deployment_info{"));
    assert!(info.unwrap().contains("precision=\"fp8\""), "{info:?}");
    assert_eq!(of_source(&text, "failing"), Some(1.0));
    // Without lists there is nothing of them.
    let none = format!("{WORKLOADS}deployments:\n  - name: b\n    base_url: http://gpu-1\n{IDLE}");
    std::fs::write(&config, none).unwrap();
    let reload = http::post(&format!("{base_url}/-/reload")).await.unwrap();
    assert_eq!(reload.0, 200, "{}", reload.1);
    let text = http::get(&format!("{base_url}/metrics")).await.unwrap().1;
    assert!(!text.contains("vllm_probe_discovery_"), "{text}");
    assert_eq!(offered(&base_url).await, ["b"]);
    assert!(daemon.terminate(PATIENCE).0.success());
}

/// An inventory whose answer can be changed.
type Answer = Arc<Mutex<(&'static str, &'static str, String)>>;

fn inventory(answer: &Answer) -> Scripted {
    let answer = Arc::clone(answer);
    let habits = Habits {
        gets: Arc::new(move |_: &Asked, wire: &mut Wire| {
            let (status, kind, body) = answer.lock().unwrap().clone();
            wire.document(status, kind, &body)
        }),
        ..Habits::default()
    };
    Scripted::with(habits, Arc::new(|_, wire| wire.hang_up()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_a_server_is_followed_and_its_failures_change_nothing() {
    const SECRET: &str = "planted-inventory-3c0d";
    let directory = tempfile::tempdir().unwrap();
    let simulator = simulator().await;
    let at = address(&simulator);
    let list = |names: &[&str]| ("200 OK", "application/json", groups(names, &at));
    let answer: Answer = Arc::new(Mutex::new(list(&["a", "b"])));
    let server = inventory(&answer);
    let say = |next| *answer.lock().unwrap() = next;
    std::fs::write(directory.path().join("token"), SECRET).unwrap();
    let entry = format!(
        "  - http_sd: {{ url: \"{}/sd?site=x\", refresh_interval: 1s, auth: inventory }}\n{BUSY}",
        server.base_url()
    );
    let auths = "auths: { inventory: { bearer_token_file: token } }\n";
    let config = configuration(directory.path(), auths, &[entry]);
    let (mut daemon, base_url) = Program::serve(&config);
    let before = until(&base_url, |text| runs(text, "a") >= Some(1.0)).await;
    let asked = &server.asked()[0];
    assert!(asked.head.starts_with("GET /sd?site=x "), "{}", asked.head);
    for (header, value) in [
        ("x-prometheus-refresh-interval-seconds", "1"),
        ("accept", "application/json"),
        ("authorization", &format!("Bearer {SECRET}")),
    ] {
        assert_eq!(asked.header(header), Some(value), "{}", asked.head);
    }

    for (failure, words) in [
        (
            ("500 Oops", "text/plain", format!("you sent {SECRET}")),
            "HTTP 500",
        ),
        (("200 OK", "text/html", groups(&["x"], &at)), "text/html"),
        (
            ("204 No Content", "application/json", String::new()),
            "HTTP 204",
        ),
        (
            ("200 OK", "application/json; charset=utf-8", "{}".to_owned()),
            "cannot be read",
        ),
    ] {
        say(failure);
        let line = daemon.line("a source of deployments cannot be read", PATIENCE);
        assert!(line.contains(words) && !line.contains(SECRET), "{line}");
        let text = until(&base_url, |text| of_source(text, "failing") == Some(1.0)).await;
        assert_eq!(of_source(&text, "targets"), Some(2.0));
        assert_eq!(offered(&base_url).await, ["a", "b"]);
        say(list(&["a", "b"]));
        daemon.line("can be read again", PATIENCE);
    }
    // A server that gives back what it was sent, where it would become a label.
    let told = json!([{"targets": [at], "labels": {"name": "a", "team": format!("of {SECRET}")}}]);
    say(("200 OK", "application/json", told.to_string()));
    let text = until(&base_url, |text| text.contains("team=")).await;
    assert!(text.contains("team=\"of <secret>\""), "{text}");
    for path in [
        "/metrics",
        "/config",
        "/discovery",
        "/",
        "/api/v1/deployments",
    ] {
        let (status, shown) = http::get(&format!("{base_url}{path}")).await.unwrap();
        assert!(status == 200 && !shown.contains(SECRET), "{path}: {shown}");
    }
    say(list(&["c", "a"]));
    let after = until(&base_url, |text| runs(text, "c") >= Some(1.0)).await;
    assert!(runs(&after, "a") > runs(&before, "a") && runs(&after, "b").is_none());
    // An empty list is a list.
    say(list(&[]));
    until(&base_url, |text| of_source(text, "targets") == Some(0.0)).await;
    assert!(offered(&base_url).await.is_empty());
    let (status, log) = daemon.terminate(PATIENCE);
    assert!(status.success());
    assert!(!log.join("\n").contains(SECRET));
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_asks_otherwise_for_a_list_keeps_what_it_said() {
    let directory = tempfile::tempdir().unwrap();
    let good = groups(&["of-server"], "gpu-0:8000");
    let answer: Answer = Arc::new(Mutex::new(("200 OK", "application/json", good)));
    let server = inventory(&answer);
    let list = directory.path().join("one.yml");
    std::fs::write(&list, groups(&["of-file"], "gpu-1:8000")).unwrap();
    let entries = |files: &str, interval: &str, auth: &str| {
        [
            format!("  - file_sd: {{ files: [{files}] }}\n{IDLE}"),
            format!(
                "  - http_sd: {{ url: \"{}/sd\", refresh_interval: {interval}{auth} }}\n{IDLE}",
                server.base_url()
            ),
        ]
    };
    let auths = "auths: { other: { bearer_token_file: token } }\n";
    std::fs::write(directory.path().join("token"), "planted-other-91ab").unwrap();
    let config = configuration(directory.path(), auths, &entries("one.yml", "1s", ""));
    let arguments = [&SWIFT[..], &["--web.enable-lifecycle"]].concat();
    let (daemon, base_url) = Program::serve_with(&config, &arguments);
    assert_eq!(offered(&base_url).await, ["of-file", "of-server"]);
    // Both sources fail, and then it is changed where else, how often and as whom they are asked.
    std::fs::write(&list, "- tragets: []\n").unwrap();
    answer.lock().unwrap().0 = "500 Oops";
    until(&base_url, |text| {
        let lines = text
            .lines()
            .filter(|line| line.starts_with("vllm_probe_discovery_failing{"));
        lines.filter(|line| line.ends_with(" 1")).count() == 2
    })
    .await;
    for (files, interval, auth) in [
        ("one.yml", "2s", ""),
        ("one.yml, two.yml", "2s", ", auth: other"),
    ] {
        configuration(directory.path(), auths, &entries(files, interval, auth));
        let reload = http::post(&format!("{base_url}/-/reload")).await.unwrap();
        assert_eq!(reload.0, 200, "{}", reload.1);
        assert_eq!(offered(&base_url).await, ["of-file", "of-server"]);
    }
    assert!(daemon.terminate(PATIENCE).0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_before_the_daemon_is_ready_is_a_reload_and_not_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let (first, asked) = std::sync::mpsc::channel();
    let (go_on, told) = std::sync::mpsc::channel::<()>();
    let (first, told) = (Mutex::new(first), Mutex::new(told));
    let habits = Habits {
        gets: Arc::new(move |asked: &Asked, wire: &mut Wire| {
            if asked.number == 0 {
                let _ = first.lock().unwrap().send(());
                let _ = told.lock().unwrap().recv_timeout(PATIENCE);
            }
            wire.document("200 OK", "application/json", "[]")
        }),
        ..Habits::default()
    };
    let server = Scripted::with(habits, Arc::new(|_, wire| wire.hang_up()));
    let entry = format!(
        "  - http_sd: {{ url: \"{}/sd\" }}\n{IDLE}",
        server.base_url()
    );
    let config = configuration(directory.path(), "", &[entry]);
    let (mut daemon, _) = Program::serve_with(&config, &["--config.watch-interval", "0s"]);
    asked.recv_timeout(PATIENCE).unwrap();
    let hangup = std::process::Command::new("kill")
        .args(["-HUP", &daemon.id().to_string()])
        .status();
    assert!(hangup.unwrap().success());
    go_on.send(()).unwrap();
    let line = daemon.line("configuration read anew", PATIENCE);
    assert!(line.contains("by=SIGHUP"), "{line}");
    assert!(daemon.terminate(PATIENCE).0.success());
}

/// The most memory that a process has had, in kB.
fn most_memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    most.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_flood_or_say_nothing_harm_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = simulator().await;
    let endless = Habits {
        gets: Arc::new(|_, wire| {
            wire.say("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[")?;
            let blanks = vec![b' '; 1 << 20];
            loop {
                wire.say(&blanks)?;
            }
        }),
        ..Habits::default()
    };
    let slow = Habits {
        gets: Arc::new(|_, wire| {
            wire.say("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[")?;
            wire.trickle(Duration::from_millis(50), " ")
        }),
        ..Habits::default()
    };
    let [endless, slow] =
        [endless, slow].map(|habits| Scripted::with(habits, Arc::new(|_, wire| wire.hang_up())));
    std::fs::write(
        directory.path().join("good.json"),
        groups(&["good"], &address(&simulator)),
    )
    .unwrap();
    let http =
        |url: String| format!("  - http_sd: {{ url: \"{url}\", refresh_interval: 1s }}\n{BUSY}");
    let lists = [
        http(endless.base_url()),
        http(slow.base_url()),
        // Nobody listens.
        http("http://127.0.0.1:9".to_owned()),
        format!("  - file_sd: {{ files: [good.json] }}\n{BUSY}"),
    ];
    let config = configuration(directory.path(), "", &lists);
    let (mut daemon, base_url) = Program::serve(&config);
    daemon.line("the body is larger than 16777216 bytes", PATIENCE);
    daemon.line("message=probing", PATIENCE);
    let failing = |server: &Scripted| {
        format!(
            "vllm_probe_discovery_failing{{source=\"{}/\"}}",
            server.base_url()
        )
    };
    let text = until(&base_url, |text| runs(text, "good") >= Some(3.0)).await;
    assert_eq!(value(&text, &failing(&endless)), Some(1.0), "{text}");
    let nobody = "vllm_probe_discovery_failing{source=\"http://127.0.0.1:9/\"}";
    assert_eq!(value(&text, nobody), Some(1.0));
    // Never read: when it last was is not known, and no time at all.
    let success = "vllm_probe_discovery_last_success_timestamp_seconds";
    assert_eq!(text.matches(&format!("{success}{{")).count(), 1);
    assert!(
        most_memory(daemon.id()) < 300_000,
        "{} kB",
        most_memory(daemon.id())
    );
    assert!(daemon.terminate(PATIENCE).0.success());
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_given_up_in_time_and_asked_of_nobody_else() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let elsewhere = Scripted::start(|_, wire| wire.hang_up());
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
        elsewhere.base_url()
    );
    let server = |gets: scripted::Script| {
        let habits = Habits {
            gets,
            ..Habits::default()
        };
        Scripted::with(habits, Arc::new(|_, wire| wire.hang_up()))
    };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
    for (server, words) in [
        (
            server(Arc::new(|_, wire| wire.silence())),
            "no list within 0.3 s",
        ),
        (
            server(Arc::new(move |_, wire| {
                wire.say(head)?;
                wire.trickle(Duration::from_millis(20), " ")
            })),
            "no list within 0.3 s",
        ),
        (
            server(Arc::new(move |_, wire| wire.say(&redirect))),
            "not followed",
        ),
        (
            server(Arc::new(move |_, wire| {
                wire.say([head.as_bytes(), b"[\xe9]"].concat())?;
                wire.hang_up()
            })),
            "not UTF-8",
        ),
    ] {
        let source = HttpSource {
            url: server.base_url().parse().unwrap(),
            refresh_interval: Duration::from_secs(1),
            auth: Auth::default(),
            route: Route::default(),
        };
        let (started, patience) = (Instant::now(), Duration::from_millis(300));
        let told = match fetch_list(&source, &Tokens::default(), patience).await {
            Ok(list) => list,
            Err(error) => error.to_string(),
        };
        assert!(told.contains(words), "{told}");
        assert!(started.elapsed() < PATIENCE);
        assert!(server.all_closed_within(PATIENCE));
    }
    assert_eq!(elsewhere.accepted(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_share_a_list_by_hashmod_and_each_target_has_one() {
    let all: BTreeSet<String> = (0..40).map(|n| format!("gpu-{n}:8000")).collect();
    let mut seen = Vec::new();
    for shard in 0..2 {
        let directory = tempfile::tempdir().unwrap();
        let list = json!([{"targets": all, "labels": {"job": "vllm"}}]);
        std::fs::write(directory.path().join("targets.yml"), list.to_string()).unwrap();
        let entry = format!(
            "  - file_sd: {{ files: ['*.yml'] }}
    relabel_configs:
      - {{ source_labels: [__address__], modulus: 2, target_label: __tmp_shard, action: hashmod }}
      - {{ source_labels: [__tmp_shard], regex: {shard}, action: keep }}\n{IDLE}"
        );
        let config = configuration(directory.path(), "", &[entry]);
        let (daemon, base_url) = Program::serve(&config);
        let names = offered(&base_url).await;
        assert!(names.len() > 10, "{names:?}");
        seen.extend(names);
        assert!(daemon.terminate(PATIENCE).0.success());
    }
    assert_eq!(seen.len(), all.len());
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), all);
}

#[test]
fn check_tells_what_is_wrong_in_a_list_and_with_a_target() {
    let directory = tempfile::tempdir().unwrap();
    let files = format!("  - file_sd: {{ files: [targets.yml] }}\n{IDLE}");
    // Nobody is asked.
    let server = format!("  - http_sd: {{ url: \"http://127.0.0.1:9\" }}\n{IDLE}");
    let config = configuration(directory.path(), "", &[files, server]);
    let check = |list: &str| {
        std::fs::write(directory.path().join("targets.yml"), list).unwrap();
        program::run(&["check", "--config.file", config.to_str().unwrap()])
    };
    let (status, said, _) = check("- targets: [gpu-0:8000, gpu-1:8000]\n");
    assert_eq!(status, 0);
    assert!(said.contains("2 lists, 2 listed targets"), "{said}");
    let (status, _, said) = check("- targets: [gpu-0:8000]\n  lables: {}\n");
    assert_eq!(status, 1);
    assert!(
        said.contains("targets.yml:2:3") && said.contains("`labels`"),
        "{said}"
    );
    let (status, _, said) = check("- targets: [gpu-0:8000, a/b]\n  labels: { family: qwen }\n");
    assert_eq!(status, 1);
    assert!(said.contains("is none of a server"), "{said}");
    assert!(
        said.contains(r#"{__address__="a/b", family="qwen"}"#),
        "{said}"
    );
    std::fs::remove_file(directory.path().join("targets.yml")).unwrap();
    let (status, _, said) = program::run(&["check", "--config.file", config.to_str().unwrap()]);
    assert_eq!(status, 1);
    assert!(said.contains("cannot read"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus and promtool"]
async fn prometheus_reads_our_list_as_it_is_documented() {
    let directory = tempfile::tempdir().unwrap();
    let list = json!([
        group("qwen nvfp4", "gpu-0:8000"),
        group("qwen fp8", "gpu-1:8000")
    ]);
    std::fs::write(directory.path().join("targets.json"), list.to_string()).unwrap();
    let entry = format!("  - file_sd: {{ files: [targets.json] }}\n    precision: fp8\n{IDLE}");
    let config = configuration(directory.path(), "", &[entry]);
    let (daemon, base_url) = Program::serve(&config);
    promtool_finds_nothing(&http::get(&format!("{base_url}/metrics")).await.unwrap().1);

    // What the documentation says, with the address of this daemon and a shorter interval.
    let text = include_str!("../docs/configuration.md");
    let job = text.split("metrics_path: /probe").nth(1).unwrap();
    let job = job.split("```").next().unwrap();
    let unindented: String = job
        .lines()
        .map(|line| line.trim_start_matches("    ").to_owned() + "\n")
        .collect();
    let here = base_url.trim_start_matches("http://");
    let job = format!("metrics_path: /probe\n{}", unindented.trim())
        .replace("prober:10016", here)
        .replace("/discovery", "/discovery\n    refresh_interval: 1s");
    let prometheus = Prometheus::start_with(directory.path(), &job);
    let deadline = Instant::now() + PATIENCE;
    let targets = loop {
        let answer = http::get(&format!("{}/api/v1/targets", prometheus.base_url())).await;
        let body = answer.map(|(_, body)| body).unwrap_or_default();
        let all: Value = serde_json::from_str(&body).unwrap_or_default();
        let active = all["data"]["activeTargets"].as_array().cloned();
        let active = active.unwrap_or_default();
        if active.len() == 2 {
            break active;
        }
        assert!(Instant::now() < deadline, "{body}");
        sleep(Duration::from_millis(200)).await;
    };
    let mut names = BTreeSet::new();
    for target in &targets {
        let url: reqwest::Url = target["scrapeUrl"].as_str().unwrap().parse().unwrap();
        assert_eq!(url.path(), "/probe");
        assert_eq!(url.authority(), here);
        let (key, asked) = url.query_pairs().next().unwrap();
        assert_eq!(
            (key.as_ref(), asked.as_ref()),
            ("target", target["labels"]["instance"].as_str().unwrap())
        );
        let discovered = &target["discoveredLabels"];
        assert_eq!(discovered["__meta_vllm_prober_precision"], "fp8");
        assert_eq!(discovered["__meta_vllm_prober_workloads"], ",burst,");
        names.insert(asked.into_owned());
    }
    assert_eq!(
        names,
        ["qwen fp8".to_owned(), "qwen nvfp4".to_owned()].into()
    );
    assert!(daemon.terminate(PATIENCE).0.success());
}
