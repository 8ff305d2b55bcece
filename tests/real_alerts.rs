//! Woken by it: simulated deployments, the daemon, a genuine Prometheus with the shipped rules, and a genuine
//! Alertmanager with the shipped routing, until the message arrives.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use vllm_prober::simulator::{Change, Fault, Profile, Settings, Simulator};

#[path = "common/alerting.rs"]
mod alerting;
#[path = "common/http.rs"]
mod http;
#[path = "common/program.rs"]
mod program;
#[path = "common/rules.rs"]
mod rules;

use alerting::{Alerting, Delivered};
use program::Program;

/// How much faster the time constants of rules and routing run: an hour takes a minute. Not more, since Prometheus looks for
/// its targets every five seconds, which no configuration changes: at the start that is to be less than VllmProbeAbsent waits.
const FASTER: f64 = 60.0;

/// What each step of the story may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Eight percent fewer tokens a second.
const SLOWDOWN: f64 = 1.0 / 0.92;

const OLD_DRIVER: &str = "580.95.05";
const NEW_DRIVER: &str = "590.01.01";

/// Everything that takes part.
struct Stage {
    directory: tempfile::TempDir,
    simulators: Vec<(String, Simulator)>,
    daemon: Program,
    base_url: String,
    alerting: Alerting,
    started: Instant,
}

impl Stage {
    /// Deployments of these names and precisions, each probed every three seconds, with a sign of life in between, by a
    /// daemon with these further arguments.
    async fn set(names: &[(&str, &str)], arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut simulators = Vec::new();
        for (seed, (name, precision)) in (1..).zip(names) {
            let settings = Settings {
                speedup: 10.0,
                seed,
                ..Settings::new(Profile::named(precision).unwrap())
            };
            let simulator = Simulator::start(settings).await.unwrap();
            simulators.push(((*name).to_owned(), simulator));
            drive(directory.path(), name, OLD_DRIVER);
        }
        let config = configuration(directory.path(), names, &simulators);
        let storage = directory.path().join("data");
        let serve = [
            "serve",
            "--config.file",
            config.to_str().unwrap(),
            "--web.listen-address",
            "127.0.0.1:0",
            "--storage.path",
            storage.to_str().unwrap(),
        ];
        let mut daemon = Program::prober(&[&serve, arguments].concat());
        let line = daemon.line("message=listening", Duration::from_secs(10));
        let address = line.split("address=").nth(1).unwrap();
        let base_url = format!("http://{}", address.split_whitespace().next().unwrap());
        let alerting = Alerting::start(directory.path(), &base_url, 1.0 / FASTER).await;
        Self {
            directory,
            simulators,
            daemon,
            base_url,
            alerting,
            started: Instant::now(),
        }
    }

    fn change(&self, name: &str, change: Change) {
        let (_, simulator) = self.simulators.iter().find(|(of, _)| of == name).unwrap();
        simulator.controls().apply(change).unwrap();
    }

    /// A new driver, and with it the deployment is slower.
    fn change_driver(&self, name: &str) {
        drive(self.directory.path(), name, NEW_DRIVER);
        let slower = Change {
            slowdown: Some(SLOWDOWN),
            ..Change::default()
        };
        self.change(name, slower);
    }

