//! `status` in a terminal of its own: once it shows all there is, and leaves the terminal as it was.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use vllm_prober::board::Board;
use vllm_prober::server::{Served, serve};

#[path = "common/fleet.rs"]
mod fleet;

#[expect(clippy::disallowed_methods, reason = "what is shown is as of now")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// What `status` says of the daemon at `url`, in a terminal of ten lines.
async fn in_a_terminal(url: String, more: &'static str) -> String {
    let run = move || {
        let prober = env!("CARGO_BIN_EXE_vllm-prober");
        let command =
            format!("stty cols 200 rows 10; timeout -s INT 1 {prober} status --url {url} {more}");
        let mut script = Command::new("script");
        script.env("TERM", "xterm");
        script.args(["-qec", &command, "/dev/null"]);
        script.output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The address at which a daemon with so many deployments answers until `stop`.
async fn daemon(deployments: usize, stop: CancellationToken) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let board = Arc::new(Board::new(fleet::large(deployments, now())));
    let served = Served::new(board, Arc::default(), String::new(), now());
    tokio::spawn(serve(
        vec![listener],
        Arc::new(served),
        Arc::default(),
        stop,
    ));
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_once_may_be_longer_than_the_terminal() {
    let stop = CancellationToken::new();
    let url = daemon(30, stop.clone()).await;
    let once = in_a_terminal(url.clone(), "").await;
    assert!(once.starts_with("30 deployments, "), "{once}");
    assert_eq!(once.lines().count(), 32, "{once}");
    assert!(!once.contains("more; see fewer"), "{once}");

    // One that is drawn over again and again is not, and has its cursor back at the end.
    let watched = in_a_terminal(url, "--watch 200ms").await;
    assert!(watched.contains("and 24 more; see fewer with"), "{watched}");
    let (hidden, shown) = (watched.rfind("\u{1b}[?25l"), watched.rfind("\u{1b}[?25h"));
    assert!(hidden.is_some() && shown > hidden, "{watched:?}");
    stop.cancel();
}

/// The second Ctrl-C ends it also while the terminal, stopped by Ctrl-S, takes nothing in.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_interrupt_ends_it_at_once() {
    let stop = CancellationToken::new();
    let url = daemon(1_000, stop.clone()).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("id");
    let prober = env!("CARGO_BIN_EXE_vllm-prober");
    let command = format!(
        "stty cols 400 rows 1100 -echo; echo $$ > {}; exec {prober} status --url {url} --watch 100ms",
        file.display()
    );
    // What the terminal shows is not read.
    let mut terminal = Command::new("script")
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Of its first frame, which is longer than all buffers on the way, only the beginning is taken.
    let mut shown = terminal.stdout.take().unwrap();
    shown.read_exact(&mut [0]).unwrap();
    let id = std::fs::read_to_string(&file).unwrap();
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", id.trim()));
    let has_ended = || state().map_or(true, |stat| stat.contains(") Z "));
    let mut interrupts = 0;
    while !has_ended() {
        assert!(interrupts < 50, "it goes on");
        let told = Command::new("kill").args(["-INT", id.trim()]).status();
        assert!(told.is_ok());
        interrupts += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(interrupts > 1, "one is not to cut off what is being shown");
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    stop.cancel();
}

#[test]
fn what_a_daemon_refuses_does_not_steer_the_terminal() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        let body =
            r#"{"type":"about:blank","title":"t","status":503,"detail":"not \u001b[2J now"}"#;
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
    });
    let output: Output = Command::new(env!("CARGO_BIN_EXE_vllm-prober"))
        .args(["status", "--url", &url])
        .output()
        .unwrap();
    answering.join().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told.starts_with("vllm-prober: not ") && told.ends_with(" now\n"),
        "{told:?}"
    );
    assert!(!told.trim_end().chars().any(char::is_control), "{told:?}");
}
