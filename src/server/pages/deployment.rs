//! One deployment: what the judges say of it and how sure they are, what it did over time, what it runs on, and its
//! last runs; and the buttons that change something, where that is allowed.

mod forms;
mod outcomes;
mod posted;
mod press;

use std::collections::BTreeMap;

use jiff::Timestamp;
use maud::{Markup, PreEscaped, html};
use url::form_urlencoded::Serializer;

pub(super) use self::forms::Buttons;
pub(in crate::server) use self::outcomes::Outcomes;
pub(super) use self::press::press;
use super::assets;
use super::curves::{self, Curve, Curves};
use super::finding::{Finding, fields, name, with_unit};
use super::frame::{self, moment};
use super::mark::{state, verdict};
use super::quantity::{NONE, count, number, percent, ratio, seconds};
use super::readout::Readout;
use super::shown_runs::ShownRuns;
use super::shown_time::ShownTime;
use crate::board::{DeploymentStatus, ProbeStatus, RecentRun, Snapshot};
use crate::environment::EnvironmentField;
use crate::measure::Measure;
use crate::verdict::{Comparison, Judgement};

/// Runs in the table.
const MOST_RUNS: usize = 50;

/// What is asked of the page.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    shown: ShownRuns,
    time: ShownTime,
    /// Whether another time was meant, and cannot be read.
    is_time_mistaken: bool,
}

impl Asked {
    /// What the query of its address says.
    pub(super) fn read(query: &BTreeMap<String, String>) -> Self {
        let given = |name: &str| query.get(name).map(String::as_str);
        let time = ["last", "from", "to"].map(given);
        let shown_time = ShownTime::read(time[0], time[1], time[2]);
        let is_given = time.iter().flatten().any(|text| !text.is_empty());
        Self {
            shown: ShownRuns::read(given("runs"), given("workload")),
            time: shown_time,
            is_time_mistaken: is_given && shown_time == ShownTime::All,
        }
    }

    /// Whether some of it makes no sense.
    pub(super) fn is_mistaken(&self) -> bool {
        self.shown.is_mistaken() || self.is_time_mistaken
    }
}

/// Renders the deployment of that name as it is at `now`, with what is `asked` for, and the `buttons` where they may
/// be pressed; `None` when there is none of that name.
pub(super) fn html(
    snapshot: &Snapshot,
    wanted: &str,
    asked: &Asked,
    buttons: Option<&Buttons>,
    now: Timestamp,
) -> Option<String> {
    let Asked {
        shown,
        time,
        is_time_mistaken,
    } = asked;
    let time = *time;
    let probes = snapshot
        .of_each_deployment()
        .find(|probes| probes[0].deployment.name.as_str() == wanted)?;
    let deployment = &probes[0].deployment;
    let status = snapshot
        .deployments
        .get(&deployment.name)
        .map(AsRef::as_ref);
    let about = [
        deployment.family.as_deref(),
        deployment.precision.as_deref(),
        probes[0].model(),
    ];
    let main = html! {
        p.quiet { a href="../" { "Fleet" } " / " (wanted) }
        h1 { (wanted) }
        p {
            (state(snapshot.state(probes, now))) " "
            span.quiet { (about.into_iter().flatten().collect::<Vec<_>>().join(" · ")) }
            @if let Some(family) = &deployment.family {
                " "
                a href={ "../precision?" (Serializer::new(String::new()).append_pair("family", family).finish()) } {
                    "Compare its family"
                }
            }
        }
        @if let Some(status) = status {
            p.quiet { (status.condition.evidence) ", seen " (moment(status.seen_at, now)) }
            @for contradiction in &status.contradictions {
                p.notice {
                    "The configuration says " (contradiction.field.label()) " " (contradiction.declared) ", and "
                    (contradiction.source.label()) " says " (contradiction.found) "."
                }
            }
        }
        @if let Some(buttons) = buttons { (forms::all(probes, buttons, now)) }
        @if *is_time_mistaken {
            p.notice role="alert" {
                "There is no such time, so all runs are shown; write `last=6` for hours, or `from=` and `to=` as "
                code { "2026-03-01T06:00:00Z" } "."
            }
        }
        @for probe in probes.iter().filter(|probe| !probe.workload.is_light()) {
            (judged(probe, status, (shown, time), now))
        }
        (environment(status, now))
        (shown.form(probes, &time.pairs()))
        @for probe in probes.iter().filter(|probe| shown.is_of(probe)) { (runs(probe, shown, now)) }
        script src={ "../" (assets::CHARTS.path()) } defer {}
        p { "The same for programs: " a href=(frame::api("../", wanted)) { (frame::api("", wanted)) } }
    };
    let title = format!("{wanted} · vllm-prober");
    Some(frame::page(&title, "../", None, &main, now))
}