    /// Waits until a query at Prometheus has so many series.
    async fn until(&self, query: &str, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let series = self.alerting.query(query).await;
            if series.len() == count {
                return;
            }
            assert!(Instant::now() < deadline, "{query} stayed at {series:?}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn until_delivered(&self, alert: &str, deployment: &str, status: &str) -> Delivered {
        let is = |found: &Delivered| found.is(alert, deployment) && found.status == status;
        let what = format!("{alert} of {deployment} ({status})");
        let found = self.alerting.until_delivered(&what, PATIENCE, is).await;
        println!("{:>6.1?} {what}", self.started.elapsed());
        found
    }

    /// Enough quiet runs for a baseline, and an hour by the rules' time, without one alert.
    async fn quiet(&self) {
        let runs = self.simulators.len();
        self.until("vllm_probe_baseline_runs >= 12", runs).await;
        let hour = Duration::from_secs_f64(3600.0 / FASTER);
        sleep(hour.saturating_sub(self.started.elapsed())).await;
        let fired = self
            .alerting
            .query(r#"last_over_time(ALERTS{alertstate="firing"}[1h])"#)
            .await;
        assert!(fired.is_empty(), "{fired:#?}");
        let delivered = self.alerting.delivered();
        assert!(delivered.is_empty(), "{delivered:#?}");
        println!("{:>6.1?} all quiet", self.started.elapsed());
    }

    /// Ends the daemon in order; Prometheus and Alertmanager stay.
    async fn end(self) -> Alerting {
        let (status, log) = self.daemon.terminate(Duration::from_secs(40));
        assert!(status.success(), "{status}: {}", log.join("\n"));
        for (_, simulator) in self.simulators {
            simulator.stop().await.unwrap();
        }
        self.alerting
    }
}

/// What the machine of a deployment says of its driver.
fn drive(directory: &Path, name: &str, driver: &str) {
    let path = directory.join(format!("{name}.facts"));
    std::fs::write(path, format!("driver: {driver}\n")).unwrap();
}

fn configuration(
    directory: &Path,
    names: &[(&str, &str)],
    simulators: &[(String, Simulator)],
) -> PathBuf {
    let mut text =
        "global: { guards: { wedged_after: 1s } }\nworkloads:\n  burst: { requests: 16, max_tokens: 128, \
         prompt: Count to ten., timeouts: { first_token: 3s }, validity: { min_concurrency_utilization: 0, \
         max_client_delay: 10s, max_client_load_ratio: 1 } }\n  canary: { requests: 1, concurrency: 1, max_tokens: 16, \
         prompt: Count to ten., expect: any_length, timeouts: { first_token: 3s } }\ndeployments:\n"
            .to_owned();
    for ((name, precision), (_, simulator)) in names.iter().zip(simulators) {
        let facts = directory.join(format!("{name}.facts"));
        let _ = writeln!(
            text,
            "  - name: {name}\n    base_url: {}\n    family: qwen3-32b\n    precision: {precision}\n    \
             environment: {{ from_file: {} }}\n    probes: [{{ workload: burst, every: 3s }}, \
             {{ workload: canary, every: 2s }}]",
            simulator.base_url(),
            facts.display(),
        );
    }
    let path = directory.join("prober.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

fn is_regression(delivered: &Delivered) -> bool {
    let name = delivered.labels["alertname"].as_str().unwrap();
    name.contains("Regression")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Prometheus and Alertmanager"]
async fn whoever_is_on_duty_learns_what_happened_and_nothing_else() {
    let names = [("slower", "fp8"), ("steady", "nvfp4"), ("wedged", "bf16")];
    let stage = Stage::set(&names, &[]).await;
    stage.quiet().await;

    stage.change_driver("slower");
    let changed = stage
        .until_delivered("VllmEnvironmentChanged", "slower", "firing")
        .await;
    assert_eq!(changed.receiver, "notes");
    assert_eq!(changed.labels["driver"], NEW_DRIVER);
    assert_eq!(changed.labels["vllm_version"], "0.13.0");
    assert!(changed.labels["fingerprint"].is_string());
    let description = changed.annotations["description"].as_str().unwrap();
    assert!(
        description.contains("(driver)") && description.contains(NEW_DRIVER),
        "{description}"
    );

    let slower = stage
        .until_delivered("VllmTokenRateRegression", "slower", "firing")
        .await;
    assert_eq!(slower.receiver, "tickets");
    for (label, value) in [
        ("severity", "warning"),
        ("job", "vllm-prober"),
        ("workload", "burst"),
        ("measure", "decode_tokens_rate"),
        ("family", "qwen3-32b"),
        ("precision", "fp8"),
        ("model", "Qwen/Qwen3-32B-FP8"),
        ("vllm_version", "0.13.0"),
        ("driver", NEW_DRIVER),
    ] {
        assert_eq!(slower.labels[label], value, "{label} of {}", slower.labels);
    }
    for left_out in ["grafana_url", "repository_url"] {
        assert!(slower.labels[left_out].is_null(), "{}", slower.labels);
    }
    let links = ["runbook_url", "dashboard_url"]
        .map(|link| slower.annotations[link].as_str().unwrap().to_owned());
    assert!(links[0].ends_with("/docs/runbooks/VllmTokenRateRegression.md"));
    assert!(
        links[1]
            .starts_with("http://localhost:3000/d/vllm-prober-deployment?var-deployment=slower")
    );
    println!("{}", slower.annotations["description"].as_str().unwrap());
    let severe = |found: &Delivered| found.labels["alertname"] == "VllmTokenRateRegressionSevere";
    assert!(!stage.alerting.delivered().iter().any(severe));

    // What does not answer has no speed, be it that it was slower before.
    for name in ["wedged", "slower"] {
        let hang = Change {
            fault: Some(Fault::Hang),
            ..Change::default()
        };
        stage.change(name, hang);
    }
    let wedged = stage
        .until_delivered("VllmDeploymentWedged", "wedged", "firing")
        .await;
    assert_eq!(wedged.receiver, "pages");
    assert_eq!(wedged.labels["severity"], "critical");
    stage
        .until_delivered("VllmDeploymentWedged", "slower", "firing")
        .await;
    stage
        .alerting
        .until_inhibited("VllmTokenRateRegression", "slower", PATIENCE)
        .await;

    let delivered = stage.alerting.delivered();
    let regressions = delivered.iter().filter(|found| is_regression(found));
    for found in regressions {
        assert_eq!(found.labels["deployment"], "slower", "{found:#?}");
    }
    let steady = |found: &&Delivered| found.labels["deployment"] == "steady";
    let steady: Vec<_> = delivered.iter().filter(steady).collect();
    assert!(steady.is_empty(), "{steady:#?}");

    // Without the prober nobody would learn anything any more, and that is learnt.
    let started = stage.started;
    let alerting = stage.end().await;
    let is_absent = |found: &Delivered| found.is("VllmProbeAbsent", "") && found.status == "firing";
    let absent = alerting
        .until_delivered("VllmProbeAbsent", PATIENCE, is_absent)
        .await;
    println!("{:>6.1?} VllmProbeAbsent", started.elapsed());
    assert_eq!(absent.receiver, "pages");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Prometheus and Alertmanager"]
async fn a_regression_that_was_acknowledged_is_resolved_though_it_stands() {
    let stage = Stage::set(&[("slower", "fp8")], &["--web.enable-lifecycle"]).await;
    stage.until("vllm_probe_baseline_runs >= 12", 1).await;
    stage.change_driver("slower");
    stage
        .until_delivered("VllmTokenRateRegression", "slower", "firing")
        .await;

    // The measures are judged one by one: a latency may follow a run later, and is a verdict that nobody knows yet.
    let deadline = Instant::now() + PATIENCE;
    let is_over = |found: &Delivered| {
        found.is("VllmTokenRateRegression", "slower") && found.status == "resolved"
    };
    while !stage.alerting.delivered().iter().any(is_over) {
        assert!(
            Instant::now() < deadline,
            "{:#?}",
            stage.alerting.delivered()
        );
        let heard = stage.alerting.query("vllm_probe_acknowledged == 0").await;
        if !heard.is_empty() {
            acknowledge(&stage.base_url).await;
        }
        sleep(Duration::from_secs(1)).await;
    }
    println!("{:>6.1?} resolved", stage.started.elapsed());
    let verdict = r#"vllm_probe_verdict{measure="decode_tokens_rate",comparison="baseline"} == -1"#;
    stage.until(verdict, 1).await;
    stage.until("vllm_probe_acknowledged == 1", 1).await;
    stage.end().await;
}

async fn acknowledge(base_url: &str) {
    let mut ack = Command::new(env!("CARGO_BIN_EXE_vllm-prober"));
    ack.args(["ack", "slower", "--by", "the one on duty"])
        .args(["--why", "the driver is needed", "--until", "1h"])
        .args(["--url", base_url]);
    let said = tokio::task::spawn_blocking(move || ack.output().unwrap());
    let said = said.await.unwrap();
    assert!(said.status.success(), "{said:?}");
}
