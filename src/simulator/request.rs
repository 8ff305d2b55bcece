//! Reads a chat completion request as vLLM 0.13 does: what it does not know it ignores, what it cannot
//! use it refuses in its own words.

use serde_json::{Map, Value};

use super::kv_cache::Prompt;
use super::python::repr;
use super::refusal::Refusal;
use super::sequence::Request;

/// How many bytes of a chat a token stands for, without a tokenizer: such that the reference prompt
/// counts the reference's 110 tokens, the markers of the chat template included.
const BYTES_PER_TOKEN: f64 = 5.155;

/// A request that is well-formed, but may still ask for what the model does not have.
#[derive(Debug)]
pub(super) struct ChatRequest {
    /// Without one, the served model is meant.
    pub(super) model: Option<String>,
    /// All messages under the chat template.
    chat: String,
    max_tokens: Option<u32>,
    min_tokens: u32,
    ignore_eos: bool,
    temperature: f64,
    cache_salt: Option<String>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) continuous_usage: bool,
}

/// What the deployment allows and counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) max_model_len: u32,
    /// What every prompt counts, in place of an estimate from its text.
    pub(super) prompt_tokens: Option<u32>,
    /// Whether the model ends its answers early, where the request lets it.
    pub(super) stops_early: bool,
}

impl ChatRequest {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let json: Value = serde_json::from_slice(body).map_err(|error| not_json(body, &error))?;
        let Value::Object(json) = json else {
            let message = "Input should be a valid dictionary or object to extract fields from";
            return Err(Refusal::invalid(vec![detail(
                "model_attributes_type",
                "",
                message,
                &json,
            )]));
        };
        let mut fields = Fields {
            json: &json,
            mistakes: Vec::new(),
        };
        let request = Self {
            model: fields.text("model"),
            chat: fields.chat(),
            max_tokens: fields
                .integer("max_completion_tokens")
                .or(fields.integer("max_tokens")),
            min_tokens: fields.integer("min_tokens").unwrap_or(0),
            ignore_eos: fields.flag("ignore_eos"),
            temperature: fields.number("temperature").unwrap_or(1.0),
            cache_salt: fields.text("cache_salt"),
            stream: fields.flag("stream"),
            include_usage: fields.stream_option("include_usage"),
            continuous_usage: fields.stream_option("continuous_usage_stats"),
        };
        if !request.stream
            && json
                .get("stream_options")
                .is_some_and(|options| !options.is_null())
        {
            fields.mistakes.push(stream_options_without_stream(&json));
        }
        match fields.mistakes.is_empty() {
            true => Ok(request),
            false => Err(Refusal::invalid(fields.mistakes)),
        }
    }

    /// What the engine is to do, if the model can.
    pub(super) fn resolve(&self, bounds: &Bounds) -> Result<Request, Refusal> {
        let tokens = bounds
            .prompt_tokens
            .unwrap_or_else(|| estimated_tokens(&self.chat))
            .max(1);
        let room = bounds.max_model_len.saturating_sub(tokens);
        if room == 0 {
            return Err(Refusal::bad_request(format!(
                "This model's maximum context length is {} tokens. However, your request has {tokens} input \
                 tokens. Please reduce the length of the input messages.",
                bounds.max_model_len
            )));
        }
        let max_tokens = self.max_tokens.unwrap_or(room);
        if max_tokens > room {
            return Err(Refusal::bad_request(format!(
                "'max_tokens' or 'max_completion_tokens' is too large: {max_tokens}. This model's maximum \
                 context length is {len} tokens and your request has {tokens} input tokens ({max_tokens} > \
                 {len} - {tokens}). None",
                len = bounds.max_model_len
            )));
        }
        if max_tokens == 0 {
            return Err(Refusal::bad_request(
                "max_tokens must be at least 1, got 0.".into(),
            ));
        }
        if self.temperature < 0.0 {
            return Err(Refusal::bad_request(format!(
                "temperature must be non-negative, got {:?}.",
                self.temperature
            )));
        }
        if self.min_tokens > max_tokens {
            return Err(Refusal::bad_request(format!(
                "min_tokens must be less than or equal to max_tokens={max_tokens}, got {}.",
                self.min_tokens
            )));
        }
        let bytes_per_token = match bounds.prompt_tokens {
            Some(tokens) => self.chat.len() as f64 / f64::from(tokens.max(1)),
            None => BYTES_PER_TOKEN,
        };
        let salt = self.cache_salt.as_deref();
        Ok(Request {
            prompt: Prompt::new(&self.chat, tokens, bytes_per_token, salt),
            max_tokens,
            stops_after: (bounds.stops_early && !self.ignore_eos)
                .then(|| (max_tokens / 4).max(self.min_tokens).max(1))
                .filter(|&stop| stop < max_tokens),
        })
    }
}