/// Renders that there is no deployment of that name, and what was typed on its page, if something was.
pub(super) fn missing(wanted: &str, typed: Option<&Markup>, now: Timestamp) -> String {
    let main = html! {
        h1 { "No such deployment" }
        @if let Some(typed) = typed { (typed) }
        p.empty {
            "No deployment " b { (wanted) } " is configured any more, or the name is misspelt. "
            a href="../" { "Show the fleet" }
        }
    };
    frame::page("No such deployment · vllm-prober", "../", None, &main, now)
}

/// What the judges say of a probe, and its figures over time.
fn judged(
    probe: &ProbeStatus,
    status: Option<&DeploymentStatus>,
    asked: (&ShownRuns, ShownTime),
    now: Timestamp,
) -> Markup {
    let finding = Finding::of(probe);
    let judgements = probe.opinion.as_ref().map(|opinion| &opinion.judgements);
    html! {
        section aria-label={ "Workload " (probe.workload.name) } {
            h2 { "Workload " (probe.workload.name) }
            div.said data-stand=(finding.stand.label()) {
                    (verdict(finding.stand, &finding.in_short()))
                    p { (finding.in_full(status, now).html(now)) }
                    @if let Some(why) = finding.why(status) { p.quiet { (why.html(now)) } }
                    @if let Some(seen) = finding.acknowledged(now) { p.quiet { (seen.html(now)) } }
                }
            (figures(probe, status, asked, now))
            @if let Some(judgements) = judgements {
                div.wide tabindex="0" role="region" aria-label="Judgement of every measure" {
                    table.facts {
                        caption { "Every measure that is judged. A ratio is the present level divided by the other, with its 95 % interval." }
                        thead { tr {
                            th scope="col" { "Measure" } th scope="col" { "Verdict" } th scope="col" { "Baseline" }
                            th scope="col" { "Against the baseline" } th scope="col" { "Against the environment before" }
                            th scope="col" { "Noise of a run" } th scope="col" { "Could have seen" }
                        } }
                        tbody {
                            @for (measure, judgement) in judgements { (measure_row(*measure, judgement, now)) }
                        }
                    }
                }
            }
        }
    }
}

fn measure_row(measure: Measure, judgement: &Judgement, now: Timestamp) -> Markup {
    let compared = |comparison: Option<&Comparison>| {
        html! {
            @match comparison {
                Some(comparison) => {
                    span.figure { (ratio(comparison.ratio)) } " "
                    span.quiet {
                        (ratio(comparison.lower)) " to " (ratio(comparison.upper)) ", " (comparison.decision.label()) ", "
                        (count(comparison.runs_after, "run", "runs")) " against " (comparison.runs_before)
                    }
                },
                None => (NONE),
            }
        }
    };
    let share = |share: Option<f64>| share.map_or_else(|| NONE.to_owned(), percent);
    html! {
        tr {
            th scope="row" { (name(measure)) }
            td {
                @match &judgement.standing {
                    Some(standing) => { (standing.verdict.label()) " since " (moment(standing.since, now)) },
                    None => "none",
                }
            }
            td.figure {
                (judgement.baseline_median.map_or_else(|| NONE.to_owned(), |median| with_unit(measure, median)))
            }
            td { (compared(judgement.baseline.as_ref())) }
            td { (compared(judgement.previous.as_ref())) }
            td.figure { (share(judgement.noise_ratio)) }
            td.figure { (share(judgement.minimum_detectable_change)) }
        }
    }
}

