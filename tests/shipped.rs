//! What the program is to those who run it rather than use it: a service manager, an image without a shell, a
//! shell that completes, a pager that shows the manual.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tokio::time::Instant;
use vllm_prober::simulator::{Change, Fault, Profile, Settings, Simulator};

#[path = "common/program.rs"]
mod program;

use program::Program;

const PATIENCE: Duration = Duration::from_secs(30);

/// A configuration that is never due: its one probe runs in the first minute of the year.
fn idle(directory: &Path) -> PathBuf {
    let path = directory.join("prober.yaml");
    let text = "workloads: { w: { prompt: x } }\ndeployments:\n  - name: a\n    base_url: http://127.0.0.1:9\n    \
                probes: [{ workload: w, cron: \"0 0 1 1 *\" }]\n";
    std::fs::write(&path, text).unwrap();
    path
}

fn prober(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vllm-prober"));
    command.args(arguments).output().unwrap()
}

fn health(base_url: &str, path: &str) -> (Option<i32>, String) {
    let output = prober(&["health", "--url", &format!("{base_url}{path}")]);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// A service manager's end of the line.
fn ear(directory: &Path) -> (PathBuf, UnixDatagram) {
    let socket = directory.join("notify");
    let ear = UnixDatagram::bind(&socket).unwrap();
    ear.set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    (socket, ear)
}

/// What comes until a message begins with `last`, and when each came.
fn heard_until(ear: &UnixDatagram, last: &str) -> Vec<(Instant, String)> {
    let (deadline, mut heard, mut buffer) = (Instant::now() + PATIENCE, Vec::new(), [0; 512]);
    while Instant::now() < deadline {
        let Ok(length) = ear.recv(&mut buffer) else {
            continue;
        };
        let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
        heard.push((Instant::now(), message.clone()));
        if message.starts_with(last) {
            return heard;
        }
    }
    panic!("no {last}; heard {heard:?}");
}

#[test]
fn a_service_manager_hears_of_start_life_and_stop() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, ear) = ear(directory.path());
    let mut command = Command::new("env");
    command
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "400000")
        .env_remove("WATCHDOG_PID");
    let (daemon, base_url) = Program::serve_by(&mut command, &idle(directory.path()), &[]);

    heard_until(&ear, "READY=1");
    let (status, said) = health(&base_url, "/-/ready");
    assert_eq!(status, Some(0), "READY=1, but {said}");
    // Ten signs of life: no gap is as long as the watchdog's patience, and they are no flood.
    let signs: Vec<Instant> = (0..10)
        .map(|_| heard_until(&ear, "WATCHDOG=1").pop().unwrap().0)
        .collect();
    let gaps: Vec<Duration> = signs.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(
        signs[9] - signs[0] > Duration::from_millis(1500),
        "{gaps:?}"
    );
    assert!(
        gaps.iter().all(|gap| *gap < Duration::from_millis(400)),
        "{gaps:?}"
    );

    let stopped = std::thread::spawn(move || daemon.terminate(PATIENCE));
    let heard = heard_until(&ear, "STOPPING=1");
    // 30 s for the runs in flight, 5 s to store them, 5 s for the last answers.
    assert_eq!(
        heard.last().unwrap().1,
        "STOPPING=1\nEXTEND_TIMEOUT_USEC=40000000"
    );
    assert!(stopped.join().unwrap().0.success());
}

/// A request that hangs keeps its run in flight, and the daemon in its grace period, which is longer than the
/// watchdog's patience.
#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_go_on_while_the_last_run_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(Settings {
        speedup: 100.0,
        ..Settings::new(Profile::named("fp8").unwrap())
    })
    .await
    .unwrap();
    let hang = Change {
        fault: Some(Fault::Hang),
        ..Change::default()
    };
    simulator.controls().apply(hang).unwrap();
    let config = directory.path().join("prober.yaml");
    let text = format!(
        "global: {{ shutdown_grace: 2s }}\nworkloads: {{ w: {{ prompt: x, requests: 1, concurrency: 1, max_tokens: 512 }} }}\n\
         deployments: [{{ name: a, base_url: \"{}\", probes: [{{ workload: w, every: 1s }}] }}]\n",
        simulator.base_url()
    );
    std::fs::write(&config, text).unwrap();
    let (socket, ear) = ear(directory.path());
    let mut command = Command::new("env");
    command
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "400000");
    let (daemon, base_url) = Program::serve_by(&mut command, &config, &[]);
    let running = r#"vllm_probe_run_in_progress{deployment="a",workload="w"} 1"#;
    let deadline = Instant::now() + PATIENCE;
    while !health(&base_url, "/metrics").1.contains(running) {
        assert!(Instant::now() < deadline, "no run began");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stopped = std::thread::spawn(move || daemon.terminate(PATIENCE));
    heard_until(&ear, "STOPPING=1");
    for _ in 0..5 {
        heard_until(&ear, "WATCHDOG=1");
    }
    assert!(stopped.join().unwrap().0.success());
    simulator.stop().await.unwrap();
}

