//! Takes secrets out of what servers say before anybody repeats it: some answer with the very header that they
//! refuse.
//!
//! A secret is recognised as it was sent and in the forms that it takes on the way: in JSON, in a URL, in Base64.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use url::form_urlencoded::byte_serialize;

use crate::measurement::RequestError;
use crate::secret::Secret;

/// What stands in the place of a secret.
const MASK: &str = "<secret>";

/// The fewest characters of a secret, or of the beginning of one that was cut off, that are taken for it: fewer
/// would star out words.
const SHORTEST: usize = 4;

/// The secrets of one run, in every form in which they may come back. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Masking(Arc<Vec<Secret>>);

impl Masking {
    /// A masking of `secrets`.
    pub(super) fn of(secrets: impl IntoIterator<Item = Secret>) -> Self {
        let mut forms: Vec<Secret> = secrets
            .into_iter()
            .flat_map(|secret| forms(&secret))
            .collect();
        // One that contains another goes first, or the rest of it would be left.
        forms.sort_by_key(|form| std::cmp::Reverse(form.expose().len()));
        forms.dedup();
        Self(Arc::new(forms))
    }

    /// Both maskings at once.
    pub(super) fn and(&self, other: &Self) -> Self {
        let mut forms: Vec<Secret> = self.0.iter().chain(other.0.iter()).cloned().collect();
        forms.sort_by_key(|form| std::cmp::Reverse(form.expose().len()));
        Self(Arc::new(forms))
    }

    /// `text` without the secrets, also without the beginning of one where the text was cut short.
    pub(super) fn text(&self, text: String) -> String {
        let mut masked = text;
        for form in self.0.iter() {
            if masked.contains(form.expose()) {
                masked = masked.replace(form.expose(), MASK);
            }
        }
        match masked.strip_suffix('…') {
            Some(cut) => {
                let longest = self.0.iter().map(|form| overlap(cut, form.expose())).max();
                match longest {
                    Some(length) if length >= SHORTEST => {
                        format!("{}{MASK}…", &cut[..cut.len() - length])
                    }
                    _ => masked,
                }
            }
            None => masked,
        }
    }

    /// The same error with nothing secret in its words.
    pub(super) fn error(&self, error: RequestError) -> RequestError {
        RequestError {
            detail: self.text(error.detail),
            ..error
        }
    }

    /// A document with nothing secret in it.
    pub(super) fn document(&self, body: Vec<u8>) -> Vec<u8> {
        let shows = |form: &Secret| memchr::memmem::find(&body, form.expose().as_bytes()).is_some();
        if self.0.iter().any(shows) {
            self.text(String::from_utf8_lossy(&body).into_owned())
                .into_bytes()
        } else {
            body
        }
    }
}

/// The length of the longest end of `text` with which `secret` begins.
fn overlap(text: &str, secret: &str) -> usize {
    let ends = secret.char_indices().map(|(at, _)| at);
    let fits = ends.filter(|at| text.ends_with(&secret[..*at]));
    fits.max().unwrap_or(0)
}

fn forms(secret: &Secret) -> Vec<Secret> {
    let text = secret.expose();
    let json = serde_json::Value::from(text).to_string();
    let forms = [
        text.to_owned(),
        json[1..json.len() - 1].to_owned(),
        byte_serialize(text.as_bytes()).collect(),
        byte_serialize(text.as_bytes())
            .collect::<String>()
            .replace('+', "%20"),
        BASE64_STANDARD.encode(text),
    ];
    let mut forms: Vec<Secret> = forms.map(Secret::new).into();
    forms.dedup();
    forms.retain(|form| form.expose().chars().count() >= SHORTEST);
    forms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::FailureReason;

    fn masking(secrets: &[&str]) -> Masking {
        Masking::of(secrets.iter().map(|text| Secret::new(*text)))
    }

    #[test]
    fn a_secret_is_recognised_in_every_form_in_which_it_comes_back() {
        let masking = masking(&["hunter2 \"ü\"", "me:hunter2"]);
        for (said, shown) in [
            ("bad key hunter2 \"ü\".", "bad key <secret>."),
            (r#"{"got":"hunter2 \"ü\""}"#, r#"{"got":"<secret>"}"#),
            ("?key=hunter2+%22%C3%BC%22&x=1", "?key=<secret>&x=1"),
            ("?key=hunter2%20%22%C3%BC%22", "?key=<secret>"),
            ("Basic bWU6aHVudGVyMg== is wrong", "Basic <secret> is wrong"),
            ("nothing of it", "nothing of it"),
        ] {
            assert_eq!(masking.text(said.to_owned()), shown);
        }
    }

    #[test]
    fn a_secret_that_the_cut_went_through_is_masked_to_the_end() {
        let masking = masking(&["hunter2-and-more"]);
        let long = format!("{} hunter2-and-more", "x".repeat(288));
        let error = RequestError::new(FailureReason::Http401, long);
        assert!(error.detail.ends_with("hunter2-an…"), "{}", error.detail);
        assert!(masking.error(error).detail.ends_with("x <secret>…"));
        assert_eq!(masking.text("a hun…".to_owned()), "a hun…");
    }

    #[test]
    fn a_longer_secret_hides_a_shorter_one_within_it() {
        let both = masking(&["abcd", "abcd-efgh"]).and(&masking(&["zzzz"]));
        let said = "abcd-efgh, abcd, zzzz".to_owned();
        assert_eq!(both.text(said), "<secret>, <secret>, <secret>");
        let body = both.document(b"{\"root\":\"abcd\"}".to_vec());
        assert_eq!(body, b"{\"root\":\"<secret>\"}");
    }
}
