//! What strangers may do over HTTP/2, frame by frame, without a scrape or the log feeling it.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::floods::{ALL, scrape_beside};
use super::*;

type Http2 = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;

/// `GET` and `https` from the static table; path and authority spelt out.
const SCRAPE: &[u8] = b"\x82\x87\x04\x08/metrics\x01\x09localhost";

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let head = [0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
    [&head[..], payload].concat()
}

/// A connection of HTTP/2 whose client has begun with `settings`.
fn http2(address: SocketAddr, authority: &Authority, settings: &[u8]) -> Http2 {
    let mut roots = rustls::RootCertStore::empty();
    let pem = authority.pem.as_bytes();
    roots
        .add(CertificateDer::from_pem_slice(pem).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let session = rustls::ClientConnection::new(Arc::new(tls), "localhost".try_into().unwrap());
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = rustls::StreamOwned::new(session.unwrap(), socket);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let settings = frame(SETTINGS, 0, 0, settings);
    stream.write_all(&[preface, settings].concat()).unwrap();
    stream
}

/// One that asks for `/metrics` and takes nothing of the answer, once its header has come.
fn taking_nothing(address: SocketAddr, authority: &Authority) -> Http2 {
    // A window of no byte for every stream.
    let mut stream = http2(address, authority, &[0, 4, 0, 0, 0, 0]);
    stream.write_all(&frame(HEADERS, 0b101, 1, SCRAPE)).unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        stream.read_exact(&mut vec![0; length]).unwrap();
        assert_ne!(head[3], 0, "data, for which there is no window");
        if head[3] == HEADERS {
            return stream;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_back_what_it_asks_for_is_hung_up_on_and_fills_no_log() {
    let (_directory, config, authority) = place();
    let (daemon, address) = serve(&config, TLS, &[]);
    for _ in 0..20 {
        let mut stream = http2(address, &authority, &[]);
        let cancelled = |stream| {
            let request = frame(HEADERS, 0b101, stream, SCRAPE);
            [request, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
        };
        let all: Vec<u8> = (0..100).flat_map(|at| cancelled(2 * at + 1)).collect();
        // It may hang up before it has read all of it.
        let _ = stream.write_all(&all);
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        let waited = ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        assert!(!waited, "it goes on");
    }
    let (status, log) = daemon.terminate(PATIENCE);
    assert!(status.success());
    let told = log.iter().find(|line| line.contains("reset"));
    assert_eq!(told, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_no_answer_over_http2_keeps_no_scraper_out() {
    let (_directory, config, authority) = place();
    let (daemon, address) = serve(&config, TLS, &["--web.max-connections", &ALL.to_string()]);
    let anew = client(&authority).build().unwrap();
    let idle: Vec<_> = (0..ALL)
        .map(|_| taking_nothing(address, &authority))
        .collect();
    scrape_beside(&anew, &format!("https://{address}/metrics"), "no window").await;
    drop(idle);
    assert!(daemon.terminate(PATIENCE).0.success());
}
