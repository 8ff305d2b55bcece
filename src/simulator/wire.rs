//! The deployment's sockets: they can be refused while it runs, they close with the process they belong to
//! when it restarts, and all of them close when it stops, whatever their handlers wait for.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::controls::{Controls, Switches};
use super::faults::Fault;

/// How long to leave the system alone when it gives no socket, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections that end with `stop`.
pub(super) struct Door {
    address: SocketAddr,
    /// Absent while the server is down, so that the system refuses who comes.
    listener: Option<TcpListener>,
    controls: Controls,
    switches: watch::Receiver<Switches>,
    stop: CancellationToken,
}

impl Door {
    pub(super) fn new(
        address: SocketAddr,
        listener: TcpListener,
        controls: &Controls,
        stop: CancellationToken,
    ) -> Self {
        Self {
            address,
            listener: Some(listener),
            controls: controls.clone(),
            switches: controls.subscribe(),
            stop,
        }
    }
}

impl Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let down_until = self.switches.borrow_and_update().down_until;
            if let Some(until) = down_until.filter(|until| *until > Instant::now()) {
                self.listener = None;
                tokio::select! {
                    () = sleep_until(until) => {}
                    _ = self.switches.changed() => {}
                }
                continue;
            }
            let Some(listener) = &self.listener else {
                match TcpListener::bind(self.address).await {
                    Ok(listener) => self.listener = Some(listener),
                    Err(_) => sleep(ACCEPT_PAUSE).await,
                }
                continue;
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = self.switches.changed() => continue,
            };
            match accepted {
                Ok(_) if self.controls.conditions().fault == Fault::Refuse => {}
                Ok((stream, address)) => {
                    // Tokens leave as they come; without it, small writes wait for each other.
                    let _ = stream.set_nodelay(true);
                    let connection = Connection::new(stream, &self.controls, &self.stop);
                    return (connection, address);
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

/// A connection that fails its reader once the deployment stops, restarts or refuses.
pub(super) struct Connection {
    stream: TcpStream,
    controls: Controls,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    has_ended: bool,
}

impl Connection {
    fn new(stream: TcpStream, controls: &Controls, stop: &CancellationToken) -> Self {
        let (mut switches, stop) = (controls.subscribe(), stop.clone());
        let restarts = controls.restarts();
        let end = async move {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = switches.wait_for(|switches| switches.restarts != restarts) => {}
            }
        };
        Self {
            stream,
            controls: controls.clone(),
            end: Box::pin(end),
            has_ended: false,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.has_ended = self.has_ended || self.end.as_mut().poll(context).is_ready();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let refused = read.is_ready() && self.controls.conditions().fault == Fault::Refuse;
        if self.has_ended || refused {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
