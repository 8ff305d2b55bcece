//! Whose turn it is while a request is answered, as its body and that of its answer tell: who keeps the other one
//! waiting.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use super::crowd::Answering;

/// A request's body, which is the other side's turn while nothing of it comes.
pub(super) struct Coming {
    pub(super) body: Incoming,
    pub(super) answering: Arc<Answering>,
}

impl HttpBody for Coming {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match polled {
            Poll::Ready(_) => self.answering.take_turn(),
            Poll::Pending => self.answering.wait_for_them(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        // What did not come is waited for no longer.
        self.answering.take_turn();
    }
}

/// An answer's body. Nobody asks for the next part of it before there is room for the one before: until then it is
/// the other side's turn to take that.
pub(super) struct Going {
    pub(super) body: Body,
    pub(super) answering: Arc<Answering>,
}

impl HttpBody for Going {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match polled {
            Poll::Ready(Some(_)) => self.answering.wait_for_them(),
            Poll::Ready(None) | Poll::Pending => self.answering.take_turn(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
