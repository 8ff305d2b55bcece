//! From a socket to a request: connections are accepted, encrypted where that is wanted, and bounded in number,
//! in time and in what they may hold.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::crowd::{Activity, Crowd, Place};
use super::front::Front;
use super::patience::{DEADLINES, Patient};
use super::turns::{Coming, Going};

/// The most bytes of a request's header, its first line included.
const HEADER_BYTES: usize = 16 << 10;

/// Requests that one HTTP/2 connection may have in flight, and what each may send before it is read.
const STREAMS: u32 = 16;
const WINDOW_BYTES: u32 = 64 << 10;

/// How long to wait after a socket could not be accepted: long enough for the system to have room again.
const BREATH: Duration = Duration::from_millis(100);

/// How long a client whose handshake failed may take to hear so.
const PARTING: Duration = Duration::from_secs(1);

/// Between two lines of the log about the same trouble.
const QUIET: Duration = Duration::from_secs(60);

/// What one connection needs to know.
#[derive(Clone)]
struct Desk {
    front: Arc<Front>,
    routes: Router,
    stop: CancellationToken,
    /// Cancelled once the endpoint is protected otherwise than when the connection was made.
    terms: Arc<CancellationToken>,
}

impl Desk {
    /// Until no further request is to be taken on the connection.
    async fn closed(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.terms.cancelled() => {}
        }
    }
}

/// Answers on `listener` until `stop`, then ends after the answers that are under way.
pub(super) async fn serve(
    listener: TcpListener,
    front: Arc<Front>,
    crowd: Arc<Crowd>,
    routes: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let desk = Desk {
        terms: front.terms(),
        front,
        routes,
        stop,
    };
    let mut connections = JoinSet::new();
    let mut told: Option<Instant> = None;
    let mut tell = move || {
        let quiet = told.is_some_and(|told| told.elapsed() < QUIET);
        if !quiet {
            told = Some(Instant::now());
        }
        !quiet
    };
    loop {
        let accepted = tokio::select! {
            () = desk.stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_about_the_other_side(&error) => continue,
            Err(error) => {
                if tell() {
                    warn!(%error, "a connection cannot be accepted");
                }
                crowd.make_room();
                sleep(BREATH).await;
                continue;
            }
        };
        let entered = crowd.enter();
        if entered.as_ref().is_none_or(|(_, for_another)| *for_another) && tell() {
            warn!(
                "too many connections; those that have waited longest without a request are closed"
            );
        }
        if let Some((place, _)) = entered {
            connections.spawn(converse(stream, peer, place, desk.clone()));
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Whether it went before it was accepted, which is nothing to wait for.
fn is_about_the_other_side(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// Holds one connection until either side has had enough.
async fn converse(stream: TcpStream, peer: SocketAddr, place: Place, desk: Desk) {
    // An answer is written at once; waiting for more of it only delays it.
    let _ = stream.set_nodelay(true);
    let activity = Arc::clone(&place.activity);
    let terms = desk.front.terms();
    let desk = Desk { terms, ..desk };
    let talk = async {
        match desk.front.web().tls.clone() {
            Some(tls) => encrypted(stream, tls, peer, activity, &desk).await,
            None => {
                let stream = Patient::new(stream, Arc::clone(&activity), DEADLINES);
                http1(stream, peer, activity, &desk).await
            }
        }
    };
    tokio::select! {
        () = place.leave.cancelled() => {}
        ended = talk => if let Err(error) = ended {
            debug!(%peer, %error, "a connection ended early");
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn encrypted(
    stream: TcpStream,
    tls: Arc<ServerConfig>,
    peer: SocketAddr,
    activity: Arc<Activity>,
    desk: &Desk,
) -> Result<(), Failure> {
    let mut first = [0];
    timeout(DEADLINES.header, stream.peek(&mut first)).await??;
    // The first byte of a handshake is no letter; the first of a method is one.
    if first[0].is_ascii_uppercase() {
        return Ok(timeout(DEADLINES.header, tell_that_it_is_https(stream)).await??);
    }
    let stream = Patient::new(stream, Arc::clone(&activity), DEADLINES);
    let mut stream = tokio::select! {
        () = desk.stop.cancelled() => return Ok(()),
        stream = TlsAcceptor::from(tls).accept(stream).into_fallible() => match stream {
            Ok(stream) => stream,
            Err((error, stream)) => {
                part(stream).await;
                return Err(error.into());
            }
        },
    };
    let (patient, session) = stream.get_mut();
    if session.alpn_protocol() == Some(b"h2") {
        patient.multiplex();
        http2(stream, peer, activity, desk).await
    } else {
        http1(stream, peer, activity, desk).await
    }
}

/// Ends a conversation after its last words. A client that comes without the certificate that is asked for has sent
/// its request before it hears so: left unread, that would reset the connection and take the last words with it.
async fn part(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let end = async {
        stream.shutdown().await?;
        let mut rest = stream.take(HEADER_BYTES as u64);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // Whoever does not go is left.
    let _ = timeout(PARTING, end).await;
}

async fn tell_that_it_is_https(mut stream: TcpStream) -> io::Result<()> {
    // What is left unread would take the answer down with it.
    let _ = stream.read(&mut [0; HEADER_BYTES]).await?;
    let answer = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n\
        Client sent an HTTP request to an HTTPS server.\n";
    stream.write_all(answer).await?;
    stream.shutdown().await
}

async fn http1(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    activity: Arc<Activity>,
    desk: &Desk,
) -> Result<(), Failure> {
    let service = service_fn(|request| answer(request, peer, &activity, desk));
    let mut builder = http1::Builder::new();
    // The deadline for the header is kept below.
    builder
        .header_read_timeout(None)
        .max_header_size(HEADER_BYTES)
        .max_buf_size(2 * HEADER_BYTES);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = desk.closed() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

async fn http2(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    activity: Arc<Activity>,
    desk: &Desk,
) -> Result<(), Failure> {
    // Streams are tasks of their own.
    let desk_of_streams = desk.clone();
    let service = service_fn(move |request| {
        let (activity, desk) = (Arc::clone(&activity), desk_of_streams.clone());
        async move { answer(request, peer, &activity, &desk).await }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_BYTES as u32)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(STREAMS * WINDOW_BYTES);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = desk.closed() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    activity: &Arc<Activity>,
    desk: &Desk,
) -> Result<axum::response::Response, Infallible> {
    let answering = Arc::new(activity.begin());
    let request = request.map(|body| {
        Body::new(Coming {
            body,
            answering: Arc::clone(&answering),
        })
    });
    let response = desk
        .front
        .answer(request, peer.ip(), desk.routes.clone())
        .await;
    // It is being answered until the last byte of its body has gone.
    Ok(response.map(|body| Body::new(Going { body, answering })))
}
