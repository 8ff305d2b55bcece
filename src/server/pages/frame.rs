//! What is around every page: its head, where else one can go, and as of when it is.

use std::fmt::Write;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use super::assets;
use super::quantity::{instant, span};

/// The pages that every page leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Fleet,
    Precision,
    Changes,
    About,
}

/// The page `main` as it is at `now`, which is at `place` if it is one that all lead to. `root` leads from it to the root of all paths, such as `../`: the pages may be
/// below any path of a proxy.
pub(super) fn page(
    title: &str,
    root: &str,
    place: Option<Place>,
    main: &Markup,
    now: Timestamp,
) -> String {
    let fleet = if root.is_empty() { "./" } else { root };
    let current = |of: Place| (place == Some(of)).then_some("page");
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" type="image/svg+xml" href={ (root) (assets::ICON.path()) };
                link rel="stylesheet" href={ (root) (assets::STYLE.path()) };
                script src={ (root) (assets::TIMES.path()) } defer {}
                script src={ (root) (assets::SCRIPT.path()) } data-events={ (root) "events" } defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    a.brand href=(fleet) {
                        img src={ (root) (assets::ICON.path()) } alt="" width="22" height="22";
                        "vllm-prober"
                    }
                    nav aria-label="Pages" {
                        a href=(fleet) aria-current=[current(Place::Fleet)] { "Fleet" }
                        a href={ (root) "precision" } aria-current=[current(Place::Precision)] { "Precision" }
                        a href={ (root) "changes" } aria-current=[current(Place::Changes)] { "Changes" }
                        a href={ (root) "metrics" } { "Metrics" }
                        a href={ (root) "about" } aria-current=[current(Place::About)] { "About" }
                        a href={ (root) "api/v1/deployments" } { "API" }
                    }
                    p.asof { "as of " (moment(now, now)) span.zone {} }
                    p.lost role="status" {}
                }
                main id="main" { (main) }
                footer {
                    "vllm-prober " (env!("CARGO_PKG_VERSION"))
                    " replays a fixed workload against vLLM deployments on a schedule, and says when one got slower. "
                    a href={ (root) "-/healthy" } { "Health" } " · " a href={ (root) "-/ready" } { "Readiness" }
                }
            }
        }
    };
    page.into_string()
}

/// An instant as it is told, with the whole of it for programs and on hover. A script tells it in its reader's zone.
pub(super) fn moment(at: Timestamp, now: Timestamp) -> Markup {
    let whole = whole(at);
    html! { time datetime=(whole) title=(whole) data-told="minute" { (instant(at, now)) } }
}

/// How long ago an instant was.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> Markup {
    let whole = whole(at);
    html! { time datetime=(whole) title=(whole) { (span(now.duration_since(at))) "\u{a0}ago" } }
}

/// The whole of an instant, in UTC.
fn whole(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Where the page of a deployment is, from a page whose `root` leads to the root of all paths.
pub(super) fn deployment(root: &str, name: &str) -> String {
    below(format!("{root}deployments/"), name)
}

/// Where the same is for programs.
pub(super) fn api(root: &str, name: &str) -> String {
    below(format!("{root}api/v1/deployments/"), name)
}

/// Where the page of a run is.
pub(super) fn run(root: &str, id: &str) -> String {
    below(format!("{root}runs/"), id)
}

/// Where a run is for programs.
pub(super) fn run_api(root: &str, id: &str) -> String {
    below(format!("{root}api/v1/runs/"), id)
}

fn below(mut address: String, name: &str) -> String {
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            address.push(char::from(byte));
        } else {
            let _ = write!(address, "%{byte:02X}");
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_which_of_the_pages_it_is() {
        let now = Timestamp::UNIX_EPOCH;
        let of = |place| page("t", "", place, &html! {}, now);
        let changes = of(Some(Place::Changes));
        assert!(
            changes.contains("href=\"changes\" aria-current=\"page\""),
            "{changes}"
        );
        assert_eq!(changes.matches("aria-current").count(), 1);
        assert!(!of(None).contains("aria-current"));
    }

    #[test]
    fn any_name_has_an_address() {
        assert_eq!(deployment("", "qwen3-32b"), "deployments/qwen3-32b");
        assert_eq!(deployment("../", "a/b ü"), "../deployments/a%2Fb%20%C3%BC");
    }
}
