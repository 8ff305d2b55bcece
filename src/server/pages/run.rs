//! One run: what it came to and whether it counts, what became of each of its requests, what the server says of the
//! same time, and what it ran on.

mod both_views;
mod figures;
mod histogram;
mod log;
mod requests;
mod waterfall;

use jiff::Timestamp;
use maud::{Markup, html};

pub(super) use self::log::alone;
use super::frame::{self, moment};
use super::quantity::{count, seconds};
use crate::environment::{EnvironmentField, EnvironmentSource};
use crate::measurement::{FailureReason, RunId};
use crate::report::RunJson;
use crate::run_log::RunLog;
use crate::statistics::InvalidReason;

/// Renders a run that ended at `ended_at`, and its log while that is kept, as it is looked at `now`.
pub(super) fn html(
    run: &RunJson,
    ended_at: Timestamp,
    log: Option<&RunLog>,
    now: Timestamp,
) -> String {
    let main = html! {
        p.quiet {
            a href="../" { "Fleet" } " / "
            a href=(frame::deployment("../", &run.deployment)) { (run.deployment) } " / run"
        }
        h1 { "Run of " (run.deployment) }
        p {
            (standing(run)) " "
            span.quiet {
                @if let Some(workload) = &run.workload { "workload " (workload) ", " }
                "ended " (moment(ended_at, now)) ", took " (seconds(run.wall_seconds)) ", model " (run.model)
            }
        }
        (validity(run))
        (figures::of(run))
        (requests::of(run))
        (both_views::of(run))
        (environment(run))
        (log::section(&RunId(run.run_id.clone()), log))
        p { "Run " code { (run.run_id) } ". The same for programs: "
            a href=(frame::run_api("../", &run.run_id)) { (frame::run_api("", &run.run_id)) } }
    };
    let title = format!("Run of {} · vllm-prober", run.deployment);
    frame::page(&title, "../", None, &main, now)
}

/// Renders that the run cannot be shown, and why.
pub(super) fn missing(why: &str, now: Timestamp) -> String {
    let main = html! {
        h1 { "No such run to show" }
        p.empty { (why) ". " a href="../" { "Show the fleet" } }
    };
    frame::page("No such run · vllm-prober", "../", None, &main, now)
}

fn standing(run: &RunJson) -> Markup {
    let (stand, mark, words) = if run.valid {
        ("ok", "●", "counts")
    } else {
        ("down", "×", "does not count")
    };
    html! { span.state data-state=(stand) { span aria-hidden="true" { (mark) } " " (words) } }
}

/// Why it does not count, each reason with what it means.
fn validity(run: &RunJson) -> Markup {
    let meaning = |word: &str| {
        let known = InvalidReason::ALL
            .iter()
            .find(|reason| reason.label() == word);
        known.map_or("", |reason| reason.meaning())
    };
    let failed = |word: &str| {
        let known = FailureReason::ALL
            .iter()
            .find(|reason| reason.label() == word);
        known.map_or("", |reason| reason.meaning())
    };
    html! {
        @if !run.invalid_reasons.is_empty() {
            div.notice {
                p { "This run does not count, so it has no rates and no quantiles:" }
                ul {
                    @for reason in &run.invalid_reasons {
                        li { b { (reason.replace('_', " ")) } ": " (meaning(reason)) }
                    }
                }
            }
        }
        @if !run.failures.is_empty() {
            h2 { "Failed requests" }
            ul {
                @for (reason, failures) in &run.failures {
                    li { (failures) " × " b { (reason.replace('_', " ")) } ": " (failed(reason)) }
                }
            }
        }
    }
}

