//! One deployment: what the judges say of it and how sure they are, what it did over time, what it runs on, and its
//! last runs; and the buttons that change something, where that is allowed.

mod environment;
mod forms;
mod judged;
mod outcomes;
mod posted;
mod press;
mod runs;

use std::collections::BTreeMap;

use jiff::Timestamp;
use maud::{Markup, html};
use url::form_urlencoded::Serializer;

use self::environment::environment;
pub(super) use self::forms::Buttons;
use self::judged::judged;
pub(in crate::server) use self::outcomes::Outcomes;
pub(super) use self::press::press;
use self::runs::runs;
use super::assets;
use super::frame::{self, moment};
use super::mark::state;
use super::shown_runs::ShownRuns;
use super::shown_time::ShownTime;
use crate::board::Snapshot;

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
