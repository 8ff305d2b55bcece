//! The `auths` section: where bearer tokens are read from. Secrets themselves have no place in the file.

use std::path::Path;

use super::field::Field;
use super::named::Named;
use super::section::Section;
use super::source::{Fault, read_text};
use crate::deployment::SecretSource;

pub(super) const FIELDS: &[&str] = &["bearer_token_file", "bearer_token_env"];

/// The most bytes a token file may have.
const TOKEN_BYTES: u64 = 64 << 10;

pub(super) fn read_auths(field: &Field<'_>, directory: &Path) -> Named<SecretSource> {
    Named::read(field, |_, field| read_auth(field, directory))
}

fn read_auth(field: &Field<'_>, directory: &Path) -> Option<SecretSource> {
    let section = Section::of(field, FIELDS);
    // Whatever stands under an unknown name here is likely to be a token.
    section.unknown().for_each(Field::hide);
    if section.unknown().next().is_some() {
        return None;
    }
    let (name, field) =
        section.exactly_one(FIELDS, "bearer_token_file: /run/secrets/vllm-token")?;
    if name == "bearer_token_env" {
        let variable = field.text()?;
        if !is_variable(variable) {
            // This may well be the token itself.
            field.hide();
            field.mistake(
                "this is no name of an environment variable",
                "write the variable's name, such as `VLLM_TOKEN`, and the token into that variable",
            );
            return None;
        }
        return field.parsed(from_environment);
    }
    field.parsed(|path| from_file(&directory.join(path)))
}

fn from_file(path: &Path) -> Result<SecretSource, Fault> {
    let text = read_text(path, TOKEN_BYTES)?;
    let first_line = text.lines().next().unwrap_or_default().trim();
    if first_line.is_empty() {
        return Err(Fault::new(
            format!("the first line of `{}` is empty", path.display()),
            "write the token into the first line of that file",
        ));
    }
    sendable(first_line, &format!("`{}`", path.display()))?;
    Ok(SecretSource::File(path.to_owned()))
}

fn is_variable(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit())
}

fn from_environment(variable: &str) -> Result<SecretSource, Fault> {
    let token = std::env::var(variable).unwrap_or_default();
    if token.trim().is_empty() {
        return Err(Fault::new(
            format!("the environment variable `{variable}` is not set, or empty"),
            "set it where the prober is started, or name a file with `bearer_token_file`",
        ));
    }
    sendable(
        token.trim(),
        &format!("the environment variable `{variable}`"),
    )?;
    Ok(SecretSource::Env(variable.to_owned()))
}

/// A token goes into an HTTP header, which holds visible ASCII only.
fn sendable(token: &str, origin: &str) -> Result<(), Fault> {
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Fault::new(
        format!("the token in {origin} has blanks or characters that no HTTP header may carry"),
        "write the bare token, without `Bearer` before it",
    ))
}
