//! From arrived bytes to a completion or the reason why there is none: the rules of what counts as an
//! answer, without a socket or a clock.
//!
//! The time of each arrival is handed in and belongs to its bytes, not to their parsing.

use std::time::Duration;

use super::chat::{ChatChunk, ChatCompletion, Usage};
use super::sse::{EventDecoder, EventTooLarge, MAX_EVENT_BYTES};
use crate::measurement::{Arrivals, Completion, FailureReason, FinishReason, RequestError};

/// Room for gaps that is made before the first token; beyond it the list grows as lists do.
const GAPS_AT_FIRST: usize = 4096;

/// Chunks that are accepted for each token asked for, beyond those of [`GAPS_AT_FIRST`]: an answer that is
/// cut finer than its tokens is read to its end and held against its usage, but a server that goes on for
/// ever must not fill the memory with gaps.
const CHUNKS_PER_TOKEN: usize = 16;

/// Chunks with text by which an answer may outnumber the tokens of its usage. A token on the border of
/// reasoning and answer can come as one chunk of each.
///
/// Other chunks are no witnesses at all: an empty one may close the answer without being a token, and
/// some servers make several deltas of a call out of one token.
const SPARE_CHUNKS: u64 = 1;

/// A streamed answer in the making.
#[derive(Debug)]
pub struct StreamedAnswer {
    decoder: EventDecoder,
    reading: Reading,
    most_gaps: usize,
}

/// What the events so far amount to.
#[derive(Debug, Default)]
struct Reading {
    first: Option<Duration>,
    first_content: Option<Duration>,
    last: Duration,
    gaps: Vec<Duration>,
    /// Chunks with text.
    texts: u64,
    usage: Option<Usage>,
    finish_reason: Option<String>,
    system_fingerprint: Option<String>,
    error: Option<RequestError>,
    done: bool,
}

impl StreamedAnswer {
    /// An answer of which nothing has arrived yet, and of which about `tokens` are expected.
    pub fn new(tokens: u32) -> Self {
        let tokens = usize::try_from(tokens).unwrap_or(usize::MAX);
        let reading = Reading {
            gaps: Vec::with_capacity(tokens.min(GAPS_AT_FIRST)),
            ..Reading::default()
        };
        Self {
            decoder: EventDecoder::default(),
            reading,
            most_gaps: tokens
                .saturating_mul(CHUNKS_PER_TOKEN)
                .saturating_add(GAPS_AT_FIRST),
        }
    }

    /// Takes `bytes` that arrived at `at`.
    ///
    /// # Errors
    /// When the stream cannot be read any further. An error that the server reports inside the stream is
    /// kept until [`Self::finish`] instead, so that the body is read to its end and the connection lives.
    pub fn arrive(&mut self, at: Duration, bytes: &[u8]) -> Result<(), RequestError> {
        let Self {
            decoder,
            reading,
            most_gaps,
        } = self;
        decoder
            .feed(bytes, |data| reading.event(at, data))
            .map_err(|EventTooLarge| {
                RequestError::new(
                    FailureReason::TooLarge,
                    format!("an event is larger than {MAX_EVENT_BYTES} bytes"),
                )
            })?;
        if reading.gaps.len() > *most_gaps {
            return Err(RequestError::new(
                FailureReason::TooLarge,
                format!("more than {most_gaps} chunks came, far more than the tokens asked for"),
            ));
        }
        Ok(())
    }

    /// When the last token arrived so far.
    pub fn last_token(&self) -> Option<Duration> {
        self.reading.first.map(|_| self.reading.last)
    }

    /// Takes the clean end of the body for the end of the answer.
    ///
    /// # Errors
    /// With the first thing that keeps the answer from being complete.
    pub fn finish(self) -> Result<Completion, RequestError> {
        let Reading {
            first,
            first_content,
            last,
            gaps,
            texts,
            usage,
            finish_reason,
            system_fingerprint,
            error,
            done,
        } = self.reading;
        if let Some(error) = error {
            return Err(error);
        }
        if !done {
            return Err(RequestError::new(
                FailureReason::Truncated,
                "the body ended without [DONE]",
            ));
        }
        let Some(first) = first else {
            return Err(RequestError::new(
                FailureReason::NoTokens,
                "the stream ended without a token",
            ));
        };
        let arrivals = Arrivals {
            first,
            first_content,
            last,
            gaps,
        };
        let tokens_at_least = texts.saturating_sub(SPARE_CHUNKS).max(1);
        completion(
            finish_reason,
            usage,
            tokens_at_least,
            system_fingerprint,
            Some(arrivals),
        )
    }
}

