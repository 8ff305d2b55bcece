//! This program itself: which version it is, how it fares, and the configuration that it runs with.

use jiff::Timestamp;
use maud::{Markup, html};

use super::frame::{self, Place, moment};
use super::quantity::{amount, count, number, percent, seconds, span, whole};
use crate::board::Snapshot;
use crate::server::metrics::{Itself, Loading};

/// Bytes of the configuration that are shown at most, so that the page stays a light one.
const MOST_CONFIGURATION: usize = 100_000;

/// Renders the program `itself` at `now`, which runs with `configuration`, a text that is fit to be shown.
pub(super) fn html(
    itself: &Itself,
    snapshot: &Snapshot,
    configuration: &str,
    now: Timestamp,
) -> String {
    let main = html! {
        h1 { "About this prober" }
        (troubles(itself))
        section {
            h2 { "Version" }
            (facts("Version of this program", &[
                ("Version", Some(html! { (env!("CARGO_PKG_VERSION")) })),
                ("Revision", Some(html! { code { (env!("VLLM_PROBER_REVISION")) } })),
                ("Compiler", Some(html! { (env!("VLLM_PROBER_RUSTC")) })),
            ]))
        }
        section {
            h2 { "Health" }
            (facts("Health of this program", &health(itself, snapshot, now)))
        }
        (sources(itself, now))
        section {
            h2 { "Configuration" }
            p.quiet {
                "Secrets are masked. The same as text: " a href="config" { "/config" } "."
            }
            @let (shown, rest) = cut(configuration);
            pre.configuration tabindex="0" role="region" aria-label="Configuration" { (shown) }
            @if rest > 0 {
                p.quiet { (count(rest, "line", "lines")) " more: " a href="config" { "all of it" } "." }
            }
        }
    };
    frame::page("About · vllm-prober", "", Some(Place::About), &main, now)
}

/// The lines of a configuration that have room on a page, and how many lines there are beyond.
fn cut(configuration: &str) -> (&str, usize) {
    if configuration.len() <= MOST_CONFIGURATION {
        return (configuration, 0);
    }
    let mut places = (0..=MOST_CONFIGURATION).rev();
    let room = places.find(|place| configuration.is_char_boundary(*place));
    let room = room.unwrap_or_default();
    let end = configuration[..room]
        .rfind('\n')
        .map_or(room, |end| end + 1);
    let (shown, rest) = configuration.split_at(end);
    (shown, rest.lines().count())
}

/// What someone should look into.
fn troubles(itself: &Itself) -> Markup {
    let failing = itself.sources.iter().filter(|source| source.failing);
    html! {
        @if !itself.configuration.succeeded {
            p.notice {
                "The configuration was to be read anew and has a mistake, so the one before still holds. "
                "The log says what is wrong."
            }
        }
        @if itself.web_configuration.is_some_and(|web| !web.succeeded) {
            p.notice {
                "The web configuration has a mistake, so the one before stays in force. The log says what is wrong."
            }
        }
        @for source in failing {
            p.notice { "Not all of " (source.source) " can be read, so what it said last still holds." }
        }
    }
}

