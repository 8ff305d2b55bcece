//! Servers that cannot be talked to, one row for each way.

use std::any::Any;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use vllm_prober::deployment::Endpoint;
use vllm_prober::measurement::FailureReason;
use vllm_prober::workload::Limits;

use crate::SHORT;
use crate::replay::endpoint;
use crate::scripted::{Habits, Scripted};
use crate::tls::SelfSigned;

/// A server that cannot be talked to: where it is, and what must live as long as it.
pub(crate) struct Unreachable {
    pub(crate) reason: FailureReason,
    pub(crate) what: &'static str,
    pub(crate) words: &'static str,
    pub(crate) limits: fn(&mut Limits),
    pub(crate) place: fn() -> (Endpoint, Box<dyn Any>),
}

/// Every reason that comes before a request is sent.
pub(crate) const UNREACHABLE: &[Unreachable] = {
    use FailureReason as R;
    &[
        Unreachable {
            reason: R::Dns,
            what: "a name that no one has",
            words: "",
            limits: |_| {},
            place: || (endpoint("http://no-such-host.invalid"), Box::new(())),
        },
        Unreachable {
            reason: R::Connect,
            what: "a closed port",
            words: "refused",
            limits: |_| {},
            place: || {
                let address = TcpListener::bind("127.0.0.1:0")
                    .unwrap()
                    .local_addr()
                    .unwrap();
                (endpoint(&format!("http://{address}")), Box::new(()))
            },
        },
        Unreachable {
            reason: R::TimeoutConnect,
            what: "a full backlog",
            words: "",
            limits: |limits| limits.connect = SHORT,
            place: || {
                let (address, full) = full_backlog();
                (endpoint(&format!("http://{address}")), Box::new(full))
            },
        },
        Unreachable {
            reason: R::TimeoutConnect,
            what: "a handshake that is not answered",
            words: "",
            limits: |limits| limits.connect = SHORT,
            place: || {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                (
                    endpoint(&format!("https://{}", listener.local_addr().unwrap())),
                    Box::new(listener),
                )
            },
        },
        Unreachable {
            reason: R::Tls,
            what: "a plain server",
            words: "",
            limits: |_| {},
            place: || {
                let address =
                    answering_any_bytes(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
                (endpoint(&format!("https://{address}")), Box::new(()))
            },
        },
        Unreachable {
            reason: R::Tls,
            what: "a plain server that hangs up",
            words: "",
            limits: |_| {},
            place: || {
                let address = answering_any_bytes(b"");
                (endpoint(&format!("https://{address}")), Box::new(()))
            },
        },
        Unreachable {
            reason: R::Tls,
            what: "a self-signed certificate",
            words: "certificate",
            limits: |_| {},
            place: || {
                let server = encrypted(&SelfSigned::of("127.0.0.1"));
                (endpoint(&server.base_url()), Box::new(server))
            },
        },
        Unreachable {
            reason: R::Tls,
            what: "a certificate for another name",
            words: "certificate",
            limits: |_| {},
            place: || {
                let certificate = SelfSigned::of("elsewhere.invalid");
                let (server, ca_file) = (encrypted(&certificate), certificate.ca_file());
                let mut endpoint = endpoint(&server.base_url());
                endpoint.route.tls.ca_file = Some(ca_file.path().to_owned());
                (endpoint, Box::new((server, ca_file)))
            },
        },
    ]
};

/// A server that answers over TLS without a fault.
pub(crate) fn encrypted(certificate: &SelfSigned) -> Scripted {
    let habits = Habits {
        tls: Some(certificate.server()),
        ..Habits::default()
    };
    Scripted::with(habits, Arc::new(|asked, wire| wire.answer(asked)))
}

/// A server that reads a little, says `bytes`, and closes the connection.
fn answering_any_bytes(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _: io::Result<usize> = stream.read(&mut [0; 4096]);
            let _: io::Result<()> = stream.write_all(bytes);
            let _: io::Result<()> = stream.shutdown(Shutdown::Write);
        }
    });
    address
}

/// A listener that accepts nothing and whose queue is full, so that the system answers no one any more.
fn full_backlog() -> (SocketAddr, (TcpListener, Vec<TcpStream>)) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        waiting.push(stream);
        assert!(waiting.len() < 10_000, "this system's queue has no end");
    }
    (address, (listener, waiting))
}
