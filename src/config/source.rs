//! What is read from disk, bounded and decoded, and how much of it may be shown again.
//!
//! A message about a line repeats that line, so whatever looks like a secret is starred out first: a
//! token pasted into the wrong place must not travel on into a terminal, a log or a ticket.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes a configuration may have: tens of thousands of deployments, and far from a mistaken dump.
pub(super) const CONFIGURATION_BYTES: u64 = 16 << 20;

/// What editors of one system begin a file with; it is no part of the text.
pub(super) const BYTE_ORDER_MARK: &str = "\u{feff}";

/// What is wrong, and what to do about it. The reader adds the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) mend: String,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            mend: mend.into(),
        }
    }
}

/// The text of a configuration, and the name it was asked for by.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) file: String,
    pub(super) text: String,
}

impl Source {
    pub(super) fn read(path: &Path) -> Result<Self, Fault> {
        Ok(Self {
            file: path.display().to_string(),
            text: read_text(path, CONFIGURATION_BYTES)?,
        })
    }

    /// Stands for a file that could not be read.
    pub(super) fn unread(path: &Path) -> Self {
        Self {
            file: path.display().to_string(),
            text: String::new(),
        }
    }

    /// Line `number`, counted from 1, fit to be shown.
    pub(super) fn line(&self, number: usize) -> Option<String> {
        let line = self.text.lines().nth(number.checked_sub(1)?)?;
        Some(shown(line))
    }

    /// The whole text, fit to be shown.
    pub(super) fn masked(&self) -> String {
        self.text.lines().map(|line| mask(line) + "\n").collect()
    }
}

/// The text of the file at `path`, which may have at most `limit` bytes.
pub(super) fn read_text(path: &Path, limit: u64) -> Result<String, Fault> {
    let name = path.display();
    let cannot = |error: &dyn fmt::Display, mend: &str| {
        Fault::new(format!("cannot read `{name}`: {error}"), mend)
    };
    if path.is_dir() {
        return Err(cannot(&"it is a directory", "name a file in it"));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            cannot(
                &error,
                "check the path and its permissions for the user that runs the prober",
            )
        })?;
    if bytes.len() as u64 > limit {
        return Err(Fault::new(
            format!("`{name}` is larger than {} MiB", limit >> 20),
            "check that this is the file you mean",
        ));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let whole = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..whole]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        Fault::new(
            format!("`{name}` is not UTF-8: line {line} has a byte that no character begins with"),
            "save the file as UTF-8, and check that it is text",
        )
    })?;
    if text.contains('\0') {
        return Err(Fault::new(
            format!("`{name}` is not text: it holds a NUL byte"),
            "check that this is the file you mean",
        ));
    }
    Ok(text
        .strip_prefix(BYTE_ORDER_MARK)
        .map(str::to_owned)
        .unwrap_or(text))
}

/// `line` with secrets starred out; each character keeps its column.
fn shown(line: &str) -> String {
    mask(line).chars().map(printable).collect()
}

/// A character that neither moves a terminal's cursor nor changes its state.
pub(crate) fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// `line` with a star for each character of what follows the name of a secret, or stands before the
/// `@` of a URL.
fn mask(line: &str) -> String {
    let chars: Vec<char> = line.chars().collect();
    let mut masked = chars.clone();
    for (at, c) in chars.iter().enumerate() {
        let secret = match c {
            ':' if chars[at..].starts_with(&[':', '/', '/']) => userinfo(&chars, at + 3),
            ':' | '=' if names_a_secret(&word_before(&chars, at)) && !points(&chars, at + 1) => {
                value(&chars, at + 1)
            }
            _ => continue,
        };
        masked[secret].fill('*');
    }
    masked.into_iter().collect()
}

/// Whether what goes by this name is a secret itself, and not where one is found.
pub(super) fn names_a_secret(name: &str) -> bool {
    let name = name.to_lowercase().replace('-', "_");
    let points_elsewhere = name.ends_with("_file") || name.ends_with("_env");
    let telling = [
        "bearer",
        "passw",
        "secret",
        "api_key",
        "apikey",
        "credential",
        "authorization",
    ];
    !points_elsewhere
        && (telling.iter().any(|word| name.contains(word))
            || name == "token"
            || (name.ends_with("_token") && name != "first_token"))
}

