//! Which reason of the closed set an error of the HTTP stack is.
//!
//! Errors are told apart by their types, found along the chain of sources, never by their words.

use std::error::Error;
use std::io;
use std::iter::successors;

use crate::measurement::{FailureReason, RequestError};

/// Why a request got no answer, or (`in_body`) why its answer broke off.
pub(super) fn classify(error: &reqwest::Error, in_body: bool) -> RequestError {
    let hyper = find::<hyper::Error>(error);
    // The innermost one: the others only wrap it.
    let io = chain(error)
        .filter_map(<dyn Error>::downcast_ref::<io::Error>)
        .last()
        .map(io::Error::kind);
    let reason = if error.is_dns() {
        FailureReason::Dns
    } else if error.is_connect() && error.is_timeout() {
        FailureReason::TimeoutConnect
    } else if find::<rustls::Error>(error).is_some()
        // TCP alone never comes to an end while it connects: the server hung up on the handshake.
        || (error.is_connect() && io == Some(io::ErrorKind::UnexpectedEof))
    {
        FailureReason::Tls
    } else if error.is_connect() {
        FailureReason::Connect
    } else if hyper.is_some_and(hyper::Error::is_parse)
        // How hyper reports chunks that are not framed as HTTP has it.
        || matches!(
            io,
            Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
        )
    {
        FailureReason::BadHttp
    } else if in_body {
        FailureReason::Truncated
    } else {
        FailureReason::Disconnect
    };
    RequestError::new(reason, words(error))
}

/// The first error of type `E` along the chain.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(<dyn Error>::downcast_ref)
}

/// An error and what lies beneath it, looking into I/O errors too, which hide what they wrap.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| {
        let inside = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        inside.map_or_else(
            || error.source(),
            |inside| Some(inside as &(dyn Error + 'static)),
        )
    })
}

/// What the errors along the chain say, without the address, which every reader of it knows.
fn words(error: &reqwest::Error) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(source) = next {
        let said = source.to_string();
        // A wrapper often repeats what it wraps.
        if !words.iter().any(|earlier| earlier.contains(&said)) {
            words.push(said);
        }
        next = source.source();
    }
    if words.is_empty() {
        "the request failed".to_owned()
    } else {
        words.join(": ")
    }
}