impl Reading {
    fn event(&mut self, at: Duration, data: &[u8]) {
        if self.done || self.error.is_some() {
            self.done |= data == b"[DONE]";
            return;
        }
        if data == b"[DONE]" {
            self.done = true;
            return;
        }
        match serde_json::from_slice(data) {
            Ok(chunk) => self.chunk(at, chunk),
            Err(error) => self.error = Some(not_json(data, &error)),
        }
    }

    fn chunk(&mut self, at: Duration, chunk: ChatChunk<'_>) {
        if let Some(error) = chunk.error {
            self.error = Some(RequestError::new(FailureReason::StreamError, error.0));
            return;
        }
        if let Some(choice) = chunk.choice {
            if choice.delta.bears_token() {
                match self.first {
                    None => self.first = Some(at),
                    Some(_) => self.gaps.push(at.saturating_sub(self.last)),
                }
                self.last = at;
                self.texts += u64::from(choice.delta.bears_text());
                if self.first_content.is_none() && choice.delta.bears_content() {
                    self.first_content = Some(at);
                }
            }
            if choice.finish_reason.is_some() {
                self.finish_reason = choice.finish_reason;
            }
        }
        if chunk.usage.is_some() {
            self.usage = chunk.usage;
        }
        if let (None, Some(fingerprint)) = (&self.system_fingerprint, chunk.system_fingerprint) {
            self.system_fingerprint = Some(fingerprint.0.into_owned());
        }
    }
}

/// Reads the body of an answer that was not streamed.
///
/// # Errors
/// With the first thing that keeps it from being a completion.
pub fn whole_answer(body: &[u8]) -> Result<Completion, RequestError> {
    let answer: ChatCompletion<'_> =
        serde_json::from_slice(body).map_err(|error| not_json(body, &error))?;
    if let Some(error) = answer.error {
        return Err(RequestError::new(FailureReason::StreamError, error.0));
    }
    let choice = answer.choice.unwrap_or_default();
    if !choice.message.says_something() {
        return Err(RequestError::new(
            FailureReason::NoTokens,
            "the answer's message is empty",
        ));
    }
    completion(
        choice.finish_reason,
        answer.usage,
        1,
        answer.system_fingerprint.map(|word| word.0.into_owned()),
        None,
    )
}

fn completion(
    finish_reason: Option<String>,
    usage: Option<Usage>,
    tokens_at_least: u64,
    system_fingerprint: Option<String>,
    arrivals: Option<Arrivals>,
) -> Result<Completion, RequestError> {
    let finish_reason = finish_reason
        .ok_or_else(|| RequestError::new(FailureReason::BadFinish, "no finish_reason came"))?;
    let finish_reason = FinishReason::from_label(&finish_reason).ok_or_else(|| {
        RequestError::new(
            FailureReason::BadFinish,
            format!("finish_reason is {finish_reason:?}"),
        )
    })?;
    let usage = usage.ok_or_else(|| {
        RequestError::new(FailureReason::NoUsage, "no usage came; start vLLM with --enable-force-include-usage, or let stream_options through")
    })?;
    if usage.completion_tokens < tokens_at_least {
        let told = usage.completion_tokens;
        return Err(RequestError::new(
            FailureReason::BadUsage,
            format!("usage tells of {told} completion tokens, at least {tokens_at_least} came"),
        ));
    }
    Ok(Completion {
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        cached_tokens: usage.cached_tokens(),
        finish_reason,
        arrivals,
        system_fingerprint,
    })
}

