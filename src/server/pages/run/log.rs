//! What the prober noted of a run, as long as it is kept, and an attempt that came to no run and has nothing else.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::board::{ProbeStatus, RecentRun, Snapshot};
use crate::measurement::RunId;
use crate::run_log::RunLog;
use crate::server::pages::frame::{self, moment};

/// The section with the log of the run of that id.
pub(super) fn section(id: &RunId, log: Option<&RunLog>) -> Markup {
    let text = frame::run_api("../", &id.0) + "/log";
    html! {
        section {
            h2 { "Log" }
            @match log {
                Some(log) => {
                    p.quiet {
                        "What this prober noted, with the seconds since the begin; dates are in UTC. It is kept in memory "
                        "only. The same as text: " a href=(text) { (frame::run_api("", &id.0)) "/log" }
                    }
                    pre.log tabindex="0" role="region" aria-label="Log of the run" { (log.text()) }
                },
                None => p.quiet {
                    "The log of this run is not kept any more. Logs are in memory only, and "
                    code { "serve --web.run-log-limit" } " says how many."
                },
            }
        }
    }
}

/// The attempt of that id which came to no run, as long as the table of its deployment has it.
fn attempt<'a>(snapshot: &'a Snapshot, id: &RunId) -> Option<(&'a ProbeStatus, &'a RecentRun)> {
    let is_it = |run: &&RecentRun| run.not_run.is_some() && run.id.as_ref() == Some(id);
    snapshot
        .probes
        .iter()
        .find_map(|probe| Some((&**probe, probe.recent.iter().rev().find(is_it)?)))
}

/// Renders what is known of a run that the history does not give, and `why` not; `None` when that is nothing.
pub(in crate::server::pages) fn alone(
    snapshot: &Snapshot,
    id: &RunId,
    log: Option<&RunLog>,
    why: &str,
    now: Timestamp,
) -> Option<String> {
    let attempt = attempt(snapshot, id);
    let name = match (&attempt, log) {
        (Some((probe, _)), _) => probe.deployment.name.as_str(),
        (None, Some(log)) => &log.heading.deployment,
        (None, None) => return None,
    };
    // A target of `/probe` is no deployment and has no page.
    let has_page = snapshot
        .probes
        .iter()
        .any(|probe| probe.deployment.name.as_str() == name);
    let main = html! {
        p.quiet {
            a href="../" { "Fleet" } " / "
            @if has_page { a href=(frame::deployment("../", name)) { (name) } } @else { (name) }
            " / run"
        }
        h1 { "Run of " (name) }
        @match attempt {
            Some((probe, run)) => {
                p {
                    span.state data-state="down" { span aria-hidden="true" { "×" } " came to no run" } " "
                    span.quiet { "workload " (probe.workload.name) ", ended " (moment(run.ended_at, now)) }
                }
                @if let Some(why) = &run.not_run { p.notice { (why) } }
            },
            None => p.notice { "Only its log can be shown: " (why) "." },
        }
        (section(id, log))
        p { "Run " code { (id) } "." }
    };
    let title = format!("Run of {name} · vllm-prober");
    Some(frame::page(&title, "../", None, &main, now))
}