fn word_before(chars: &[char], end: usize) -> String {
    let is_quote = |c: &char| matches!(c, '"' | '\'' | ' ');
    let end = end
        - chars[..end]
            .iter()
            .rev()
            .take_while(|c| is_quote(c))
            .count();
    let is_word = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let start = end - chars[..end].iter().rev().take_while(|c| is_word(c)).count();
    chars[start..end].iter().collect()
}

/// Whether what begins at `start` says where a secret is, as in `X-Api-Key: { file: secrets/key }`.
fn points(chars: &[char], start: usize) -> bool {
    let rest: String = chars[start..].iter().collect();
    let inside = rest.trim_start().strip_prefix('{').map(str::trim_start);
    inside.is_some_and(|inside| {
        ["file:", "env:"]
            .iter()
            .any(|word| inside.starts_with(word))
    })
}

/// Where the value that begins at `start`, or after spaces, stands.
fn value(chars: &[char], start: usize) -> std::ops::Range<usize> {
    let spaces = chars[start..].iter().take_while(|c| **c == ' ').count();
    let start = start + spaces;
    let quote = chars.get(start).filter(|c| matches!(c, '"' | '\''));
    let length = match quote {
        Some(quote) => chars[start + 1..]
            .iter()
            .position(|c| c == quote)
            .map(|n| n + 2),
        None => chars[start..].iter().position(|c| matches!(c, ',' | '}')),
    };
    start..length.map_or(chars.len(), |length| start + length)
}

/// Where the `user:password` stands in a URL whose authority begins at `start`; empty without one.
fn userinfo(chars: &[char], start: usize) -> std::ops::Range<usize> {
    let authority = chars[start..]
        .iter()
        .take_while(|c| !matches!(c, '/' | '?' | '#' | ' ' | '"' | '\''))
        .collect::<Vec<_>>();
    let length = authority.iter().rposition(|c| **c == '@').unwrap_or(0);
    start..start + length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_starred_out() {
        for (line, shown) in [
            ("bearer_token: abc", "bearer_token: ***"),
            (
                "prod: { bearer_tokn: ab, x: 1 }",
                "prod: { bearer_tokn: **, x: 1 }",
            ),
            ("'api-key': \"a,b\" # c", "'api-key': ***** # c"),
            ("Authorization: Bearer abc", "Authorization: **********"),
            (
                "base_url: http://me:pw@host/v1",
                "base_url: http://*****@host/v1",
            ),
            ("base_url: http://a:b@c@host", "base_url: http://*****@host"),
            (
                "url: http://host/?api_key=abc",
                "url: http://host/?api_key=***",
            ),
            ("# token: abc", "# token: ***"),
            ("token:", "token:"),
            ("X-Api-Key: { fill: abc }", "X-Api-Key: ************}"),
        ] {
            assert_eq!(mask(line), shown);
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for line in [
            "max_tokens: 256, min_tokens: 1",
            "timeouts: { first_token: 30s }",
            "bearer_token_file: /run/secrets/vllm-token",
            "bearer_token_env: VLLM_TOKEN",
            "base_url: http://host:8000/v1",
            "prompt: write to me@example.com",
            "X-Api-Key: { file: secrets/key }",
            "basic_auth: { username: me, password_file: secrets/password }",
            "oauth2: { client_secret_env: VLLM_CLIENT, token_url: https://login/token }",
        ] {
            assert_eq!(mask(line), line);
        }
    }

    #[test]
    fn a_shown_line_keeps_columns_and_moves_no_cursor() {
        assert_eq!(shown("a\tb\u{1b}[2Jc"), "a b\u{fffd}[2Jc");
    }

    #[test]
    fn a_file_beyond_the_limit_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("large");
        std::fs::write(&file, vec![b'a'; (1 << 20) + 1]).unwrap();
        let fault = read_text(&file, 1 << 20).unwrap_err();
        assert!(fault.message.ends_with("is larger than 1 MiB"));
        assert_eq!(
            read_text(&file, (1 << 20) + 1).unwrap().len(),
            (1 << 20) + 1
        );
    }
}
