//! The file that protects the daemon's own endpoint, in the format that Prometheus and its exporters share.
//!
//! It is read as strictly as the configuration, so that a slip of the pen never leaves a door open.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use bcrypt::HashParts;
use sha2::{Digest, Sha256};

use super::document;
use super::field::Field;
use super::finding::{Finding, Mistakes, Severity};
use super::likeness::unknown;
use super::notes::Notes;
use super::section::Section;
use super::source::{Fault, Source, read_text};
use super::values;
use super::web_tls;
use crate::server::{RateLimit, Users, Web};

pub(super) const FIELDS: &[&str] = &[
    "tls_server_config",
    "http_server_config",
    "basic_auth_users",
    "rate_limit",
];
pub(super) const HTTP_FIELDS: &[&str] = &["http2", "headers"];
pub(super) const RATE_FIELDS: &[&str] = &["interval", "burst"];

/// The headers that may be set, and the values that make sense; any does where there are none.
pub(super) const HEADERS: &[(&str, &[&str])] = &[
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// The most bytes that a certificate's or a key's file may have.
const PEM_BYTES: u64 = 1 << 20;

/// From this cost on, a hash takes more than a second to check.
const COSTLY: u32 = 15;

/// A web configuration without mistakes.
#[derive(Debug)]
pub struct WebConfig {
    /// What it asks for.
    pub web: Web,
    /// What is unlikely to be meant, in the order of the file.
    pub warnings: Vec<Finding>,
}

impl WebConfig {
    /// Reads the file at `path`, and the certificates and keys that it names; their relative paths start at the
    /// file's directory.
    ///
    /// # Errors
    /// Every mistake in the file, each with its place and its mend.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        let source = Source::read(path)
            .map_err(|fault| Mistakes::only(&Source::unread(path), None, fault))?;
        let root = document::parse(&source.text)
            .map_err(|(place, fault)| Mistakes::only(&source, place, fault))?;
        let notes = Notes::new(&source);
        let files = Files::beside(path, &source.text);
        let mut web = read(&Field::root(&notes, &root), &files);
        let findings = notes.into_findings();
        if findings
            .iter()
            .any(|found| found.severity() == Severity::Mistake)
        {
            return Err(Mistakes(findings));
        }
        web.digest = files.digest();
        Ok(Self {
            web,
            warnings: findings,
        })
    }
}

/// The files that a web configuration names, and a digest of all that was read.
pub(super) struct Files {
    directory: PathBuf,
    read: RefCell<Sha256>,
}

impl Files {
    fn beside(path: &Path, text: &str) -> Self {
        Self {
            directory: path.parent().unwrap_or(Path::new("")).to_owned(),
            read: RefCell::new(Sha256::new().chain_update(text)),
        }
    }

    /// The text of a file in PEM form.
    pub(super) fn pem(&self, path: &str) -> Result<String, Fault> {
        let text = read_text(&self.directory.join(path), PEM_BYTES)?;
        let mut read = self.read.borrow_mut();
        read.update([0]);
        read.update(&text);
        Ok(text)
    }

    fn digest(self) -> [u8; 32] {
        self.read.into_inner().finalize().into()
    }
}

fn read(root: &Field<'_>, files: &Files) -> Web {
    let section = Section::of(root, FIELDS);
    let http = section.get("http_server_config");
    let (http2, headers) = http.map_or((true, Vec::new()), |field| read_http(&field));
    let tls = section
        .get("tls_server_config")
        .and_then(|field| web_tls::read_tls(&field, files, http2));
    let users = section.get("basic_auth_users");
    Web {
        tls: tls.map(Arc::new),
        headers,
        users: users.map(|field| read_users(&field)).unwrap_or_default(),
        rate_limit: section
            .get("rate_limit")
            .and_then(|field| read_rate_limit(&field)),
        digest: [0; 32],
    }
}

fn read_http(field: &Field<'_>) -> (bool, Vec<(HeaderName, Option<HeaderValue>)>) {
    let section = Section::of(field, HTTP_FIELDS);
    let http2 = section.get("http2").and_then(|field| field.flag());
    let headers = section.get("headers");
    let headers = headers.map(|field| read_headers(&field));
    (http2.unwrap_or(true), headers.unwrap_or_default())
}

fn read_headers(field: &Field<'_>) -> Vec<(HeaderName, Option<HeaderValue>)> {
    let mut headers = Vec::new();
    for (key, field) in field.entries() {
        let Some((name, values)) = HEADERS.iter().find(|(name, _)| *name == key.name) else {
            let names = HEADERS.iter().map(|(name, _)| *name);
            key.fault(unknown("this header cannot be set", key.name, names));
            continue;
        };
        // Left blank, the header is not sent.
        let value = field.parsed(|text| {
            let value = match text {
                "" => None,
                text => Some(header_value(text, values)?),
            };
            Ok(value)
        });
        if let (Some(value), Ok(name)) = (value, HeaderName::from_str(name)) {
            headers.push((name, value));
        }
    }
    headers
}

fn header_value(text: &str, values: &[&str]) -> Result<HeaderValue, Fault> {
    if !values.is_empty() && !values.contains(&text) {
        return Err(unknown("unknown value", text, values.iter().copied()));
    }
    HeaderValue::from_str(text).map_err(|_| {
        Fault::new(
            "the value has characters that no HTTP header may carry",
            "write it in one line of plain ASCII",
        )
    })
}

