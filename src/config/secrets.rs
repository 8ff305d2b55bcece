//! Where secrets are read from. They have no place in the file; what is wrong with one is told without it.

use std::path::Path;

use super::field::Field;
use super::section::Section;
use super::source::{Fault, read_text};
use crate::endpoint::{Login, SecretSource};

/// The most bytes a secret's file may have.
const SECRET_BYTES: u64 = 64 << 10;

/// A name and where its password is read from, for a server or a proxy.
pub(super) const LOGIN_FIELDS: &[&str] = &["username", "password_file", "password_env"];

/// Two fields of which one says where a secret is read from.
pub(super) struct SecretFields {
    what: &'static str,
    names: &'static [&'static str; 2],
    example: &'static str,
    fit: Fit,
}

/// What a secret may be made of.
#[derive(Clone, Copy)]
enum Fit {
    /// A header that ends where a blank begins.
    Token,
    /// A header of any words.
    Header,
    /// Whatever can be typed.
    Typed,
}

pub(super) const TOKEN: SecretFields = SecretFields {
    what: "token",
    names: &["bearer_token_file", "bearer_token_env"],
    example: "bearer_token_file: /run/secrets/vllm-token",
    fit: Fit::Token,
};
pub(super) const CLIENT_SECRET: SecretFields = SecretFields {
    what: "client secret",
    names: &["client_secret_file", "client_secret_env"],
    example: "client_secret_file: /run/secrets/vllm-client",
    fit: Fit::Typed,
};
pub(super) const HEADER: SecretFields = SecretFields {
    what: "header",
    names: &["file", "env"],
    example: "file: /run/secrets/vllm-key",
    fit: Fit::Header,
};
const PASSWORD: SecretFields = SecretFields {
    what: "password",
    names: &["password_file", "password_env"],
    example: "password_file: /run/secrets/vllm-password",
    fit: Fit::Typed,
};

/// The fields of a map in which whatever is unknown is likely to be a secret; `None` if anything is.
pub(super) fn guarded<'a>(
    field: &Field<'a>,
    known: &'static [&'static str],
) -> Option<Section<'a>> {
    let section = Section::of(field, known);
    section.unknown().for_each(Field::hide);
    let all_known = section.unknown().next().is_none();
    all_known.then_some(section)
}

/// A name and its password.
pub(super) fn read_login(field: &Field<'_>, directory: &Path) -> Option<Login> {
    let section = Section::of(field, LOGIN_FIELDS);
    section.unknown().for_each(Field::hide);
    if let Some(field) = section.get("username")
        && field.text()?.contains(':')
    {
        // What stands behind the colon is likely to be the password.
        field.hide();
    }
    if section.unknown().next().is_some() {
        return None;
    }
    let username = section
        .require("username", "prober")
        .and_then(|field| field.parsed(username));
    let password = PASSWORD.read(&section, directory);
    Some(Login {
        username: username?,
        password: password?,
    })
}

fn username(text: &str) -> Result<String, Fault> {
    if text.is_empty() || text.contains(|c: char| c == ':' || c.is_control()) {
        return Err(Fault::new(
            "the name is empty, or has a colon or a control character in it",
            "write the name alone; the password is read from a file or a variable",
        ));
    }
    Ok(text.to_owned())
}

impl SecretFields {
    /// Where the secret is read from; it is there, and can be sent.
    pub(super) fn read(&self, section: &Section<'_>, directory: &Path) -> Option<SecretSource> {
        let (name, field) = section.exactly_one(self.names, self.example)?;
        self.source(name, &field, directory)
    }

    /// The same of a field that was found under `name`.
    pub(super) fn source(
        &self,
        name: &str,
        field: &Field<'_>,
        directory: &Path,
    ) -> Option<SecretSource> {
        if name == self.names[0] {
            return field.parsed(|path| self.in_file(&directory.join(path)));
        }
        let variable = field.text()?;
        if !is_variable(variable) {
            // This may well be the secret itself.
            field.hide();
            field.mistake(
                "this is no name of an environment variable",
                format!(
                    "write the variable's name, such as `VLLM_TOKEN`, and the {} into that variable",
                    self.what
                ),
            );
            return None;
        }
        field.parsed(|variable| self.in_environment(variable))
    }

    fn in_file(&self, path: &Path) -> Result<SecretSource, Fault> {
        let text = read_text(path, SECRET_BYTES)?;
        let first_line = text.lines().next().unwrap_or_default().trim();
        if first_line.is_empty() {
            return Err(Fault::new(
                format!("the first line of `{}` is empty", path.display()),
                format!("write the {} into the first line of that file", self.what),
            ));
        }
        self.sendable(first_line, &format!("`{}`", path.display()))?;
        Ok(SecretSource::File(path.to_owned()))
    }

    fn in_environment(&self, variable: &str) -> Result<SecretSource, Fault> {
        let secret = std::env::var(variable).unwrap_or_default();
        if secret.trim().is_empty() {
            return Err(Fault::new(
                format!("the environment variable `{variable}` is not set, or empty"),
                format!(
                    "set it where the prober is started, or name a file with `{}`",
                    self.names[0]
                ),
            ));
        }
        self.sendable(
            secret.trim(),
            &format!("the environment variable `{variable}`"),
        )?;
        Ok(SecretSource::Env(variable.to_owned()))
    }

    fn sendable(&self, secret: &str, origin: &str) -> Result<(), Fault> {
        let (good, mend) = match self.fit {
            Fit::Token => (
                secret.bytes().all(|byte| byte.is_ascii_graphic()),
                "write the bare token, without `Bearer` before it",
            ),
            Fit::Header => (
                secret
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() || byte == b' '),
                "write it in ASCII",
            ),
            Fit::Typed => (!secret.contains(char::is_control), "write one line of text"),
        };
        if good {
            return Ok(());
        }
        let carrier = match self.fit {
            Fit::Token => "blanks or characters that no HTTP header may carry",
            Fit::Header => "characters that no HTTP header may carry",
            Fit::Typed => "control characters in it",
        };
        Err(Fault::new(
            format!("the {} in {origin} has {carrier}", self.what),
            mend,
        ))
    }
}

fn is_variable(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit())
}
