//! The deployment's sockets: they can be refused while it runs, and all of them close when it stops,
//! whatever their handlers wait for.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::faults::{Controls, Fault};

/// How long to leave the system alone when it gives no socket, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections that end with `stop`.
pub(super) struct Door {
    listener: TcpListener,
    controls: Controls,
    stop: CancellationToken,
}

impl Door {
    pub(super) fn new(listener: TcpListener, controls: Controls, stop: CancellationToken) -> Self {
        Self {
            listener,
            controls,
            stop,
        }
    }
}

impl Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.listener.accept().await {
                Ok(_) if self.controls.conditions().fault == Fault::Refuse => {}
                Ok((stream, address)) => {
                    // Tokens leave as they come; without it, small writes wait for each other.
                    let _ = stream.set_nodelay(true);
                    let connection = Connection {
                        stream,
                        controls: self.controls.clone(),
                        stopped: Box::pin(self.stop.clone().cancelled_owned()),
                    };
                    return (connection, address);
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that fails its reader once the deployment stops or refuses.
pub(super) struct Connection {
    stream: TcpStream,
    controls: Controls,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stopped = self.stopped.as_mut().poll(context).is_ready();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let refused = read.is_ready() && self.controls.conditions().fault == Fault::Refuse;
        if stopped || refused {
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
