//! Which reason of the closed set an error of the HTTP stack is.
//!
//! Errors are told apart by their types, found along the chain of sources, never by their words.

use std::error::Error;
use std::io;

use crate::measurement::{FailureReason, RequestError};

/// Why a request got no answer, or (`in_body`) why its answer broke off.
pub(super) fn classify(error: &reqwest::Error, in_body: bool) -> RequestError {
    let hyper = find::<hyper::Error>(error);
    let reason = if error.is_dns() {
        FailureReason::Dns
    } else if error.is_connect() && error.is_timeout() {
        FailureReason::TimeoutConnect
    } else if find::<rustls::Error>(error).is_some() {
        FailureReason::Tls
    } else if error.is_connect() {
        FailureReason::Connect
    } else if hyper.is_some_and(hyper::Error::is_parse) {
        FailureReason::BadHttp
    } else if in_body {
        FailureReason::Truncated
    } else {
        FailureReason::Disconnect
    };
    RequestError::new(reason, words(error))
}

/// The first error of type `E` along the chain, looking into I/O errors too, which hide what they wrap.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        let inside = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = inside.map_or_else(
            || error.source(),
            |inside| Some(inside as &(dyn Error + 'static)),
        );
    }
    None
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