fn read_users(field: &Field<'_>) -> Users {
    let mut users = Vec::new();
    for (key, field) in field.entries() {
        field.hide();
        if key.name.contains(':') {
            key.mistake(
                "a user's name has a colon in it, which no browser and no scraper can send",
                "choose a name without a colon",
            );
        }
        if let Some((hash, cost)) = field.parsed(bcrypt_hash) {
            if cost >= COSTLY {
                field.warning(
                    format!("a hash of cost {cost} takes seconds to check"),
                    "make it anew with a cost of 10 to 12, as in `htpasswd -nBC 10 USER`",
                );
            }
            users.push((key.name.to_owned(), hash));
        }
    }
    users.into_iter().collect()
}

/// A hash and its cost. Nothing of what was written is told: it may be the password itself.
fn bcrypt_hash(text: &str) -> Result<(String, u32), Fault> {
    let parts = HashParts::from_str(text).map_err(|_| {
        Fault::new(
            "this is no bcrypt hash",
            "write what `htpasswd -nBC 10 USER` prints after the colon; it begins with `$2y$10$`",
        )
    })?;
    let cost = parts.get_cost();
    if !(4..=31).contains(&cost) {
        return Err(Fault::new(
            format!("{cost} is no cost of a bcrypt hash"),
            "make the hash anew, as in `htpasswd -nBC 10 USER`",
        ));
    }
    Ok((text.to_owned(), cost))
}

fn read_rate_limit(field: &Field<'_>) -> Option<RateLimit> {
    let section = Section::of(field, RATE_FIELDS);
    let interval = section
        .get("interval")
        .and_then(|field| field.parsed(interval))
        .unwrap_or_default();
    let burst = section
        .get("burst")
        .and_then(|field| field.whole::<u32>(0..=1_000_000));
    if interval.is_zero() {
        return None;
    }
    let burst = burst.unwrap_or_default();
    if burst == 0 {
        field.warning(
            "a burst of zero lets no request through",
            "add how many may come at once, as in `burst: 20`",
        );
    }
    Some(RateLimit::new(burst, interval))
}

/// Zero, which may stand without a unit, is no limit.
fn interval(text: &str) -> Result<Duration, Fault> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    values::duration(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<WebConfig, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.yml");
        std::fs::write(&path, text).unwrap();
        WebConfig::load(&path).map_err(|mistakes| mistakes.to_string())
    }

    const HASH: &str = "$2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze";

    #[test]
    fn an_empty_file_protects_nothing() {
        for text in [
            "",
            "# nothing",
            "tls_server_config: {}",
            "basic_auth_users:",
        ] {
            let web = load(text).unwrap().web;
            assert!(web.tls.is_none() && web.users.is_empty(), "{text}");
        }
    }

    #[test]
    fn every_mistake_is_told_with_its_line_and_its_mend() {
        for (text, line, message, mend) in [
            (
                "basic_auth_user: {}",
                1,
                "did you mean `basic_auth_users`",
                "write",
            ),
            ("\nrubbish", 2, "expected fields", ""),
            (
                "basic_auth_users:\n  alice: hunter2",
                2,
                "no bcrypt hash",
                "htpasswd",
            ),
            (
                "basic_auth_users:\n  'a:b': $2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze",
                2,
                "colon",
                "without",
            ),
            (
                "http_server_config:\n  headers: { X-Frame-Option: deny }",
                2,
                "`X-Frame-Options`",
                "write",
            ),
            (
                "http_server_config:\n  headers: { Server: x }",
                2,
                "cannot be set",
                "write one of",
            ),
            (
                "http_server_config:\n  headers: { X-Frame-Options: allow }",
                2,
                "unknown value",
                "`deny`",
            ),
            (
                "http_server_config: { http2: maybe }",
                1,
                "true or false",
                "http2",
            ),
            ("rate_limit: { interval: 5, burst: 1 }", 1, "no unit", "5s"),
        ] {
            let told = load(text).unwrap_err();
            assert!(
                told.contains(message) && told.contains(mend),
                "{text}: {told}"
            );
            assert!(told.contains(&format!("web.yml:{line}:")), "{text}: {told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn a_hash_is_kept_out_of_every_message() {
        let text = format!("basic_auth_users: {{ alice: {HASH}, bob: $2y$99$x }}");
        let told = load(&text).unwrap_err();
        assert!(!told.contains("mDwo") && !told.contains("$2y$99"), "{told}");
        let text = format!(
            "basic_auth_users: {{ alice: {} }}",
            HASH.replace("$10$", "$15$")
        );
        let web = load(&text).unwrap();
        let warning = web.warnings[0].to_string();
        assert!(
            warning.contains("cost 15") && !warning.contains("mDwo"),
            "{warning}"
        );
    }

    #[test]
    fn a_limit_that_lets_nothing_through_is_taken_with_a_warning() {
        let loaded = load("rate_limit: { interval: 1s }").unwrap();
        let warning = loaded.warnings[0].to_string();
        assert!(
            warning.contains("burst of zero") && warning.contains("burst: 20"),
            "{warning}"
        );
        assert!(!loaded.web.rate_limit.unwrap().allows());
        assert!(
            load("rate_limit: { burst: 5 }")
                .unwrap()
                .web
                .rate_limit
                .is_none()
        );
    }

    #[test]
    fn a_change_of_any_file_changes_the_digest() {
        let (one, same, other) = (
            load("# a").unwrap(),
            load("# a").unwrap(),
            load("# b").unwrap(),
        );
        assert_eq!(one.web.digest, same.web.digest);
        assert_ne!(one.web.digest, other.web.digest);
    }

    #[test]
    fn the_documentation_names_every_field() {
        let documentation = include_str!("../../docs/security.md");
        let headers: Vec<&str> = HEADERS.iter().map(|(name, _)| *name).collect();
        let sections = [FIELDS, HTTP_FIELDS, RATE_FIELDS, web_tls::FIELDS, &headers];
        for field in sections.concat() {
            assert!(documentation.contains(&format!("| `{field}` |")), "{field}");
        }
    }
}
