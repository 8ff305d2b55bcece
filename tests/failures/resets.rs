//! Connections that the server's system resets in the middle of an answer: no orderly end comes, as when
//! its process is killed with bytes unread.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use tokio::time::Instant;
use vllm_prober::measurement::FailureReason;

use crate::replay::{endpoint, measure, workload};
use crate::scripted::{ROLE, TOKEN};
use crate::{PROMPTLY, failures};

/// What is said before the reset, and the reason that it is.
const RESETS: [(&str, FailureReason); 3] = [
    ("", FailureReason::Disconnect),
    ("HTTP/1.1 200 OK\r\ncontent-", FailureReason::Disconnect),
    (
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
        FailureReason::Truncated,
    ),
];

#[test]
fn a_reset_is_told_by_how_far_the_answer_had_come() {
    for (head, reason) in RESETS {
        let address = resetting(head);
        let begun = Instant::now();
        let run = measure(endpoint(&format!("http://{address}")), workload(2, 4)).unwrap();
        assert!(begun.elapsed() < PROMPTLY, "{head}");
        let failures = failures(&run);
        assert_eq!(failures.len(), 4, "{head}: {failures:?}");
        for error in failures {
            assert_eq!(error.reason, reason, "{head}: {error}");
            assert!(error.detail.contains("reset"), "{head}: {error}");
        }
    }
}

/// A server that answers GETs, and to a POST says `head`, with a token if the head is whole, and then closes
/// with the body unread: the system resets such a connection.
fn resetting(head: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(stream, head));
        }
    });
    address
}

fn serve(mut stream: TcpStream, head: &str) -> io::Result<()> {
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            request.push(byte[0]);
        }
        if request.starts_with(b"POST") {
            stream.write_all(head.as_bytes())?;
            if head.ends_with("\r\n\r\n") {
                stream.write_all(format!("{ROLE}\n\n{TOKEN}\n\n").as_bytes())?;
            }
            // What has been said is read before the reset, which would take it away.
            std::thread::sleep(Duration::from_millis(100));
            return Ok(());
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{\"version\":\"0.13.0\"}")?;
    }
}