/// What the deployment ran on then.
fn environment(run: &RunJson) -> Markup {
    let known = &run.environment.fields;
    let meaning = |name: &str| {
        let field = EnvironmentField::ALL
            .iter()
            .find(|field| field.label() == name);
        field.map(|field| field.meaning())
    };
    let source = |name: &str| {
        let source = EnvironmentSource::ALL
            .iter()
            .find(|source| source.label() == name);
        source.map(|source| source.meaning())
    };
    html! {
        section {
            h2 { "Environment" }
            @if known.is_empty() {
                p.quiet { "Nothing was known of what it ran on." }
            } @else {
                div.wide tabindex="0" role="region" aria-label="What it ran on" {
                    table.facts {
                        caption { (count(known.len(), "field", "fields")) " of what it ran on, as it was known then" }
                        thead { tr { th scope="col" { "Field" } th scope="col" { "Value" } th scope="col" { "Known from" } } }
                        tbody {
                            @for (name, field) in known {
                                tr {
                                    th scope="row" title=[meaning(name)] { (name.replace('_', " ")) }
                                    td { (field.value) }
                                    td.quiet title=[source(&field.source)] { (field.source.replace('_', " ")) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::run_log::{Cause, Ending, Heading, Lines};
    use crate::server::pages::fixture;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_run_is_told_with_its_requests_and_both_views() {
        let run = fixture::stored_run("qwen3-32b-fp8", now());
        let page = html(&run, now(), None, now());
        insta::assert_snapshot!(fixture::text(&page));
        assert_eq!(page.matches("<g class=\"request\"").count(), 64);
        assert!(page.contains("href=\"../deployments/qwen3-32b-fp8\""));
        assert!(page.contains(&format!("href=\"../api/v1/runs/{}\"", run.run_id)));
    }

    #[test]
    fn a_run_whose_requests_are_gone_says_so() {
        let mut run = fixture::stored_run("qwen3-32b-fp8", now());
        run.request_records = None;
        let page = html(&run, now(), None, now());
        assert!(page.contains("not kept any more") && !page.contains("<svg class=\"waterfall\""));
    }

    #[test]
    fn a_run_that_does_not_count_says_why_and_has_no_figures() {
        let run = fixture::stored_failed_run("qwen3-32b-fp8", now());
        let page = html(&run, now(), None, now());
        assert!(page.contains("does not count") && page.contains("<b>connect</b>"));
        assert!(page.contains("× connect") && page.contains("connection refused"));
        assert!(
            !page.contains("class=\"histogram\"") && !page.contains("How times are distributed")
        );
    }

    fn logged(id: &str, text: &str) -> RunLog {
        let mut lines = Lines::default();
        lines.add(Duration::from_millis(1_500), text);
        RunLog {
            heading: Heading {
                id: RunId(id.to_owned()),
                deployment: text.to_owned(),
                workload: "reference".to_owned(),
                cause: Cause::Schedule,
                begun_at: now(),
            },
            ending: Ending::Failed,
            lines,
        }
    }

    #[test]
    fn a_run_is_shown_with_its_log_while_that_is_kept() {
        let run = fixture::stored_run("qwen3-32b-fp8", now());
        let log = logged(&run.run_id, "GET /version says 0.13.0");
        let page = html(&run, now(), Some(&log), now());
        assert!(page.contains("+1.500s  GET /version says 0.13.0"), "{page}");
        let link = format!("href=\"../api/v1/runs/{}/log\"", run.run_id);
        assert!(page.contains(&link), "{page}");
        let page = html(&run, now(), None, now());
        assert!(page.contains("not kept any more") && !page.contains(&link));
    }

    #[test]
    fn an_attempt_that_came_to_no_run_has_a_page_with_its_log() {
        let mut fleet = fixture::fleet(now());
        let id = RunId("019c1e5a-8f00-7a3e-b1d2-000000000042".to_owned());
        let why = "the token file is gone";
        Arc::make_mut(&mut fleet.probes[1]).did_not_run(Some(id.clone()), why.to_owned(), now());
        let page = alone(&fleet, &id, Some(&logged(&id.0, why)), "no", now()).unwrap();
        assert!(page.contains("came to no run") && page.contains("+1.500s  the token file"));
        assert!(page.contains("href=\"../deployments/qwen3-32b-fp8\""));
        let page = alone(&fleet, &id, None, "no", now()).unwrap();
        assert!(page.contains(why) && page.contains("not kept any more"));

        // A run that the history does not have, of a target that is no deployment.
        let other = RunId("019c1e5a-8f00-7a3e-b1d2-000000000043".to_owned());
        let log = logged(&other.0, fixture::HOSTILE);
        let page = alone(&fleet, &other, Some(&log), "no history", now()).unwrap();
        assert!(page.contains("Only its log can be shown: no history."));
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"));
        assert_eq!(alone(&fleet, &other, None, "no history", now()), None);
    }

    #[test]
    fn no_text_becomes_a_part_of_the_page() {
        let run = fixture::hostile_run(now());
        let page = html(&run, now(), None, now());
        assert!(!page.contains("<script>"), "{page}");
        assert!(page.matches("&lt;script&gt;").count() > 20, "{page}");
        assert!(missing(fixture::HOSTILE, now()).contains("&lt;script&gt;"));
    }
}
