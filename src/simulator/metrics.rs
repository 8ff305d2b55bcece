//! How `/metrics` is answered: with the page, or wrong in one of the ways in which pages are.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde_json::json;

use super::faults::MetricsFault;
use super::speed::Random;

/// About as much as [`MetricsFault::Huge`] puts before the page.
const HUGE_BYTES: usize = 100_000_000;

/// As much as is said at once of a page that is longer than can be held.
const PIECE_BYTES: usize = 64 << 10;

/// Bytes of [`MetricsFault::Garbage`].
const GARBAGE_BYTES: usize = 256 << 10;

/// What vLLM renamed after 0.10: today's beginning of a name, and the one before.
const RENAMED: [(&str, &str); 3] = [
    ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    ("vllm:prefix_cache_", "vllm:gpu_prefix_cache_"),
    (
        "vllm:inter_token_latency_seconds",
        "vllm:time_per_output_token_seconds",
    ),
];

/// The answer under `fault`; `page` is vLLM's.
pub(super) async fn answer(fault: MetricsFault, page: impl FnOnce() -> String) -> Response {
    match fault {
        MetricsFault::Ok => text(page()),
        MetricsFault::Absent => {
            let detail = Json(json!({"detail": "Not Found"}));
            (StatusCode::NOT_FOUND, detail).into_response()
        }
        MetricsFault::Html => {
            let html = "<!DOCTYPE html>\n<html><body><h1>Log in</h1></body></html>\n";
            ([(header::CONTENT_TYPE, "text/html")], html).into_response()
        }
        MetricsFault::Garbage => text(garbage()),
        MetricsFault::Endless => text(without_end(b"an_unknown_series 1\n")),
        MetricsFault::EndlessLine => text(without_end(b"an_unknown_series")),
        MetricsFault::Huge => text(huge(page())),
        MetricsFault::Silent => std::future::pending().await,
        MetricsFault::Renamed => text(renamed(page())),
    }
}

fn text(body: impl Into<Body>) -> Response {
    let kind = "text/plain; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], body.into()).into_response()
}

fn renamed(page: String) -> String {
    RENAMED
        .iter()
        .fold(page, |page, (now, before)| page.replace(now, before))
}

fn garbage() -> Vec<u8> {
    let mut random = Random::new(0);
    let words = std::iter::repeat_with(|| random.next().to_le_bytes());
    // A byte that stands nowhere in UTF-8 goes first, so that no luck makes it text.
    std::iter::once(0xff)
        .chain(words.flatten())
        .take(GARBAGE_BYTES)
        .collect()
}

/// `bytes` again and again, for as long as someone reads.
fn without_end(bytes: &[u8]) -> Body {
    let piece = Bytes::from(bytes.repeat(PIECE_BYTES / bytes.len()));
    Body::from_stream(stream::repeat(piece).then(said))
}

/// Well-formed series of a family that nobody knows, and then `page`.
fn huge(page: String) -> Body {
    let line = |number: usize| format!("an_unknown_series{{number=\"{number:07}\"}} 1\n");
    let lines = PIECE_BYTES / line(0).len();
    let pieces = HUGE_BYTES / (lines * line(0).len());
    let piece = move |piece: usize| {
        Bytes::from_iter((0..lines).flat_map(|n| line(piece * lines + n).into_bytes()))
    };
    let unknown = stream::iter((0..pieces).map(piece));
    Body::from_stream(unknown.chain(stream::iter([Bytes::from(page)])).then(said))
}

/// Leaves the thread to others, however fast the reader is.
async fn said(piece: Bytes) -> Result<Bytes, std::convert::Infallible> {
    tokio::task::yield_now().await;
    Ok(piece)
}