/// The figures of a probe over time, with the runs and the time that were asked for.
fn figures(
    probe: &ProbeStatus,
    status: Option<&DeploymentStatus>,
    (shown, time): (&ShownRuns, ShownTime),
    now: Timestamp,
) -> Markup {
    let changes = status.map_or(&[][..], |status| &status.recent_changes);
    let choice = || time.choice(&shown.pairs(), now);
    match curves::of(probe, changes, time, now) {
        Err(error) => html! { p.notice { (error) } },
        Ok(Curves::None) => {
            html! { p.empty { "There is no run yet that counts, so there is nothing to draw." } }
        }
        Ok(Curves::NoneThen) => html! {
            (choice())
            p.empty { "No run that counts is known of this time. Choose another one." }
        },
        Ok(Curves::Drawn(curves, readout)) => html! {
            (choice())
            (charts(&curves, &readout))
        },
    }
}

fn charts(curves: &[Curve], readout: &Readout) -> Markup {
    html! {
        p.legend {
            (count(readout.shown, "run", "runs")) ". "
            span { "┄ baseline and its tolerance" } " "
            span { "│ a change of the environment" } " "
            span { "× a run that does not count" } " "
            span { "▲ disturbed by other traffic" }
        }
        p.legend.scripted {
            "Point at a run or tap it to read it off, and drag over a time to zoom to it. With the keyboard, in a chart: "
            kbd { "←" } " " kbd { "→" } " from run to run, " kbd { "Enter" } " opens the run, "
            kbd { "+" } " " kbd { "−" } " zoom, " kbd { "0" } " shows all."
        }
        div.curves data-plot=(readout.plot) data-ticks=(readout.ticks) data-runs=(readout.runs) data-environments=(readout.environments) {
            @for Curve { caption, svg, values } in curves {
                // On a narrow screen it scrolls by itself.
                figure tabindex="0" data-values=(values) {
                    figcaption { (caption) }
                    p.readout.scripted aria-live="polite" data-kept {}
                    // It was escaped where it was drawn.
                    div.plot { (PreEscaped(svg)) }
                }
            }
        }
    }
}

/// What it runs on, and what of that has changed.
fn environment(status: Option<&DeploymentStatus>, now: Timestamp) -> Markup {
    let known: Vec<_> = status
        .and_then(|status| status.generation.as_ref())
        .map(|generation| generation.environment.known().collect())
        .unwrap_or_default();
    let changes = status.map_or(&[][..], |status| &status.recent_changes);
    html! {
        section {
            h2 { "Environment" }
            @if !changes.is_empty() {
                ol.changes {
                    @for change in changes.iter().rev() {
                        li { (moment(change.at, now)) " " b { (fields(change)) } }
                    }
                }
            }
            @if known.is_empty() {
                p.quiet { "Nothing is known yet of what it runs on." }
            } @else {
                div.wide tabindex="0" role="region" aria-label="What it runs on" {
                    table.facts {
                        caption { "What it runs on, and where that is known from" }
                        thead { tr { th scope="col" { "Field" } th scope="col" { "Value" } th scope="col" { "Known from" } } }
                        tbody {
                            @for finding in &known {
                                tr {
                                    th scope="row" title=(finding.field.meaning()) { (finding.field.label().replace('_', " ")) }
                                    td { (finding.value) }
                                    td.quiet { (finding.source.label().replace('_', " ")) }
                                }
                            }
                        }
                    }
                }
                @let unknown = EnvironmentField::ALL.len() - known.len();
                @if unknown > 0 { p.quiet { (count(unknown, "field is", "fields are")) " not known." } }
            }
        }
    }
}

