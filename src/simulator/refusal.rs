//! Refusals in vLLM's words: the status, the error object, and Python's way of printing what was sent.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

/// A request that is answered with an error object.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

/// What vLLM says when its engine has died.
pub(super) const ENGINE_DEAD: &str =
    "EngineCore encountered an issue. See stack trace (above) for the root cause.";

impl Refusal {
    /// The body does not fit the schema: each mistake as Python prints it.
    pub(super) fn invalid(mistakes: Vec<String>) -> Self {
        let plural = if mistakes.len() == 1 { "" } else { "s" };
        let message = format!(
            "{} validation error{plural}:\n  {}\n\n  File \"/opt/venv/lib/python3.11/site-packages/vllm/\
             entrypoints/utils.py\", line 477, in create_chat_completion\n    POST /v1/chat/completions [{}]",
            mistakes.len(),
            mistakes.join("\n  "),
            mistakes.join(", "),
        );
        Self::new(StatusCode::BAD_REQUEST, "Bad Request", message)
    }

    /// The body is well-formed and asks for what cannot be had.
    pub(super) fn bad_request(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequestError", message)
    }

    pub(super) fn unknown_model(model: &str) -> Self {
        let message = format!("The model `{model}` does not exist.");
        Self::new(StatusCode::NOT_FOUND, "NotFoundError", message)
    }

    pub(super) fn engine_dead() -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "Internal Server Error", ENGINE_DEAD.into())
    }

    pub(super) fn new(status: StatusCode, kind: &'static str, message: String) -> Self {
        Self {
            status,
            kind,
            message,
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'static str>,
    code: u16,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Body {
            error: Error {
                message: &self.message,
                kind: self.kind,
                param: None,
                code: self.status.as_u16(),
            },
        };
        let body = serde_json::to_string(&body).expect("text and numbers are JSON");
        (
            self.status,
            [(header::CONTENT_TYPE, "application/json")],
            body,
        )
            .into_response()
    }
}

/// A JSON value as Python's `repr` prints it.
pub(super) fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => python_text(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(python).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let pair = |(name, value): (&String, &Value)| {
                format!("{}: {}", python_text(name), python(value))
            };
            let fields: Vec<String> = fields.iter().map(pair).collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

fn python_text(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut shown = String::from(quote);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            '\\' => shown.push_str("\\\\"),
            c if c == quote => shown.extend(['\\', c]),
            c if c.is_control() => shown.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => shown.push(c),
        }
    }
    shown.push(quote);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_in_python() {
        for (json, shown) in [
            (r#"[null, true, 1, 0.5]"#, "[None, True, 1, 0.5]"),
            (r#"{"a": "it's"}"#, r#"{'a': "it's"}"#),
            (r#""it's \"so\"\n""#, r#"'it\'s "so"\n'"#),
        ] {
            assert_eq!(python(&serde_json::from_str(json).unwrap()), shown);
        }
    }
}