fn estimated_tokens(chat: &str) -> u32 {
    (chat.len() as f64 / BYTES_PER_TOKEN).ceil() as u32
}

/// Reads fields leniently, as pydantic does, and gathers every mistake.
struct Fields<'a> {
    json: &'a Map<String, Value>,
    mistakes: Vec<String>,
}

impl<'a> Fields<'a> {
    /// A field that is there and is not null.
    fn present(&self, name: &str) -> Option<&'a Value> {
        self.json.get(name).filter(|value| !value.is_null())
    }

    fn mistaken<T>(&mut self, kind: &str, name: &str, message: &str, value: &Value) -> Option<T> {
        self.mistakes.push(detail(kind, name, message, value));
        None
    }

    fn text(&mut self, name: &str) -> Option<String> {
        match self.present(name)? {
            Value::String(text) => Some(text.clone()),
            other => self.mistaken("string_type", name, "Input should be a valid string", other),
        }
    }

    fn integer(&mut self, name: &str) -> Option<u32> {
        let value = self.present(name)?;
        match value {
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or(f64::NAN);
                if number.fract() != 0.0 {
                    let message =
                        "Input should be a valid integer, got a number with a fractional part";
                    return self.mistaken("int_from_float", name, message, value);
                }
                // A float-to-int cast saturates: what is below 0 counts as 0, and is refused as such.
                Some(number as u32)
            }
            Value::String(text) => match text.trim().parse() {
                Ok(number) => Some(number),
                Err(_) => {
                    let message =
                        "Input should be a valid integer, unable to parse string as an integer";
                    self.mistaken("int_parsing", name, message, value)
                }
            },
            other => self.mistaken("int_type", name, "Input should be a valid integer", other),
        }
    }

    fn number(&mut self, name: &str) -> Option<f64> {
        let value = self.present(name)?;
        match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => match text.trim().parse() {
                Ok(number) => Some(number),
                Err(_) => {
                    let message =
                        "Input should be a valid number, unable to parse string as a number";
                    self.mistaken("float_parsing", name, message, value)
                }
            },
            other => self.mistaken("float_type", name, "Input should be a valid number", other),
        }
    }

    fn flag(&mut self, name: &str) -> bool {
        let Some(value) = self.present(name) else {
            return false;
        };
        self.boolean(name, value)
    }

    fn boolean(&mut self, name: &str, value: &Value) -> bool {
        let read = match value {
            Value::Bool(flag) => Some(*flag),
            Value::Number(number) => number.as_u64().filter(|&n| n < 2).map(|n| n == 1),
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        };
        let message = "Input should be a valid boolean, unable to interpret input";
        read.or_else(|| self.mistaken("bool_parsing", name, message, value))
            .unwrap_or_default()
    }

    fn stream_option(&mut self, name: &str) -> bool {
        let option = self
            .present("stream_options")
            .and_then(|options| options.get(name));
        option.is_some_and(|value| self.boolean(name, value))
    }

    /// Every message under the markers of Qwen's chat template.
    fn chat(&mut self) -> String {
        let Some(value) = self.json.get("messages") else {
            let all = Value::Object(self.json.clone());
            return self
                .mistaken("missing", "messages", "Field required", &all)
                .unwrap_or_default();
        };
        let Value::Array(messages) = value else {
            let message = "Input should be a valid list";
            return self
                .mistaken("list_type", "messages", message, value)
                .unwrap_or_default();
        };
        let mut chat = String::new();
        for message in messages {
            let role = message["role"].as_str().unwrap_or_default();
            chat.extend(["<|im_start|>", role, "\n"]);
            match &message["content"] {
                Value::Array(parts) => {
                    chat.extend(parts.iter().filter_map(|part| part["text"].as_str()));
                }
                content => chat.push_str(content.as_str().unwrap_or_default()),
            }
            chat.push_str("<|im_end|>\n");
        }
        chat.push_str("<|im_start|>assistant\n");
        chat
    }
}