/// The last runs, the latest first.
fn runs(probe: &ProbeStatus, shown: &ShownRuns, now: Timestamp) -> Markup {
    let chosen = || probe.recent.iter().filter(|run| shown.has(run));
    let title = format!("Last runs of workload {}", probe.workload.name);
    html! {
        section {
            h2 { (title) }
            @if probe.recent.iter().len() == 0 {
                p.empty {
                    @if probe.in_progress { "The first run is going on." } @else { "There was no run yet." }
                }
            } @else if chosen().next().is_none() {
                p.empty { "None of the last " (count(probe.recent.iter().len(), "run", "runs")) " is one of these." }
            } @else {
                div.wide tabindex="0" role="region" aria-label=(title) {
                    table.runs {
                        @let number = chosen().count();
                        caption {
                            (count(number, "run", "runs"))
                            @if number > MOST_RUNS {
                                ", the latest " (MOST_RUNS) " of them here; "
                                a href={ (frame::api("../", probe.deployment.name.as_str())) "/runs" } { "all that are stored" }
                            }
                        }
                        thead { tr {
                            th scope="col" { "Ended" } th scope="col" { "Outcome" } th scope="col" { "Decode tok/s" }
                            th scope="col" { "QPS" } th scope="col" { "Latency p50" } th scope="col" { "p95" }
                            th scope="col" { "TTFT p50" } th scope="col" { "TPOT p50" } th scope="col" { "Requests" }
                            th scope="col" { "Run" }
                        } }
                        tbody {
                            @for run in chosen().rev().take(MOST_RUNS) { (run_row(run, now)) }
                        }
                    }
                }
            }
        }
    }
}

