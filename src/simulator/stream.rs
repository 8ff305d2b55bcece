//! The body of an answer as it comes about: events for each step of the engine, and what a fault makes
//! of them.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tokio::sync::watch;

use super::answer::{Answer, DONE_EVENT, error_event};
use super::faults::Fault;
use super::sequence::Progress;
use super::stats::Finish;

/// Tokens of an answer before a fault in mid-stream strikes.
const TOKENS_BEFORE_FAULT: u32 = 8;

/// Bytes of an event without a newline.
const HUGE_EVENT_BYTES: usize = 2 << 20;

/// The events of `answer`. Dropping the stream aborts the request.
pub(super) fn events(
    answer: Answer,
    progress: watch::Receiver<Progress>,
    fault: Fault,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let events = Events {
        answer,
        progress,
        fault,
        sent: 0,
        pending: VecDeque::new(),
        next: Next::Tokens,
    };
    stream::unfold(events, async |mut events| {
        events.next().await.map(|item| (item, events))
    })
}

struct Events {
    answer: Answer,
    progress: watch::Receiver<Progress>,
    fault: Fault,
    /// Tokens that have been said.
    sent: u32,
    /// Events that are ready; each is a chunk of its own on the wire.
    pending: VecDeque<Bytes>,
    next: Next,
}

/// What comes when no event is ready.
enum Next {
    Tokens,
    TokensWithoutEnd,
    Silence,
    End,
    Break,
}

impl Events {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(Ok(event));
            }
            match self.next {
                Next::Tokens => self.next_tokens().await,
                Next::TokensWithoutEnd => {
                    // Leaves the thread to others, however fast the reader is.
                    tokio::task::yield_now().await;
                    self.say(self.sent + 1, None, 0);
                }
                Next::Silence => std::future::pending().await,
                Next::End => return None,
                Next::Break => {
                    // A pause, in which what has been written is sent.
                    tokio::task::yield_now().await;
                    self.next = Next::End;
                    return Some(Err(io::ErrorKind::ConnectionReset.into()));
                }
            }
        }
    }

    async fn next_tokens(&mut self) {
        if self.progress.changed().await.is_err() {
            // The deployment stops; so does its process, in mid-answer.
            self.next = Next::Break;
            return;
        }
        let progress = *self.progress.borrow_and_update();
        if progress.finish == Some(Finish::Error) {
            self.pending.extend([error_event(), DONE_EVENT]);
            self.next = Next::End;
            return;
        }
        if self.sent == 0 {
            self.pending.push_back(self.answer.role_event());
            if self.strike_first(progress) {
                return;
            }
        }
        if self.strikes_now(progress.tokens) {
            self.say(TOKENS_BEFORE_FAULT, None, progress.cached_tokens);
            self.strike();
            return;
        }
        self.say(progress.tokens, progress.finish, progress.cached_tokens);
        if progress.finish.is_some() {
            self.end(progress);
        }
    }

    fn say(&mut self, tokens: u32, finish: Option<Finish>, cached_tokens: u32) {
        let progress = Progress {
            tokens,
            cached_tokens,
            finish,
        };
        if tokens > self.sent {
            self.pending
                .push_back(self.answer.token_event(self.sent, progress));
            self.sent = tokens;
        }
    }

    fn end(&mut self, progress: Progress) {
        if self.fault != Fault::NoUsage {
            self.pending.extend(self.answer.usage_event(progress));
        }
        if self.fault != Fault::NoDone {
            self.pending.push_back(DONE_EVENT);
        }
        self.next = Next::End;
    }

    /// Faults that leave no token its place; says whether one did.
    fn strike_first(&mut self, progress: Progress) -> bool {
        match self.fault {
            Fault::EmptyAnswer => self.end(Progress {
                tokens: 0,
                ..progress
            }),
            Fault::GarbageSse => {
                let page: &[u8] = b"<html><body><h1>It works!</h1></body></html>\n";
                self.pending = [Bytes::from_static(page)].into();
                self.next = Next::End;
            }
            Fault::GarbageJson => {
                self.pending
                    .push_back(Bytes::from_static(b"data: {\"id\":\"chatcmpl-\", oops\n\n"));
                self.pending.push_back(DONE_EVENT);
                self.next = Next::End;
            }
            Fault::HugeEvent => {
                let mut event = b"data: ".to_vec();
                event.resize(HUGE_EVENT_BYTES, b'x');
                event.extend(b"\n\n");
                self.pending.push_back(event.into());
                self.pending.push_back(DONE_EVENT);
                self.next = Next::End;
            }
            Fault::Flood => self.next = Next::TokensWithoutEnd,
            _ => return false,
        }
        true
    }

    fn strikes_now(&self, tokens: u32) -> bool {
        let in_mid_stream = matches!(
            self.fault,
            Fault::StallMidStream | Fault::ErrorMidStream | Fault::Truncate
        );
        in_mid_stream && tokens >= TOKENS_BEFORE_FAULT
    }

    fn strike(&mut self) {
        match self.fault {
            Fault::ErrorMidStream => {
                self.pending.extend([error_event(), DONE_EVENT]);
                self.next = Next::End;
            }
            Fault::Truncate => self.next = Next::Break,
            _ => self.next = Next::Silence,
        }
    }
}

/// The body of an answer without a stream, once it is complete; `None` when the engine died over it.
pub(super) async fn body(
    answer: Answer,
    mut progress: watch::Receiver<Progress>,
    fault: Fault,
) -> Option<Bytes> {
    if fault == Fault::StallMidStream {
        std::future::pending::<()>().await;
    }
    let finished = progress
        .wait_for(|progress| progress.finish.is_some())
        .await
        .map(|finished| *finished);
    let Ok(finished) = finished else {
        // The server's process has ended: nobody answers any more, and the connection is being cut.
        return std::future::pending().await;
    };
    if finished.finish == Some(Finish::Error) {
        return None;
    }
    let empty = Progress {
        tokens: 0,
        ..finished
    };
    let whole = match fault {
        Fault::NoUsage => answer.body(finished, false),
        Fault::EmptyAnswer => answer.body(empty, true),
        Fault::GarbageSse | Fault::GarbageJson => {
            "<html><body><h1>It works!</h1></body></html>".into()
        }
        Fault::HugeEvent | Fault::Flood => "x".repeat(HUGE_EVENT_BYTES),
        _ => answer.body(finished, true),
    };
    Some(whole.into())
}
