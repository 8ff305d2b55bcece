//! The bytes of an answer, as vLLM 0.13.0 writes them: the events of a stream and the body without one.

use bytes::Bytes;
use serde::Serialize;

use super::refusal::ENGINE_DEAD;
use super::sequence::Progress;

/// The simulated model's vocabulary, in the order in which it speaks, over and over. The empty token is
/// the first half of a character of two tokens, for which vLLM sends an event without text.
const VOCABULARY: [&str; 48] = [
    "A",
    " scheduler",
    " keeps",
    " the",
    " batch",
    " full",
    ":",
    " each",
    " step",
    " reads",
    " the",
    " weights",
    " once",
    " and",
    " gives",
    " every",
    " running",
    " sequence",
    " one",
    " token",
    ".",
    " Prompts",
    " that",
    " begin",
    " alike",
    " share",
    " their",
    " blocks",
    ",",
    " so",
    " only",
    " the",
    " last",
    " few",
    " tokens",
    " are",
    " computed",
    ".",
    " Who",
    " comes",
    " late",
    " waits",
    " for",
    " the",
    " next",
    " step",
    "",
    " 🙂.",
];

fn token(index: u32) -> &'static str {
    VOCABULARY[index as usize % VOCABULARY.len()]
}

fn text(tokens: u32) -> String {
    (0..tokens).map(token).collect()
}

/// What an answer says of its tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct UsageOptions {
    /// An event with the usage ends the stream.
    pub(super) at_the_end: bool,
    /// Every event carries the usage so far.
    pub(super) continuous: bool,
    /// Usage says how many prompt tokens were cached, as with `--enable-prompt-tokens-details`.
    pub(super) details: bool,
}

/// One answer's unchanging parts.
#[derive(Debug)]
pub(super) struct Answer {
    id: String,
    created: i64,
    model: String,
    prompt_tokens: u32,
    usage: UsageOptions,
    /// What every event of the stream begins with.
    event_head: String,
}

impl Answer {
    pub(super) fn new(
        id: String,
        created: i64,
        model: &str,
        prompt_tokens: u32,
        usage: UsageOptions,
    ) -> Self {
        let quoted_model = serde_json::Value::from(model);
        Self {
            event_head: format!(
                r#"data: {{"id":"{id}","object":"chat.completion.chunk","created":{created},"model":{quoted_model},"choices":["#
            ),
            id,
            created,
            model: model.to_owned(),
            prompt_tokens,
            usage,
        }
    }

    /// The first event: the role, and no token.
    pub(super) fn role_event(&self) -> Bytes {
        let usage = self.continuous_usage(0);
        let head = &self.event_head;
        Bytes::from(format!(
            "{head}{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"\",\"reasoning_content\":null}},\
             \"logprobs\":null,\"finish_reason\":null}}]{usage},\"prompt_token_ids\":null}}\n\n"
        ))
    }

