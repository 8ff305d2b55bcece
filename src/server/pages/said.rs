//! A sentence that names instants: a text for programs and terminals, and on a page one whose instants a script can tell
//! in its reader's zone.

use jiff::Timestamp;
use maud::{Markup, html};

use super::frame::moment;
use super::quantity::instant;

/// What is to be said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Words(String),
    At(Timestamp),
}

impl<Words: Into<String>> From<Words> for Said {
    fn from(words: Words) -> Self {
        Self::default().and(words)
    }
}

impl Said {
    /// And then these words.
    pub(super) fn and(mut self, words: impl Into<String>) -> Self {
        self.0.push(Part::Words(words.into()));
        self
    }

    /// And then this instant.
    pub(super) fn at(mut self, at: Timestamp) -> Self {
        self.0.push(Part::At(at));
        self
    }

    /// It as text, read at `now`.
    pub(super) fn text(&self, now: Timestamp) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Words(words) => words.clone(),
            Part::At(at) => instant(*at, now),
        });
        parts.collect()
    }

    /// It on a page of `now`.
    pub(super) fn html(&self, now: Timestamp) -> Markup {
        html! {
            @for part in &self.0 {
                @match part {
                    Part::Words(words) => (words),
                    Part::At(at) => (moment(*at, now)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_a_text_and_on_a_page_an_element() {
        let (at, now) = ("2026-03-01T09:05:00Z", "2026-03-01T12:00:00Z");
        let said = Said::from("since ").at(at.parse().unwrap()).and(" <b>");
        let now = now.parse().unwrap();
        assert_eq!(said.text(now), "since 09:05\u{a0}UTC <b>");
        assert_eq!(
            said.html(now).into_string(),
            "since <time datetime=\"2026-03-01T09:05:00Z\" title=\"2026-03-01T09:05:00Z\" data-told=\"minute\">\
             09:05\u{a0}UTC</time> &lt;b&gt;"
        );
    }
}
