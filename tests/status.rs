//! `status` in a terminal of its own: once it shows all there is, and leaves the terminal as it was.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;

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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_once_may_be_longer_than_the_terminal() {
    let stop = CancellationToken::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let board = Arc::new(Board::new(fleet::large(30, now())));
    let served = Served::new(board, Arc::default(), String::new(), now());
    tokio::spawn(serve(
        vec![listener],
        Arc::new(served),
        Arc::default(),
        stop.clone(),
    ));
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