fn run_row(run: &RecentRun, now: Timestamp) -> Markup {
    let figures = run.figures.as_ref();
    let figure = |value: Option<String>| html! { td.figure { (value.as_deref().unwrap_or(NONE)) } };
    html! {
        tr data-invalid[!run.invalid_reasons.is_empty()] {
            th scope="row" { (moment(run.ended_at, now)) }
            td {
                @if run.invalid_reasons.is_empty() {
                    "ok"
                } @else {
                    @for reason in &run.invalid_reasons {
                        span.reason title=(reason.meaning()) { "× " (reason.label().replace('_', " ")) } " "
                    }
                }
                @if let Some(why) = &run.not_run { div.quiet { (why) } }
            }
            (figure(figures.map(|figures| number(figures.decode_tps))))
            (figure(figures.map(|figures| number(figures.qps))))
            (figure(figures.map(|figures| seconds(figures.p50))))
            (figure(figures.map(|figures| seconds(figures.p95))))
            (figure(figures.and_then(|figures| figures.ttft_p50).map(seconds)))
            (figure(figures.and_then(|figures| figures.tpot_p50).map(seconds)))
            td {
                (run.completed) " ok"
                @if run.failed > 0 {
                    ", " (run.failed) " failed"
                    div.quiet {
                        @for (reason, failed) in &run.failures { (failed) " " (reason.label().replace('_', " ")) " " }
                    }
                }
            }
            td.quiet {
                @match &run.id {
                    Some(id) => a href=(frame::run("../", &id.0)) { code { (id) } },
                    None => (NONE),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::pages::fixture;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    /// The page of a deployment of the fleet, asked for with that query.
    fn asked(name: &str, query: &[(&str, &str)]) -> Option<String> {
        let pairs = query.iter();
        let query = pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let asked = Asked::read(&query.collect());
        html(&fixture::fleet(now()), name, &asked, None, now())
    }

    fn page(name: &str) -> String {
        asked(name, &[]).unwrap()
    }

    #[test]
    fn the_verdict_is_told_with_its_numbers_and_what_came_before_it() {
        for name in [
            "qwen3-32b-nvfp4",
            "llama-3.3-70b-fp8",
            "gemma-3-27b-int4",
            "qwen3-32b-fp8",
            "phi-4-new",
        ] {
            let page = page(name);
            let said = page.split("<div class=\"said\"").nth(1).unwrap();
            let said = said.split("</div>").next().unwrap().replace('\u{a0}', " ");
            insta::assert_snapshot!(format!("said_of_{name}"), said);
        }
    }

    #[test]
    fn every_figure_is_drawn_with_its_changes_and_gaps() {
        let page = page("qwen3-32b-nvfp4");
        for caption in [
            "Decode rate",
            "Request rate",
            "Latency, median",
            "Latency, 95th",
            "Time to first",
            "Time per output",
        ] {
            assert!(
                page.contains(&format!("<figcaption>{caption}")),
                "{caption}"
            );
        }
        assert!(
            page.contains("1: driver 580.95.05 → 590.12"),
            "the change has its label"
        );
        assert!(page.contains("× contaminated"), "{page}");
    }

    #[test]
    fn a_deployment_without_runs_and_one_that_is_unknown_have_pages() {
        let spare = page("qwen3-8b-spare");
        assert!(spare.contains("There was no run yet.") && spare.contains("nothing to draw"));
        assert_eq!(asked("nobody", &[]), None);
        assert!(missing("<script>", None, now()).contains("<b>&lt;script&gt;</b>"));
    }

    #[test]
    fn the_charts_show_the_time_that_was_asked_for() {
        let runs = |last: &str| {
            let page = asked("qwen3-32b-nvfp4", &[("last", last)]).unwrap();
            let runs = page.split("data-runs=\"[").nth(1);
            runs.map_or(0, |runs| {
                runs.split('"').next().unwrap().matches('[').count()
            })
        };
        let (all, day, hour) = (runs("none"), runs("24"), runs("6"));
        assert!(all > day && day > hour && hour > 0, "{all} {day} {hour}");
        let page = asked(
            "qwen3-32b-fp8",
            &[
                ("from", "2020-01-01T00:00:00Z"),
                ("to", "2020-01-02T00:00:00Z"),
            ],
        );
        assert!(
            page.unwrap()
                .contains("No run that counts is known of this time")
        );
    }

    #[test]
    #[ignore = "a measurement"]
    fn a_deployment_among_a_thousand_takes_less_than_100_ms() {
        let fleet = fixture::long_lived(1_000, now());
        let names = fleet
            .probes
            .iter()
            .map(|probe| probe.deployment.name.as_str());
        for name in names.filter(|name| name.ends_with("-0") || name.ends_with("99")) {
            for last in [None, Some("6")] {
                let start = tokio::time::Instant::now();
                let asked = Asked {
                    time: ShownTime::read(last, None, None),
                    ..Asked::default()
                };
                let page = html(&fleet, name, &asked, Some(&Buttons::default()), now());
                let took = start.elapsed();
                let length = page.map(|page| page.len() / 1_000);
                println!("{name}, {last:?}: {took:?}, {length:?} kB");
                assert!(took.as_millis() < 100, "{took:?}");
                assert!(length.is_some_and(|length| length < 300), "{length:?}");
            }
        }
    }

    #[test]
    fn runs_are_chosen_by_whether_they_count() {
        let rows = |which: &str| {
            let page = asked("qwen3-32b-fp8", &[("runs", which)]).unwrap();
            let invalid = page.matches("<tr data-invalid").count();
            (page.matches("../runs/").count() - invalid, invalid)
        };
        assert_eq!(rows("invalid"), (0, 3));
        assert_eq!(rows("valid"), (50, 0));
        assert_eq!(rows("all"), (47, 3));
        assert_eq!(rows("broken"), (47, 3));
        let mistaken = [("runs", "<b>")];
        let page = asked("qwen3-32b-fp8", &mistaken).unwrap();
        assert!(page.contains("no runs `&lt;b&gt;`"), "{page}");
        let query = mistaken.map(|(name, word)| (name.to_owned(), word.to_owned()));
        assert!(Asked::read(&query.into()).is_mistaken());
        let page = asked("qwen3-32b-fp8", &[("from", "yesterday")]).unwrap();
        assert!(page.contains("There is no such time"), "{page}");
        let page = asked("qwen3-32b-bf16", &[("runs", "invalid")]).unwrap();
        assert!(page.contains("is one of these."), "{page}");
    }

    #[test]
    fn no_text_becomes_a_part_of_the_page() {
        let page = html(
            &fixture::hostile(now()),
            fixture::HOSTILE,
            &Asked::default(),
            Some(&Buttons::default()),
            now(),
        )
        .unwrap();
        assert!(
            !page.contains("<script>") && !page.contains("</script>\"&"),
            "{page}"
        );
        assert!(page.matches("&lt;script&gt;").count() > 20);
    }
}
