//! The page at `/`: what this is, where to go on, and how every deployment fares.
//!
//! It needs no script, loads nothing from elsewhere, and looks again by itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};
use sha2::{Digest, Sha256};

use crate::board::{ProbeStatus, Snapshot};
use crate::statistics::Figures;

const STYLE: &str = "
:root { color-scheme: light dark; font-family: system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 95rem; padding: 0 1rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { white-space: nowrap; padding: .35rem .7rem; text-align: left; border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
";

/// What a content security policy calls the page's style by, so that it lets in no other.
pub(super) fn style_hash() -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(STYLE)))
}

/// Renders `snapshot` as it is at `now`.
pub(super) fn html(snapshot: &Snapshot, now: Timestamp) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content="10";
                title { "vllm-prober" }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                h1 { "vllm-prober" }
                p {
                    "Replays a fixed workload against vLLM deployments on a schedule and exposes what it measured. "
                    "Version " (env!("CARGO_PKG_VERSION")) "."
                }
                p {
                    a href="metrics" { "Metrics" } " · " a href="config" { "Configuration" } " · "
                    a href="-/healthy" { "Health" } " · " a href="-/ready" { "Readiness" }
                }
                div.table {
                    table {
                        thead {
                            tr {
                                th { "Deployment" } th { "State" } th { "Workload" } th { "Precision" } th { "Model" } th { "vLLM" }
                                th { "Last run" }
                                th.n { "QPS" } th.n { "Decode tok/s" } th.n { "p50 (s)" } th.n { "p95 (s)" } th.n { "TTFT p50 (s)" }
                                th.n { "Age" } th.n { "Next run" }
                            }
                        }
                        tbody {
                            @for same in snapshot.of_each_deployment() {
                                @let state = snapshot.state(same, now).label();
                                @for probe in same { (row(probe, state, snapshot.stale_after, now)) }
                            }
                        }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn row(probe: &ProbeStatus, state: &str, stale_after: u32, now: Timestamp) -> Markup {
    let current = probe.current(stale_after, now);
    let figures = current
        .and_then(|last| last.outcome.summary())
        .and_then(|summary| summary.figures.as_ref());
    let cell = |value: fn(&Figures) -> Option<f64>, digits: usize| {
        figures
            .and_then(value)
            .map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
    };
    let age = probe
        .last
        .as_ref()
        .map(|last| now.duration_since(last.ended_at).as_secs());
    let next = probe
        .next_run
        .map(|slot| slot.duration_since(now).as_secs());
    html! {
        tr {
            td { (probe.deployment.name) }
            td { (state) }
            td { (probe.workload.name) }
            td { (probe.deployment.precision.as_deref().unwrap_or("–")) }
            td { (probe.model().unwrap_or("–")) }
            td { (probe.server_version().unwrap_or("–")) }
            td { (last_run_in_words(probe, stale_after, now)) }
            td.n { (cell(|f| Some(f.qps), 3)) }
            td.n { (cell(|f| Some(f.decode_tps), 1)) }
            td.n { (cell(|f| Some(f.latency.p50), 3)) }
            td.n { (cell(|f| Some(f.latency.p95), 3)) }
            td.n { (cell(|f| Some(f.ttft?.p50), 3)) }
            td.n { (age.map_or_else(|| "–".to_owned(), |age| format!("{age} s"))) }
            td.n { @match next {
                _ if probe.in_progress => "running",
                Some(wait) if wait <= 0 => "waiting",
                Some(wait) => { "in " (wait) " s" },
                None => "–",
            } }
        }
    }
}

/// The last run in a word or two.
pub fn last_run_in_words(probe: &ProbeStatus, stale_after: u32, now: Timestamp) -> String {
    let Some(last) = &probe.last else {
        return if probe.in_progress {
            "first run".to_owned()
        } else {
            "none yet".to_owned()
        };
    };
    if probe.current(stale_after, now).is_none() {
        return "stale".to_owned();
    }
    let reasons: Vec<&str> = last
        .outcome
        .invalid_reasons()
        .iter()
        .map(|reason| reason.label())
        .collect();
    if reasons.is_empty() {
        "ok".to_owned()
    } else {
        reasons.join(", ")
    }
}