/// One of pydantic's mistakes, as Python prints it; an empty name means the body as a whole.
fn detail(kind: &str, name: &str, message: &str, input: &Value) -> String {
    let place = match name {
        "" => "('body',)".to_owned(),
        name => format!("('body', '{name}')"),
    };
    format!(
        "{{'type': '{kind}', 'loc': {place}, 'msg': '{message}', 'input': {}}}",
        repr(input)
    )
}

fn stream_options_without_stream(json: &Map<String, Value>) -> String {
    let message = "Stream options can only be defined when `stream=True`.";
    let input = repr(&Value::Object(json.clone()));
    format!(
        "{{'type': 'value_error', 'loc': ('body',), 'msg': 'Value error, {message}', 'input': {input}, \
         'ctx': {{'error': ValueError('{message}')}}}}"
    )
}

fn not_json(body: &[u8], error: &serde_json::Error) -> Refusal {
    let lines_before: usize = body
        .split_inclusive(|&byte| byte == b'\n')
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    let position = lines_before + error.column().saturating_sub(1);
    Refusal::invalid(vec![format!(
        "{{'type': 'json_invalid', 'loc': ('body', {position}), 'msg': 'JSON decode error', 'input': {{}}, \
         'ctx': {{'error': 'Expecting value'}}}}"
    )])
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        max_model_len: 4096,
        prompt_tokens: None,
        stops_early: false,
    };

    fn resolve(fields: &str, bounds: Bounds) -> Result<Request, Refusal> {
        let body =
            format!(r#"{{"messages":[{{"role":"user","content":"hello there"}}],{fields}}}"#);
        ChatRequest::parse(body.as_bytes())?.resolve(&bounds)
    }

    #[test]
    fn numbers_are_read_as_leniently_as_pydantic_reads_them() {
        for (fields, tokens) in [
            (r#""max_tokens":7"#, Some(7)),
            (r#""max_tokens":7.0"#, Some(7)),
            (r#""max_tokens":"7""#, Some(7)),
            (r#""max_tokens":9,"max_completion_tokens":7"#, Some(7)),
            (r#""max_tokens":null,"unheard_of":{}"#, Some(4096 - 12)),
            (r#""max_tokens":7.5"#, None),
            (r#""max_tokens":[]"#, None),
            (r#""max_tokens":0"#, None),
            (r#""max_tokens":-3"#, None),
            (r#""max_tokens":4096"#, None),
            (r#""max_tokens":7,"min_tokens":8"#, None),
            (r#""temperature":-1"#, None),
        ] {
            let found = resolve(fields, BOUNDS)
                .ok()
                .map(|request| request.max_tokens);
            assert_eq!(found, tokens, "{fields}");
        }
    }

    #[test]
    fn an_early_stop_keeps_to_what_the_request_forbids() {
        let early = Bounds {
            stops_early: true,
            ..BOUNDS
        };
        for (fields, stop) in [
            (r#""max_tokens":256"#, Some(64)),
            (r#""max_tokens":256,"min_tokens":100"#, Some(100)),
            (r#""max_tokens":256,"min_tokens":256"#, None),
            (r#""max_tokens":256,"ignore_eos":true"#, None),
            (r#""max_tokens":1"#, None),
        ] {
            assert_eq!(
                resolve(fields, early).unwrap().stops_after,
                stop,
                "{fields}"
            );
        }
    }

    #[test]
    fn the_reference_prompt_counts_110_tokens() {
        let prompt = include_str!("../../config/prompts/reference.txt");
        let message = serde_json::json!({"role": "user", "content": prompt.trim_end()});
        let body = serde_json::json!({"messages": [message]}).to_string();
        let chat = ChatRequest::parse(body.as_bytes()).unwrap();
        assert_eq!(chat.resolve(&BOUNDS).unwrap().prompt.tokens, 110);
    }

    #[test]
    fn a_prompt_counts_by_its_text_or_by_what_is_set() {
        let set = Bounds {
            prompt_tokens: Some(110),
            ..BOUNDS
        };
        assert_eq!(
            resolve(r#""stream":false"#, set).unwrap().prompt.tokens,
            110
        );
        assert_eq!(
            resolve(r#""stream":false"#, BOUNDS).unwrap().prompt.tokens,
            12
        );
    }
}
