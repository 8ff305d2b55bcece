//! How long a connection may take: to say what it wants, to say nothing, and to read its answer.
//!
//! The deadlines are kept where bytes come and go, below TLS and HTTP, so that a handshake that stops half-way, a
//! header that comes byte by byte and an answer that nobody reads are all one matter.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::crowd::Activity;

/// How long each may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// From the first byte of a request, or from the connection's begin, until its header has been read.
    pub(super) header: Duration,
    /// From the end of an answer until the next request begins.
    pub(super) idle: Duration,
    /// Between two parts of an answer that the other side takes.
    pub(super) stall: Duration,
}

/// Two scrapes of a server, even some minutes apart, share a connection; a header takes milliseconds.
pub(super) const DEADLINES: Deadlines = Deadlines {
    header: Duration::from_secs(10),
    idle: Duration::from_secs(150),
    stall: Duration::from_secs(30),
};

/// A stream that fails when its other side is too slow.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    activity: Arc<Activity>,
    deadlines: Deadlines,
    /// The requests that had been read when the deadline was last set.
    heard: u64,
    /// Whether the deadline is that of a connection which waits for its next request.
    idle: bool,
    /// Whether requests overlap, so that bytes between them need not be a request's begin.
    multiplexed: bool,
    reading: Pin<Box<Sleep>>,
    writing: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>, deadlines: Deadlines) -> Self {
        Self {
            stream,
            activity,
            deadlines,
            heard: 0,
            idle: false,
            multiplexed: false,
            reading: Box::pin(sleep(deadlines.header)),
            writing: None,
        }
    }

    /// Says that the connection speaks HTTP/2.
    pub(super) fn multiplex(&mut self) {
        self.multiplexed = true;
    }

    /// Whoever waits for an answer has nothing to say, so the deadline moves on until the answer is there.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.multiplexed {
            return self.poll_multiplexed_silence(cx);
        }
        let heard = self.activity.heard();
        if heard != self.heard || self.activity.is_answering() {
            self.heard = heard;
            self.idle = true;
            self.reading
                .as_mut()
                .reset(Instant::now() + self.deadlines.idle);
        }
        self.reading
            .as_mut()
            .poll(cx)
            .map(|()| io::ErrorKind::TimedOut.into())
    }

    /// In HTTP/2 the other side says itself how much of an answer it takes. If it takes nothing, nothing is written,
    /// and so no writing stalls: here its silence is what takes too long.
    fn poll_multiplexed_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let until = match (
                self.activity.kept_waiting_since(),
                self.activity.idle_since(),
            ) {
                (Some(since), _) => since + self.deadlines.stall,
                (_, Some(since)) => since + self.deadlines.idle,
                // The first request has not come.
                _ if self.activity.heard() == 0 => self.reading.deadline(),
                // Whether that is still so is looked at again.
                _ => Instant::now() + self.deadlines.stall,
            };
            let is_news = until != self.reading.deadline();
            if is_news {
                self.reading.as_mut().reset(until);
            }
            ready!(self.reading.as_mut().poll(cx));
            if !is_news {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
        }
    }

    fn heard_something(&mut self) {
        let between_requests = self.idle && self.activity.heard() == self.heard;
        if between_requests && !self.multiplexed && !self.activity.is_answering() {
            self.idle = false;
            self.reading
                .as_mut()
                .reset(Instant::now() + self.deadlines.header);
        }
    }

    /// What `poll` says, unless it has been pending for too long.
    fn poll_taken<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            if self.writing.take().is_some() {
                self.activity.set_stalled(false);
            }
            return poll;
        }
        self.activity.set_stalled(true);
        let stall = self.deadlines.stall;
        let deadline = self.writing.get_or_insert_with(|| Box::pin(sleep(stall)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(read) => {
                if buffer.filled().len() > before {
                    self.heard_something();
                }
                Poll::Ready(read)
            }
            Poll::Pending => self.poll_silence(cx).map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.poll_taken(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.poll_taken(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    /// Far apart, so that a busy machine takes none for another.
    const SHORT: Duration = Duration::from_millis(150);
    const LONG: Duration = Duration::from_secs(600);
    const PATIENCE: Duration = Duration::from_secs(30);

    fn pair(
        header: Duration,
        idle: Duration,
        stall: Duration,
    ) -> (DuplexStream, Patient<DuplexStream>, Arc<Activity>) {
        let (far, near) = duplex(64);
        let activity = Arc::<Activity>::default();
        let deadlines = Deadlines {
            header,
            idle,
            stall,
        };
        (
            far,
            Patient::new(near, Arc::clone(&activity), deadlines),
            activity,
        )
    }

    /// Reads until that fails.
    async fn failure(patient: &mut Patient<DuplexStream>) -> io::ErrorKind {
        let reading = async {
            loop {
                if let Err(error) = patient.read(&mut [0; 64]).await {
                    return error.kind();
                }
            }
        };
        timeout(PATIENCE, reading).await.unwrap()
    }

    #[tokio::test]
    async fn a_header_has_one_deadline_however_often_a_byte_comes() {
        let (mut far, mut near, _) = pair(SHORT, LONG, LONG);
        let drip = tokio::spawn(async move {
            while far.write_all(b"x").await.is_ok() {
                sleep(SHORT / 10).await;
            }
        });
        assert_eq!(failure(&mut near).await, io::ErrorKind::TimedOut);
        drip.abort();
    }

    #[tokio::test]
    async fn silence_between_requests_has_its_own_deadline() {
        let (mut far, mut near, activity) = pair(LONG, SHORT, LONG);
        far.write_all(b"a request").await.unwrap();
        near.read_exact(&mut [0; 9]).await.unwrap();
        drop(activity.begin());
        assert_eq!(failure(&mut near).await, io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn the_next_request_has_the_deadline_of_the_first() {
        let (mut far, mut near, activity) = pair(SHORT, LONG, LONG);
        drop(activity.begin());
        let silence = timeout(2 * SHORT, near.read(&mut [0; 64])).await;
        assert!(silence.is_err(), "{silence:?}");
        far.write_all(b"G").await.unwrap();
        assert_eq!(failure(&mut near).await, io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn bytes_between_the_requests_of_one_http2_connection_begin_nothing() {
        let (mut far, mut near, activity) = pair(SHORT, LONG, LONG);
        near.multiplex();
        drop(activity.begin());
        let mut read = async || timeout(2 * SHORT, near.read(&mut [0; 64])).await;
        assert!(read().await.is_err());
        far.write_all(b"a ping").await.unwrap();
        assert!(read().await.is_ok());
        assert!(read().await.is_err(), "it only waits");
    }

    #[tokio::test]
    async fn an_answer_over_http2_that_nobody_takes_ends_it_and_one_that_is_worked_on_does_not() {
        let (_far, mut near, activity) = pair(SHORT, LONG, SHORT);
        near.multiplex();
        let answering = activity.begin();
        let nothing = timeout(3 * SHORT, near.read(&mut [0; 64])).await;
        assert!(nothing.is_err(), "{nothing:?}");
        answering.wait_for_them();
        assert_eq!(failure(&mut near).await, io::ErrorKind::TimedOut);
        drop(answering);
    }

    #[tokio::test]
    async fn an_answer_takes_its_time_and_whoever_does_not_read_it_does_not() {
        let (_far, mut near, activity) = pair(SHORT, SHORT, SHORT);
        let answering = activity.begin();
        let nothing = timeout(3 * SHORT, near.read(&mut [0; 64])).await;
        assert!(nothing.is_err(), "{nothing:?}");
        let written = timeout(PATIENCE, near.write_all(&[0; 100])).await.unwrap();
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        drop(answering);
    }
}
