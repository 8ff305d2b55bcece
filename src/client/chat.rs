//! The JSON of the chat completions API: the request that is sent, and of the answers only what is needed.
//!
//! A chunk is read borrowing from the bytes it came in: no text of the model is copied, only whether
//! there was any. Unknown fields are passed over, so that every vLLM version reads alike.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::workload::Workload;

/// The body of `POST /v1/chat/completions` for one request of `workload`.
pub fn request_body(workload: &Workload, model: &str, cache_salt: Option<&str>) -> Vec<u8> {
    let request = ChatRequest {
        model,
        messages: [Message {
            role: "user",
            content: &workload.prompt,
        }],
        max_tokens: workload.max_tokens,
        temperature: workload.temperature,
        stream: workload.stream.then_some(true),
        stream_options: workload.stream.then_some(StreamOptions {
            include_usage: true,
        }),
        min_tokens: workload.min_tokens,
        ignore_eos: workload.ignore_eos.then_some(true),
        chat_template_kwargs: workload.chat_template_kwargs.as_ref(),
        priority: workload.priority,
        cache_salt,
        extra_body: &workload.extra_body,
    };
    serde_json::to_vec(&request).expect("a struct of strings and finite numbers is always JSON")
}

/// Fields that are at the API's default are left out, so that servers other than vLLM accept them too.
#[derive(Serialize)]
struct ChatRequest<'a> {
    model: &'a str,
    messages: [Message<'a>; 1],
    max_tokens: u32,
    temperature: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore_eos: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_template_kwargs: Option<&'a serde_json::Map<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_salt: Option<&'a str>,
    #[serde(flatten)]
    extra_body: &'a serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'a str,
    content: &'a str,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// One event of a streamed answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ChatChunk<'a> {
    /// The first choice, if the chunk has one; a usage chunk has none.
    #[serde(rename = "choices", deserialize_with = "first")]
    pub choice: Option<ChunkChoice>,
    /// Tokens so far, or in all; the last one counts.
    pub usage: Option<Usage>,
    /// vLLM reports errors inside a stream that began with HTTP 200.
    pub error: Option<ErrorBody>,
    /// Changes when the server's configuration does; later versions send it with every chunk.
    #[serde(borrow)]
    pub system_fingerprint: Option<Word<'a>>,
}

/// The choice of a chunk.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ChunkChoice {
    /// What the chunk adds to the answer.
    #[serde(deserialize_with = "or_default")]
    pub delta: Delta,
    /// Set on the last chunk of the choice.
    pub finish_reason: Option<String>,
}

/// What a chunk, or a whole answer, has to say.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Delta {
    role: Key,
    content: Text,
    reasoning: Text,
    reasoning_content: Text,
    tool_calls: Text,
    function_call: Text,
}

impl Delta {
    /// Whether the chunk stands for generated tokens: it carries text, reasoning or a call, or it carries
    /// an empty `content` without a `role` (a token whose bytes do not yet make a character). vLLM's
    /// role-only first chunk is none.
    pub fn bears_token(&self) -> bool {
        self.bears_content()
            || [
                self.reasoning,
                self.reasoning_content,
                self.tool_calls,
                self.function_call,
            ]
            .contains(&Text::Some)
            || (self.content == Text::Empty && self.role == Key::Missing)
    }

    /// Whether the chunk carries visible text.
    pub fn bears_content(&self) -> bool {
        self.content == Text::Some
    }

    /// Whether the chunk carries text that the model wrote, visible or as reasoning.
    pub fn bears_text(&self) -> bool {
        [self.content, self.reasoning, self.reasoning_content].contains(&Text::Some)
    }

    /// Whether a whole message says anything at all.
    pub fn says_something(&self) -> bool {
        [
            self.content,
            self.reasoning,
            self.reasoning_content,
            self.tool_calls,
            self.function_call,
        ]
        .contains(&Text::Some)
    }
}

/// A whole answer that was not streamed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ChatCompletion<'a> {
    /// The first choice.
    #[serde(rename = "choices", deserialize_with = "first")]
    pub choice: Option<CompletionChoice>,
    /// Tokens of the prompt and of the answer.
    pub usage: Option<Usage>,
    /// An error in place of an answer.
    pub error: Option<ErrorBody>,
    /// As in [`ChatChunk`].
    #[serde(borrow)]
    pub system_fingerprint: Option<Word<'a>>,
}

/// The choice of a whole answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct CompletionChoice {
    /// The answer.
    #[serde(deserialize_with = "or_default")]
    pub message: Delta,
    /// Why it ended.
    pub finish_reason: Option<String>,
}

/// Tokens as the server counts them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt after the chat template.
    pub prompt_tokens: u64,
    /// Tokens generated.
    #[serde(default)]
    pub completion_tokens: u64,
    #[serde(default)]
    prompt_tokens_details: Option<PromptTokensDetails>,
}

impl Usage {
    /// Prompt tokens that came from the prefix cache, when the server says so.
    pub fn cached_tokens(&self) -> Option<u64> {
        self.prompt_tokens_details
            .and_then(|details| details.cached_tokens)
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
struct PromptTokensDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

/// The server's own words about an error. vLLM sends an object, its key check a mere string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorBody(pub String);

impl<'de> Deserialize<'de> for ErrorBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let message = value
            .get("message")
            .and_then(|message| message.as_str())
            .or(value.as_str());
        Ok(Self(
            message.map_or_else(|| value.to_string(), str::to_owned),
        ))
    }
}