#[test]
fn a_service_manager_that_cannot_be_reached_is_a_mistake_only_if_its_name_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let config = idle(directory.path());
    let mut command = Command::new("env");
    command.env("NOTIFY_SOCKET", directory.path().join("nobody"));
    let (daemon, base_url) = Program::serve_by(&mut command, &config, &[]);
    assert_eq!(health(&base_url, "/-/healthy").0, Some(0));
    assert!(daemon.terminate(PATIENCE).0.success());

    let mut command = Command::new(env!("CARGO_BIN_EXE_vllm-prober"));
    let output = command
        .env("NOTIFY_SOCKET", "x".repeat(200))
        .args(["serve", "--web.listen-address", "127.0.0.1:0"])
        .arg("--config.file")
        .arg(&config)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && log.contains("NOTIFY_SOCKET"),
        "{log}"
    );
}

#[test]
fn health_is_told_by_the_exit_status() {
    let directory = tempfile::tempdir().unwrap();
    let (mut daemon, base_url) = Program::serve(&idle(directory.path()));
    // It listens before it is ready.
    daemon.line("message=probing", PATIENCE);
    for (path, status, says) in [
        ("/-/ready", 0, "ready"),
        ("/-/healthy", 0, "healthy"),
        ("/nowhere", 1, "HTTP 404"),
    ] {
        let (found, said) = health(&base_url, path);
        assert_eq!(found, Some(status), "{path}: {said}");
        assert!(said.contains(says), "{path}: {said}");
    }
    assert!(daemon.terminate(PATIENCE).0.success());
    let (found, said) = health(&base_url, "/-/ready");
    assert_eq!(found, Some(1), "nobody listens: {said}");

    // One that takes the connection and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", mute.local_addr().unwrap());
    let output = prober(&["health", "--timeout", "1", "--url", &url]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no answer within 1 s"));
}

/// Every command that `--help` lists.
fn commands() -> Vec<String> {
    let help = String::from_utf8(prober(&["--help"]).stdout).unwrap();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = listed.take_while(|line| !line.trim().is_empty());
    let names: Vec<String> = names
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .map(str::to_owned)
        .collect();
    assert!(names.len() >= 8, "{names:?} of {help}");
    names
}

#[test]
fn completions_know_every_command() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = prober(&["completions", shell]);
        assert!(output.status.success(), "{shell}");
        let script = String::from_utf8(output.stdout).unwrap();
        for command in commands() {
            assert!(script.contains(&command), "{shell}: {command}");
        }
        if shell == "bash" {
            let path = directory.path().join("completions");
            std::fs::write(&path, &script).unwrap();
            // Loaded into a shell, and asked as the shell asks when Tab is pressed after `vllm-prober che`.
            let ask = r#"set -eu; . "$1"; COMP_WORDS=(vllm-prober che); COMP_CWORD=1
                _vllm__prober vllm-prober che vllm-prober; echo "${COMPREPLY[@]}""#;
            let answer = Command::new("bash")
                .args(["-c", ask, "bash"])
                .arg(&path)
                .output()
                .unwrap();
            assert_eq!(
                String::from_utf8_lossy(&answer.stdout),
                "check\n",
                "{answer:?}"
            );
        }
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("man1");
    assert!(
        prober(&["man", "--out", out.to_str().unwrap()])
            .status
            .success()
    );
    for command in commands() {
        let page = std::fs::read_to_string(out.join(format!("vllm-prober-{command}.1"))).unwrap();
        assert!(page.contains(".SH OPTIONS"), "{command}: {page}");
    }
    let main = std::fs::read(out.join("vllm-prober.1")).unwrap();
    assert_eq!(prober(&["man"]).stdout, main, "both ways tell the same");
    let output = prober(&["man", "--out", "/dev/null/man1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--out /dev/null/man1"));
}

#[test]
fn one_version_is_shipped() {
    let version = env!("CARGO_PKG_VERSION");
    for (file, line) in [
        ("Dockerfile", format!("ARG VERSION={version}")),
        (
            "deploy/helm/vllm-prober/Chart.yaml",
            format!("version: {version}"),
        ),
        (
            "deploy/helm/vllm-prober/Chart.yaml",
            format!("appVersion: {version}"),
        ),
        ("docs/installing.md", format!("  vllm-prober:{version}")),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.lines().any(|found| found == line), "{file}: {line}");
    }
}

#[test]
fn the_configuration_of_the_quick_start_can_be_used() {
    let text = include_str!("../docs/quick-start.md");
    let blocks = text.split("```yaml\n").skip(1);
    let config = blocks
        .filter_map(|block| block.split("```").next())
        .find(|block| block.starts_with("workloads:"))
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("prober.yaml");
    std::fs::write(&path, config).unwrap();
    let output = prober(&["check", "--config.file", path.to_str().unwrap()]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}