/// A row of a table: what it is of, and its value when that is known.
type Fact = (&'static str, Option<Markup>);

fn health(itself: &Itself, snapshot: &Snapshot, now: Timestamp) -> Vec<Fact> {
    let runs = snapshot.probes.iter().filter_map(|probe| {
        let summary = probe
            .current(snapshot.stale_after, now)?
            .outcome
            .summary()?;
        Some((summary.client_load_ratio?, probe))
    });
    let busiest = runs.max_by(|a, b| a.0.total_cmp(&b.0));
    let running = snapshot.probes.iter().filter(|probe| probe.in_progress);
    let history = itself.history.as_ref();
    vec![
        (
            "Up since",
            itself.started_at.map(|at| {
                html! { (moment(at, now)) ", for " (span(now.duration_since(at))) }
            }),
        ),
        ("Configuration loaded", loaded(itself.configuration, now)),
        (
            "Web configuration loaded",
            itself.web_configuration.and_then(|web| loaded(web, now)),
        ),
        (
            "Probes",
            Some(html! { (whole(snapshot.probes.len())) ", " (whole(running.count())) " running" }),
        ),
        (
            "Event loop late, in the last minute",
            itself.lag.map(|(median, most)| {
                html! { (seconds(median)) " median, " (seconds(most)) " at most" }
            }),
        ),
        (
            "Load of a measuring thread, highest of the last runs",
            busiest.map(|(load, probe)| {
                html! {
                    (percent(load)) " in a run of " (probe.deployment.name)
                    @if load > probe.workload.validity.max_client_load_ratio {
                        ": more than its workload bears, so that this prober may be what is slow"
                    }
                }
            }),
        ),
        (
            "History",
            Some(match history {
                Some((size, _)) => html! { (bytes(*size as f64)) " on the disk" },
                None => html! { "none is kept" },
            }),
        ),
        (
            "Errors of the history",
            history.map(|(_, errors)| {
                let some: Vec<_> = errors.iter().filter(|(_, number)| *number > 0).collect();
                html! {
                    @if some.is_empty() { "none" }
                    @for (operation, number) in some {
                        div { (number) " × " b { (operation.label()) } ": " (operation.meaning()) }
                    }
                }
            }),
        ),
        ("Memory", itself.memory.map(|size| html! { (bytes(size)) })),
        (
            "Open files",
            itself.files.map(|files| {
                html! {
                    (amount(files))
                    @if let Some(most) = itself.most_files { " of at most " (amount(most)) }
                    @if let Some(sockets) = itself.sockets {
                        ", of them " (count(sockets, "socket", "sockets"))
                    }
                }
            }),
        ),
        (
            "Computing since the start",
            itself.cpu.map(|cpu| html! { (seconds(cpu)) }),
        ),
    ]
}

/// When a configuration was loaded, and when that last failed.
fn loaded(of: Loading, now: Timestamp) -> Option<Markup> {
    of.loaded_at.map(|at| {
        html! {
            (moment(at, now))
            @if let Some(failed_at) = of.failed_at {
                @if of.succeeded { "; the last attempt that failed was " } @else { "; reading it anew failed " }
                (moment(failed_at, now))
            }
        }
    })
}

/// How the lists fare that tell whom to probe.
fn sources(itself: &Itself, now: Timestamp) -> Markup {
    html! {
        @if !itself.sources.is_empty() {
            section {
                h2 { "Discovery" }
                div.wide tabindex="0" role="region" aria-label="Sources of deployments" {
                    table.facts {
                        thead { tr {
                            th scope="col" { "Source" } th scope="col" { "State" } th scope="col" { "Last read" }
                            th scope="col" { "Targets" } th scope="col" { "Cannot be probed" }
                        } }
                        tbody {
                            @for source in &itself.sources {
                                tr {
                                    th scope="row" { (source.source) }
                                    td { @if source.failing { span.reason { "× failing" } } @else { "ok" } }
                                    td {
                                        @match source.last_success {
                                            Some(at) => (moment(at, now)),
                                            None => "never yet",
                                        }
                                    }
                                    td.figure { (source.targets) }
                                    td.figure { (source.refused) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn facts(label: &str, facts: &[Fact]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label=(label) {
            table.facts {
                tbody {
                    @for (name, value) in facts {
                        @if let Some(value) = value { tr { th scope="row" { (name) } td { (value) } } }
                    }
                }
            }
        }
    }
}

/// An amount of memory, in the unit that suits it.
fn bytes(value: f64) -> String {
    let (scale, unit) = match value {
        value if value < 1e6 => (1e3, "kB"),
        value if value < 1e9 => (1e6, "MB"),
        _ => (1e9, "GB"),
    };
    format!("{}\u{a0}{unit}", number(value / scale))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::board::Outcome;
    use crate::discovery::source::SourceStatus;
    use crate::history::Operation;
    use crate::server::pages::fixture;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn shown(itself: &Itself, configuration: &str) -> String {
        let page = html(itself, &fixture::fleet(now()), configuration, now());
        page.replace('\u{a0}', " ")
    }

    #[test]
    fn it_tells_how_the_program_fares() {
        let itself = Itself {
            lag: Some((0.0012, 0.0345)),
            history: Some((
                12_340_000,
                vec![(Operation::Append, 0), (Operation::Prune, 3)],
            )),
            configuration: Loading {
                succeeded: true,
                loaded_at: Some("2026-03-01T09:30:00Z".parse().unwrap()),
                failed_at: None,
            },
            web_configuration: None,
            sources: Vec::new(),
            memory: Some(43.2e6),
            files: Some(31.0),
            most_files: Some(1024.0),
            sockets: Some(7),
            cpu: Some(12.3),
            started_at: Some("2026-02-27T12:00:00Z".parse().unwrap()),
        };
        let page = shown(&itself, "deployments: []\n");
        for told in [
            env!("CARGO_PKG_VERSION"),
            env!("VLLM_PROBER_REVISION"),
            "1.20 ms median, 34.5 ms at most",
            "12.34 MB on the disk",
            "3 × <b>prune</b>",
            "09:30 UTC",
            "for 2 d",
            "43.20 MB",
            "31 of at most 1,024, of them 7 sockets",
            "deployments: []",
        ] {
            assert!(page.contains(told), "{told}: {page}");
        }
        assert!(!page.contains("class=\"notice\"") && !page.contains("Discovery"));
        assert!(!page.contains("Web configuration loaded") && !page.contains("failed"));
        assert!(
            !page.contains("append"),
            "what did not go wrong is not told"
        );
    }

    #[test]
    fn a_long_configuration_is_cut_where_a_line_ends() {
        let line = "  - { name: ü, family: qwen3-32b }\n";
        let page = shown(&Itself::default(), &line.repeat(10_000));
        assert!(page.len() < 150_000, "{} bytes", page.len());
        let lines = page.matches("qwen3-32b }\n").count();
        let rest = format!("{} more: ", count(10_000 - lines, "line", "lines"));
        let rest = rest.replace('\u{a0}', " ");
        assert!(page.contains(&rest), "{rest}");
        assert!(!shown(&Itself::default(), line).contains(" more: "));
    }

    #[test]
    fn it_tells_when_a_configuration_was_loaded_and_when_that_failed() {
        let at = |time: &str| Some(format!("2026-03-01T{time}Z").parse().unwrap());
        let itself = Itself {
            configuration: Loading {
                succeeded: true,
                loaded_at: at("09:30:00"),
                failed_at: at("09:20:00"),
            },
            web_configuration: Some(Loading {
                succeeded: false,
                loaded_at: at("08:10:00"),
                failed_at: at("11:50:00"),
            }),
            ..Itself::default()
        };
        let page = shown(&itself, "");
        let row = |name: &str| {
            let row = page.split(&format!("{name}</th>")).nth(1).unwrap();
            row.split("</tr>").next().unwrap().to_owned()
        };
        let main = row(">Configuration loaded");
        let parts: Vec<_> = main.split("; the last attempt that failed was ").collect();
        assert!(
            parts[0].contains("09:30 UTC") && parts[1].contains("09:20 UTC"),
            "{main}"
        );
        let web = row(">Web configuration loaded");
        let parts: Vec<_> = web.split("; reading it anew failed ").collect();
        assert!(
            parts[0].contains("08:10 UTC") && parts[1].contains("11:50 UTC"),
            "{web}"
        );
        assert!(page.contains("The web configuration has a mistake"));
        assert!(!page.contains("The configuration was to be read anew"));
    }

    #[test]
    fn it_tells_whose_run_kept_a_measuring_thread_the_busiest() {
        let mut fleet = fixture::fleet(now());
        let loads = [0.02, 0.93, 0.3];
        let mut loads = loads.into_iter();
        for probe in &mut fleet.probes {
            let probe = Arc::make_mut(probe);
            let Some(last) = &mut probe.last else {
                continue;
            };
            last.ended_at = now();
            if let Outcome::Ran { summary, .. } = &mut last.outcome {
                Arc::make_mut(summary).client_load_ratio = loads.next();
            }
        }
        assert_eq!(loads.next(), None, "three runs have a load");
        let page = html(&Itself::default(), &fleet, "", now());
        let page = page.replace('\u{a0}', " ");
        let told = page.split("93.0 % in a run of ").nth(1).unwrap();
        assert!(told.contains("this prober may be what is slow"), "{page}");
    }

    #[test]
    fn it_tells_what_is_wrong_and_leaves_out_what_is_not_known() {
        let itself = Itself {
            sources: vec![SourceStatus {
                source: fixture::HOSTILE.to_owned(),
                failing: true,
                last_success: None,
                targets: 3,
                refused: 1,
            }],
            ..Itself::default()
        };
        let page = shown(&itself, &format!("name: {}", fixture::HOSTILE));
        assert!(page.contains("has a mistake") && page.contains("× failing"));
        assert!(page.contains("never yet") && page.contains("none is kept"));
        assert!(
            !page.contains("Memory") && !page.contains("Up since"),
            "{page}"
        );
        assert!(!page.contains("<script>") && page.matches("&lt;script&gt;").count() == 3);
    }
}