/// The message in the body of an HTTP error: either of vLLM's shapes, or the body as it is.
pub fn error_message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Failure {
        error: Option<ErrorBody>,
        detail: Option<ErrorBody>,
    }
    match serde_json::from_slice::<Failure>(body) {
        Ok(
            Failure {
                error: Some(said), ..
            }
            | Failure {
                detail: Some(said), ..
            },
        ) => said.0,
        _ => String::from_utf8_lossy(body).into_owned(),
    }
}

/// A string that is borrowed from the bytes it was read from, unless it holds escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordVisitor;

        impl<'de> Visitor<'de> for WordVisitor {
            type Value = Word<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, word: &'de str) -> Result<Word<'de>, E> {
                Ok(Word(Cow::Borrowed(word)))
            }

            fn visit_str<E>(self, word: &str) -> Result<Word<'de>, E> {
                Ok(Word(Cow::Owned(word.to_owned())))
            }
        }

        deserializer.deserialize_str(WordVisitor)
    }
}

/// Whether a key is there at all, whatever its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Key {
    #[default]
    Missing,
    There,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self::There)
    }
}

/// Whether a value says something. The text itself is never kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Text {
    /// Missing or null.
    #[default]
    None,
    /// An empty string, list or object.
    Empty,
    /// Anything else.
    Some,
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a list, an object or null")
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text::None)
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(if text.is_empty() {
            Text::Empty
        } else {
            Text::Some
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Text, A::Error> {
        let mut text = Text::Empty;
        while items.next_element::<IgnoredAny>()?.is_some() {
            text = Text::Some;
        }
        Ok(text)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Text, A::Error> {
        let mut text = Text::Empty;
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            text = Text::Some;
        }
        Ok(text)
    }
}

/// Reads the first item of a list and passes over the rest: no list is built for a token.
fn first<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    struct First<T>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for First<T> {
        type Value = Option<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of choices")
        }

        fn visit_unit<E>(self) -> Result<Option<T>, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<T>, A::Error> {
            let first = items.next_element()?;
            while items.next_element::<IgnoredAny>()?.is_some() {}
            Ok(first)
        }
    }

    deserializer.deserialize_any(First(std::marker::PhantomData))
}

/// Takes null for what is not there.
fn or_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_bears_a_token_when_it_says_something_or_an_empty_content_without_a_role() {
        for (delta, bears_token, bears_content) in [
            (r#"{"content":"a"}"#, true, true),
            (r#"{"content":"","reasoning_content":null}"#, true, false),
            (
                r#"{"role":"assistant","content":"","reasoning_content":null}"#,
                false,
                false,
            ),
            (r#"{"role":null,"content":""}"#, false, false),
            (r#"{"role":"assistant","content":"a"}"#, true, true),
            (r#"{"content":null}"#, false, false),
            (r#"{}"#, false, false),
            (r#"{"reasoning":"hm"}"#, true, false),
            (r#"{"reasoning_content":"hm","content":null}"#, true, false),
            (r#"{"tool_calls":[]}"#, false, false),
            (r#"{"tool_calls":[{"index":0}]}"#, true, false),
            (r#"{"function_call":{"name":"f"}}"#, true, false),
            (r#"{"content":[{"type":"text","text":"a"}]}"#, true, true),
        ] {
            let read: Delta = serde_json::from_str(delta).unwrap();
            assert_eq!(read.bears_token(), bears_token, "{delta}");
            assert_eq!(read.bears_content(), bears_content, "{delta}");
        }
    }

    #[test]
    fn shapes_of_other_servers_are_tolerated() {
        for chunk in [
            r#"{"choices":null,"usage":null}"#,
            r#"{"choices":[],"unknown":{"a":[1]}}"#,
            r#"{"choices":[{"delta":null,"finish_reason":null}]}"#,
            r#"{"choices":[{"index":0},{"index":1,"delta":{"content":"b"}}]}"#,
            r#"{"usage":{"prompt_tokens":3,"prompt_tokens_details":null}}"#,
        ] {
            serde_json::from_str::<ChatChunk<'_>>(chunk)
                .unwrap_or_else(|error| panic!("{chunk}: {error}"));
        }
    }

    #[test]
    fn the_servers_words_are_found_in_each_shape_of_error() {
        for (body, message) in [
            (
                r#"{"error":{"message":"The model `x` does not exist.","code":404}}"#,
                "The model `x` does not exist.",
            ),
            (r#"{"error":"Unauthorized"}"#, "Unauthorized"),
            (r#"{"detail":"Not Found"}"#, "Not Found"),
            ("upstream timed out", "upstream timed out"),
            (r#"{"error":{"code":7}}"#, r#"{"code":7}"#),
        ] {
            assert_eq!(error_message(body.as_bytes()), message);
        }
    }

    #[test]
    fn the_request_is_the_references_and_no_more_than_asked() {
        let mut workload = Workload::reference("Hello");
        workload.stream = false;
        assert_eq!(
            String::from_utf8(request_body(&workload, "m", None)).unwrap(),
            r#"{"model":"m","messages":[{"role":"user","content":"Hello"}],"max_tokens":256,"temperature":0.0}"#
        );
        workload.stream = true;
        workload.ignore_eos = true;
        assert_eq!(
            String::from_utf8(request_body(&workload, "m", Some("salt"))).unwrap(),
            concat!(
                r#"{"model":"m","messages":[{"role":"user","content":"Hello"}],"max_tokens":256,"temperature":0.0,"#,
                r#""stream":true,"stream_options":{"include_usage":true},"ignore_eos":true,"cache_salt":"salt"}"#
            )
        );
    }
}
