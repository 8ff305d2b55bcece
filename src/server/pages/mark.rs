//! A state and a verdict as they stand on a page: in a word, with a mark of its own, since a colour says nothing alone.

use maud::{Markup, html};

use super::finding::Stand;
use crate::condition::DeploymentState;

/// A state in its word, with a mark of its own.
pub(super) fn state(state: DeploymentState) -> Markup {
    let mark = match state {
        DeploymentState::Ok => "●",
        DeploymentState::Saturated => "◐",
        DeploymentState::Wedged | DeploymentState::Down => "✕",
        DeploymentState::Asleep => "☾",
        DeploymentState::Unknown => "?",
    };
    html! {
        span.state data-state=(state.label()) title=(state.meaning()) {
            span aria-hidden="true" { (mark) } " " (state.label())
        }
    }
}

/// A verdict in its words, with a mark of its own.
pub(super) fn verdict(stand: Stand, words: &str) -> Markup {
    let mark = match stand {
        Stand::Slower => "▼",
        Stand::Faster => "▲",
        Stand::Unchanged => "=",
        Stand::Inconclusive | Stand::TooFew | Stand::Reading => "…",
        Stand::NotJudged => "",
    };
    html! {
        span.verdict data-stand=(stand.label()) title=(stand.meaning()) {
            span aria-hidden="true" { (mark) } " " (words)
        }
    }
}