    /// The event for the tokens after the first `sent` up to `progress`: one token, or several for a
    /// reader that fell behind.
    pub(super) fn token_event(&self, sent: u32, progress: Progress) -> Bytes {
        let mut event = String::with_capacity(self.event_head.len() + 256);
        event.push_str(&self.event_head);
        event.push_str(r#"{"index":0,"delta":{"content":""#);
        // The vocabulary needs no escapes.
        event.extend((sent..progress.tokens).map(token));
        event.push_str(r#"","reasoning_content":null},"logprobs":null,"finish_reason":"#);
        match progress.finish {
            None => event.push_str("null"),
            Some(finish) => event.extend(["\"", finish.label(), "\",\"stop_reason\":null"]),
        }
        event.push_str(r#","token_ids":null}]"#);
        event.push_str(&self.continuous_usage(progress.tokens));
        event.push_str("}\n\n");
        Bytes::from(event)
    }

    /// The event with the usage and no choices, if one is wanted.
    pub(super) fn usage_event(&self, progress: Progress) -> Option<Bytes> {
        let details = match progress.cached_tokens {
            cached @ 1.. if self.usage.details => {
                format!(r#","prompt_tokens_details":{{"cached_tokens":{cached}}}"#)
            }
            _ => String::new(),
        };
        self.usage.at_the_end.then(|| {
            let counts = self.counts(progress.tokens);
            Bytes::from(format!(
                "{}],\"usage\":{{{counts}{details}}}}}\n\n",
                self.event_head
            ))
        })
    }

    /// The body without a stream, with or without usage.
    pub(super) fn body(&self, progress: Progress, with_usage: bool) -> String {
        let cached = progress.cached_tokens;
        let body = Body {
            id: &self.id,
            object: "chat.completion",
            created: self.created,
            model: &self.model,
            choices: [Choice {
                index: 0,
                message: Message {
                    role: "assistant",
                    content: text(progress.tokens),
                    refusal: None,
                    annotations: None,
                    audio: None,
                    function_call: None,
                    tool_calls: [],
                    reasoning: None,
                    reasoning_content: None,
                },
                logprobs: None,
                finish_reason: progress.finish.map_or("stop", |finish| finish.label()),
                stop_reason: None,
                token_ids: None,
            }],
            service_tier: None,
            system_fingerprint: None,
            usage: with_usage.then_some(Usage {
                prompt_tokens: self.prompt_tokens,
                total_tokens: self.prompt_tokens + progress.tokens,
                completion_tokens: progress.tokens,
                prompt_tokens_details: (self.usage.details && cached > 0).then_some(
                    PromptTokensDetails {
                        cached_tokens: cached,
                    },
                ),
            }),
            prompt_logprobs: None,
            prompt_token_ids: None,
            kv_transfer_params: None,
        };
        serde_json::to_string(&body).expect("text and numbers are JSON")
    }

    fn continuous_usage(&self, tokens: u32) -> String {
        match self.usage.continuous {
            true => format!(r#","usage":{{{}}}"#, self.counts(tokens)),
            false => String::new(),
        }
    }

    fn counts(&self, tokens: u32) -> String {
        let (prompt, total) = (self.prompt_tokens, self.prompt_tokens + tokens);
        format!(r#""prompt_tokens":{prompt},"total_tokens":{total},"completion_tokens":{tokens}"#)
    }
}

/// What ends a stream.
pub(super) const DONE_EVENT: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

/// What vLLM says in mid-stream when its engine dies.
pub(super) fn error_event() -> Bytes {
    Bytes::from(format!(
        "data: {{\"error\": {{\"message\": \"{ENGINE_DEAD}\", \"type\": \"BadRequestError\", \"param\": null, \
         \"code\": 400}}}}\n\n"
    ))
}

/// What vLLM always leaves empty for a plain chat.
type Absent = Option<()>;

#[derive(Serialize)]
struct Body<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: [Choice; 1],
    service_tier: Absent,
    system_fingerprint: Absent,
    usage: Option<Usage>,
    prompt_logprobs: Absent,
    prompt_token_ids: Absent,
    kv_transfer_params: Absent,
}

#[derive(Serialize)]
struct Choice {
    index: u32,
    message: Message,
    logprobs: Absent,
    finish_reason: &'static str,
    stop_reason: Absent,
    token_ids: Absent,
}

#[derive(Serialize)]
struct Message {
    role: &'static str,
    content: String,
    refusal: Absent,
    annotations: Absent,
    audio: Absent,
    function_call: Absent,
    tool_calls: [(); 0],
    reasoning: Absent,
    reasoning_content: Absent,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u32,
    total_tokens: u32,
    completion_tokens: u32,
    prompt_tokens_details: Option<PromptTokensDetails>,
}

#[derive(Serialize)]
struct PromptTokensDetails {
    cached_tokens: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vocabulary_stands_in_json_as_it_is() {
        for token in VOCABULARY {
            assert_eq!(
                serde_json::to_string(token).unwrap(),
                format!("\"{token}\"")
            );
        }
    }
}