fn not_json(bytes: &[u8], error: &serde_json::Error) -> RequestError {
    RequestError::new(
        FailureReason::BadJson,
        format!(
            "{error}: {}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(200)])
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The chunks of a captured HTTP/1.1 answer with chunked transfer encoding.
    fn chunks(capture: &str) -> Vec<Vec<u8>> {
        let bytes = std::fs::read(format!(
            "{}/tests/testdata/vllm-0.13.0/{capture}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .unwrap();
        let mut rest = &bytes[memchr::memmem::find(&bytes, b"\r\n\r\n").unwrap() + 4..];
        let mut chunks = Vec::new();
        loop {
            let line_end = memchr::memmem::find(rest, b"\r\n").unwrap();
            let size =
                usize::from_str_radix(std::str::from_utf8(&rest[..line_end]).unwrap(), 16).unwrap();
            if size == 0 {
                return chunks;
            }
            chunks.push(rest[line_end + 2..][..size].to_vec());
            rest = &rest[line_end + 2 + size + 2..];
        }
    }

    /// Reads a capture with its n-th chunk arriving n milliseconds after the request.
    fn read(capture: &str) -> Result<Completion, RequestError> {
        let mut answer = StreamedAnswer::new(256);
        for (n, chunk) in (0u32..).zip(chunks(capture)) {
            answer.arrive(MS * n, &chunk)?;
        }
        answer.finish()
    }

    #[test]
    fn a_stream_of_vllm_is_timed_from_its_first_token_not_from_its_role() {
        for capture in [
            "raw_stream_usage.txt",
            "raw_stream.txt",
            "raw_stream_cont.txt",
        ] {
            let completion = read(capture).unwrap();
            let arrivals = completion.arrivals.unwrap();
            assert_eq!(arrivals.first, MS, "{capture}: chunk 0 is the role");
            assert_eq!(arrivals.first_content, Some(MS), "{capture}");
            let chunks = chunks(capture).len() as u32;
            assert_eq!(
                arrivals.last,
                MS * (chunks - 3),
                "{capture}: usage and [DONE] follow the last token"
            );
            assert_eq!(arrivals.gaps.len() as u32, chunks - 4, "{capture}");
            assert_eq!(
                (completion.prompt_tokens, completion.completion_tokens),
                (121, 256),
                "{capture}"
            );
            assert_eq!(completion.finish_reason, FinishReason::Length, "{capture}");
        }
    }

    #[test]
    fn tokens_are_counted_by_usage_when_a_chunk_carries_several() {
        let completion = read("raw_stream_interval8.txt").unwrap();
        assert_eq!(completion.completion_tokens, 256);
        assert!(completion.arrivals.unwrap().gaps.len() < 40);
    }

    #[test]
    fn an_error_inside_the_stream_is_a_failure_with_the_servers_words() {
        let error = read("raw_enginedead_stream.txt").unwrap_err();
        assert_eq!(error.reason, FailureReason::StreamError);
        assert!(
            error.detail.starts_with("EngineCore encountered an issue."),
            "{}",
            error.detail
        );
    }

    #[test]
    fn an_answer_without_usage_is_a_failure() {
        assert_eq!(
            read("raw_noforce_stream.txt").unwrap_err().reason,
            FailureReason::NoUsage
        );
    }

    #[test]
    fn each_way_to_be_incomplete_has_its_reason() {
        const TOKEN: &str = r#"data: {"choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#;
        const LAST: &str =
            r#"data: {"choices":[{"delta":{"content":"b"},"finish_reason":"length"}]}"#;
        const ABORT: &str =
            r#"data: {"choices":[{"delta":{"content":"b"},"finish_reason":"abort"}]}"#;
        const USAGE: &str =
            r#"data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
        const DONE: &str = "data: [DONE]";
        for (events, reason) in [
            (vec![], FailureReason::Truncated),
            (vec![DONE], FailureReason::NoTokens),
            (vec![TOKEN, LAST, USAGE], FailureReason::Truncated),
            (vec![TOKEN, USAGE, DONE], FailureReason::BadFinish),
            (vec![TOKEN, ABORT, USAGE, DONE], FailureReason::BadFinish),
            (vec![TOKEN, LAST, DONE], FailureReason::NoUsage),
            (
                vec![TOKEN, TOKEN, TOKEN, LAST, USAGE, DONE],
                FailureReason::BadUsage,
            ),
            (
                vec![TOKEN, "data: {oops", LAST, USAGE, DONE],
                FailureReason::BadJson,
            ),
            (
                vec![TOKEN, r#"data: {"error":"no"}"#, DONE],
                FailureReason::StreamError,
            ),
        ] {
            let mut answer = StreamedAnswer::new(2);
            for event in &events {
                answer
                    .arrive(MS, format!("{event}\n\n").as_bytes())
                    .unwrap();
            }
            assert_eq!(answer.finish().unwrap_err().reason, reason, "{events:?}");
        }
    }

    #[test]
    fn usage_is_held_against_the_text_that_came_and_nothing_else() {
        const ROLE: &str = r#"{"role":"assistant","content":""}"#;
        const THOUGHT: &str = r#"{"reasoning_content":"a"}"#;
        const TEXT: &str = r#"{"content":"a"}"#;
        const EMPTY: &str = r#"{"content":""}"#;
        const CALL: &str = r#"{"tool_calls":[{"function":{"arguments":"a"}}]}"#;
        for (what, deltas, told, is_believed) in [
            ("a token a chunk", vec![ROLE, TEXT, TEXT, TEXT], 3, true),
            ("several tokens a chunk", vec![ROLE, TEXT, TEXT], 9, true),
            ("an empty end", vec![ROLE, TEXT, TEXT, EMPTY], 2, true),
            (
                "halves of characters",
                vec![EMPTY, TEXT, EMPTY, TEXT],
                4,
                true,
            ),
            (
                "a border of reasoning",
                vec![THOUGHT, THOUGHT, TEXT, TEXT, EMPTY],
                3,
                true,
            ),
            ("reasoning alone", vec![THOUGHT, THOUGHT, THOUGHT], 3, true),
            ("a call in pieces", vec![CALL, CALL, CALL, CALL], 1, true),
            ("too few for the text", vec![TEXT, TEXT, TEXT], 1, false),
            (
                "too few for the reasoning",
                vec![THOUGHT, THOUGHT, THOUGHT],
                1,
                false,
            ),
            ("none for a text", vec![TEXT], 0, false),
            ("none for a half of a character", vec![EMPTY], 0, false),
            ("none for a call", vec![CALL], 0, false),
        ] {
            let mut answer = StreamedAnswer::new(4);
            let mut say = |event: String| answer.arrive(MS, event.as_bytes()).unwrap();
            for delta in &deltas {
                say(format!("data: {{\"choices\":[{{\"delta\":{delta}}}]}}\n\n"));
            }
            say(format!(
                "data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"stop\"}}],\
                 \"usage\":{{\"prompt_tokens\":1,\"completion_tokens\":{told}}}}}\n\ndata: [DONE]\n\n"
            ));
            let reason = answer.finish().err().map(|error| error.reason);
            let expected = (!is_believed).then_some(FailureReason::BadUsage);
            assert_eq!(reason, expected, "{what}");
        }
        let whole = |told: u32| {
            whole_answer(
                format!(
                    "{{\"choices\":[{{\"message\":{{\"content\":\"a b c\"}},\"finish_reason\":\"stop\"}}],\
                     \"usage\":{{\"prompt_tokens\":1,\"completion_tokens\":{told}}}}}"
                )
                .as_bytes(),
            )
        };
        assert_eq!(whole(0).unwrap_err().reason, FailureReason::BadUsage);
        assert!(whole(1).is_ok());
    }

    #[test]
    fn every_captured_stream_of_vllm_agrees_with_its_usage() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/vllm-0.13.0");
        let mut streams = 0;
        for file in std::fs::read_dir(directory).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            if name.starts_with("raw_") {
                let reason = read(&name).err().map(|error| error.reason);
                assert_ne!(reason, Some(FailureReason::BadUsage), "{name}");
                streams += 1;
            }
        }
        assert!(streams >= 6, "only {streams} captures were found");
    }

    #[test]
    fn a_whole_answer_is_read_without_arrivals() {
        let captured = |name: &str| {
            std::fs::read(format!(
                "{}/tests/testdata/vllm-0.13.0/{name}",
                env!("CARGO_MANIFEST_DIR")
            ))
            .unwrap()
        };
        let plain = whole_answer(&captured("resp_plain.body")).unwrap();
        assert_eq!(
            (
                plain.prompt_tokens,
                plain.completion_tokens,
                plain.finish_reason
            ),
            (121, 256, FinishReason::Length)
        );
        assert!(plain.arrivals.is_none());
        let stopped = whole_answer(&captured("resp_stop.body")).unwrap();
        assert_eq!(
            (stopped.completion_tokens, stopped.finish_reason),
            (2, FinishReason::Stop)
        );
        let refused = whole_answer(&captured("resp_wrongmodel.body")).unwrap_err();
        assert_eq!(refused.reason, FailureReason::StreamError);
    }
}
