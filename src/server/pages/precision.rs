//! The precisions of a family side by side: the three charts of the reference, how many times as fast each one is as
//! the others, and the same as files. It is what `compare` and `report` tell, worked out by the same code.

mod gathered;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use maud::{Markup, PreEscaped, html};
use url::form_urlencoded::Serializer;

pub(in crate::server) use self::gathered::Kept;
use self::gathered::Wanted;
pub(super) use self::gathered::{Compared, gather};
use super::assets;
use super::finding::capitalised;
use super::frame::{self, Place};
use super::quantity::{count, number, seconds};
use crate::board::Snapshot;
use crate::comparison::SideBySide;
use crate::report::charts::{Chart, Undrawn};
use crate::report::comparison::{Told, Unit, cells_told, csv, pairs};
use crate::report::document::by_precision;

/// What of a large family has room on the page: rows of the table, groups of bars in a chart whose names can still be
/// read, and lines of the table of speed-ups and of the notes.
const MOST_ROWS: usize = 100;
const MOST_BARS: usize = 6;
const MOST_LINES: usize = 12;

/// The families that have a probe which is judged, in order.
fn families(snapshot: &Snapshot) -> Vec<String> {
    let families: BTreeSet<&str> = snapshot
        .probes
        .iter()
        .filter(|probe| !probe.workload.is_light())
        .filter_map(|probe| probe.deployment.family.as_deref())
        .collect();
    families.into_iter().map(str::to_owned).collect()
}

/// The workloads by which the deployments of `family` may be compared, in the order of the configuration.
fn workloads(snapshot: &Snapshot, family: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for probe in &snapshot.probes {
        let is_of = probe.deployment.family.as_deref() == Some(family);
        let name = probe.workload.name.to_string();
        if is_of && !probe.workload.is_light() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What is to be compared; without a family, the first one there is.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn wanted(
    snapshot: &Snapshot,
    family: Option<&str>,
    workload: Option<&str>,
) -> Result<Wanted, String> {
    let families = families(snapshot);
    let family = match family {
        Some(family) if families.iter().any(|known| known == family) => family.to_owned(),
        Some(family) => {
            let known = families.join(", ");
            return Err(format!("There is no family {family}; there are {known}"));
        }
        None => families.first().cloned().ok_or(
            "No deployment has a family yet. One model in several precisions is compared within its `family`",
        )?,
    };
    let workloads = workloads(snapshot, &family);
    let workload = match workload {
        Some(workload) if workloads.iter().any(|known| known == workload) => workload.to_owned(),
        Some(workload) => {
            let known = workloads.join(", ");
            return Err(format!(
                "The family {family} is not probed with the workload {workload}; there are {known}"
            ));
        }
        None => workloads.first().cloned().unwrap_or_default(),
    };
    Ok(Wanted { family, workload })
}

/// Renders the comparison, or why there is none.
pub(super) fn html(
    snapshot: &Snapshot,
    wanted: Option<&Wanted>,
    compared: Result<&Compared, &str>,
    now: Timestamp,
) -> String {
    let main = html! {
        h1 { "Speed by precision" }
        (form(snapshot, wanted))
        @match (compared, wanted) {
            (Ok(compared), Some(wanted)) => (found(wanted, compared)),
            (Err(why), _) => p.empty { (why) "." },
            (Ok(_), None) => {},
        }
    };
    frame::page(
        "Precision · vllm-prober",
        "",
        Some(Place::Precision),
        &main,
        now,
    )
}

fn form(snapshot: &Snapshot, wanted: Option<&Wanted>) -> Markup {
    let families = families(snapshot);
    let workloads = wanted.map(|wanted| workloads(snapshot, &wanted.family));
    let workloads = workloads.unwrap_or_default();
    html! {
        @if !families.is_empty() {
            form.filter method="get" action="precision" aria-label="What is compared" {
                label { span { "Family" }
                    select name="family" {
                        @for family in &families {
                            @let is_it = wanted.is_some_and(|wanted| wanted.family == *family);
                            option value=(family) selected[is_it] { (family) }
                        }
                    }
                }
                @if workloads.len() > 1 {
                    label { span { "Workload" }
                        select name="workload" {
                            @for workload in &workloads {
                                @let is_it = wanted.is_some_and(|wanted| wanted.workload == *workload);
                                option value=(workload) selected[is_it] { (workload) }
                            }
                        }
                    }
                }
                button { "Show" }
            }
        }
    }
}

fn found(wanted: &Wanted, compared: &Compared) -> Markup {
    let table = &compared.table;
    let told = Told {
        figure: |figure, unit| match unit {
            Unit::PerSecond => number(figure),
            Unit::Seconds => seconds(figure),
        },
        times: "",
    };
    let (heads, rows) = cells_told(table, told);
    let all = table.rows.len();
    let pairs = pairs(table);
    let charts = match by_precision(&some_of_each(table, MOST_BARS)) {
        Ok(charts) => charts,
        Err(error) => return html! { p.notice { (error) } },
    };
    html! {
        p.quiet {
            (compared.heading.workload(table)) ". "
            a href=(address(wanted, "")) { "A link to this comparison" } " · " a href=(address(wanted, "csv")) { "CSV" }
        }
        @if !pairs.is_empty() {
            div.wide tabindex="0" role="region" aria-label="Speed-up" {
                table.facts {
                    caption { "Speed-up in decode tokens per second, with the interval that holds it in 95 cases of 100" }
                    thead { tr { th scope="col" { "Narrower over wider" } th scope="col" { "Speed-up" } } }
                    tbody {
                        @for (what, gain) in pairs.iter().take(MOST_LINES) {
                            tr { th scope="row" { (what) } td.figure { (gain) } }
                        }
                    }
                }
            }
            (beyond(pairs.len(), MOST_LINES, "pair", "pairs"))
        }
        script src=(assets::PICTURES.path()) defer {}
        div.curves {
            @for (name, chart) in &charts { (drawn(chart, &address(wanted, name))) }
        }
        p.quiet {
            "A bar is the median over the runs of its row, and nine runs in ten lie within its whisker. "
            "A single run has none."
            @if all > MOST_BARS {
                " The charts have " (MOST_BARS) " of " (count(all, "row", "rows")) ", some of each precision."
            }
        }
        div.wide tabindex="0" role="region" aria-label="Figures by precision" {
            table.facts {
                caption { "The same as a table: medians over the clean runs of the present level" }
                thead { tr { @for (name, _) in &heads { th scope="col" { (head(name)) } } } }
                tbody {
                    @for row in rows.iter().take(MOST_ROWS) {
                        tr {
                            @for (cell, (name, is_number)) in row.iter().zip(&heads) {
                                td.figure[*is_number] {
                                    @if name == "deployment" { a href=(frame::deployment("", cell)) { (cell) } }
                                    @else { (cell) }
                                }
                            }
                        }
                    }
                }
            }
        }
        @if all > MOST_ROWS {
            p.quiet {
                (count(all - MOST_ROWS, "row", "rows")) " more: " a href=(address(wanted, "csv")) { "all of them as CSV" } "."
            }
        }
        @if !table.notes.is_empty() {
            ul.quiet { @for note in table.notes.iter().take(MOST_LINES) { li { (note) } } }
            (beyond(table.notes.len(), MOST_LINES, "note", "notes"))
        }
    }
}

/// That there are more than `most`, if so.
fn beyond(all: usize, most: usize, one: &str, many: &str) -> Markup {
    html! { @if all > most { p.quiet { "and " (count(all - most, one, many)) " more" } } }
}

/// The name of a column as the other pages have it, with the unit of its figures.
fn head(name: &str) -> String {
    match name {
        "prompt_tps" => "Prompt tok/s".to_owned(),
        "decode_tps" => "Decode tok/s".to_owned(),
        "p50" => "Latency p50".to_owned(),
        "p95" => "p95".to_owned(),
        other => capitalised(other),
    }
}

/// At most so many rows of `table`, as many of each precision as of any other while there are some.
fn some_of_each(table: &SideBySide, most: usize) -> SideBySide {
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (place, row) in table.rows.iter().enumerate() {
        let precision = row
            .precision
            .as_ref()
            .map_or_else(String::new, ToString::to_string);
        let turn = taken.entry(precision).or_default();
        places.push((*turn, place));
        *turn += 1;
    }
    places.sort_unstable();
    let mut places: Vec<usize> = places
        .into_iter()
        .take(most)
        .map(|(_, place)| place)
        .collect();
    places.sort_unstable();
    SideBySide {
        rows: places
            .into_iter()
            .map(|place| table.rows[place].clone())
            .collect(),
        ..table.clone()
    }
}

fn drawn(chart: &Chart, file: &str) -> Markup {
    html! {
        figure tabindex="0" {
            figcaption {
                (chart.title) " "
                a href=(file) aria-label={ (chart.title) " as SVG" } { "SVG" } " "
                // A script draws the file.
                button.scripted type="button" data-png=(file) aria-label={ (chart.title) " as PNG" } { "PNG" }
            }
            // It was escaped where it was drawn.
            (PreEscaped(chart.inline()))
        }
    }
}

fn address(wanted: &Wanted, file: &str) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("family", &wanted.family);
    query.append_pair("workload", &wanted.workload);
    if !file.is_empty() {
        query.append_pair("file", file);
    }
    format!("precision?{}", query.finish())
}

/// A file of the comparison.
#[derive(Debug)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) text: String,
}

/// The comparison as the file that is asked for; `None` when there is none of that name.
///
/// # Errors
/// When a chart cannot be drawn.
pub(super) fn file(table: &SideBySide, asked: &str) -> Result<Option<File>, Undrawn> {
    if asked == "csv" {
        return Ok(Some(File {
            name: "precision.csv".to_owned(),
            kind: "text/csv; charset=utf-8",
            text: csv(table),
        }));
    }
    let charts = by_precision(table)?.into_iter();
    let found = charts.into_iter().find(|(name, _)| *name == asked);
    Ok(found.map(|(name, chart)| File {
        name: format!("{name}.svg"),
        kind: "image/svg+xml",
        text: chart.file(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::{Contestant, Precision};
    use crate::report::comparison::Heading;
    use crate::server::pages::fixture;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn compared(names: [&str; 2]) -> Compared {
        let contestants = names.map(|name| Contestant {
            deployment: name.to_owned(),
            precision: Some(Precision::declared(name)),
            level: None,
            runs: vec![fixture::stored_run(name, now())],
            left_out: 0,
        });
        let table = SideBySide::of(contestants.into(), None).unwrap();
        let heading = Heading {
            title: "f".to_owned(),
            workload: Some("reference".to_owned()),
        };
        Compared { heading, table }
    }

    #[test]
    fn a_family_is_compared_and_may_be_taken_along() {
        let fleet = fixture::fleet(now());
        let wanted = wanted(&fleet, Some("qwen3-32b"), None).unwrap();
        let compared = compared(["fp8", "bf16"]);
        let page = html(&fleet, Some(&wanted), Ok(&compared), now());
        assert_eq!(page.matches("<figure").count(), 3);
        assert!(page.contains("fp8 over bf16") && page.contains("1.000x, no interval"));
        assert!(page.contains("precision?family=qwen3-32b&amp;workload=reference&amp;file=csv"));
        let table = file(&compared.table, "csv").unwrap().unwrap();
        assert!(table.kind.starts_with("text/csv") && table.text.lines().count() == 3);
        for name in ["qps", "latency", "throughput"] {
            let chart = file(&compared.table, name).unwrap().unwrap();
            assert_eq!(
                (chart.kind, chart.name),
                ("image/svg+xml", format!("{name}.svg"))
            );
            assert!(chart.text.starts_with("<svg"), "{}", chart.text);
        }
        assert!(file(&compared.table, "png").unwrap().is_none());
    }

    #[test]
    fn a_large_family_has_room_on_the_page_and_each_row_leads_to_its_deployment() {
        let fleet = fixture::fleet(now());
        let wanted = wanted(&fleet, Some("qwen3-32b"), None).unwrap();
        let contestants = (0..300).map(|n| {
            let precision = ["nvfp4", "fp8", "bf16"][n % 3];
            let deployment = format!("qwen3-32b-{precision}-of-a-host-with-a-long-name-{n}");
            Contestant {
                runs: vec![fixture::stored_run(&deployment, now())],
                deployment,
                precision: Some(Precision::declared(precision)),
                level: None,
                left_out: 0,
            }
        });
        let table = SideBySide::of(contestants.collect(), None).unwrap();
        let few = some_of_each(&table, MOST_BARS);
        for precision in ["nvfp4", "fp8", "bf16"] {
            let rows = few.rows.iter().filter_map(|row| row.precision.as_ref());
            assert_eq!(
                rows.filter(|known| known.name == precision).count(),
                MOST_BARS / 3
            );
        }
        let heading = compared(["fp8", "bf16"]).heading;
        let compared = Compared { heading, table };
        let page = html(&fleet, Some(&wanted), Ok(&compared), now());
        assert!(page.len() < 200_000, "{} bytes", page.len());
        let links = page.matches("<a href=\"deployments/qwen3-32b-").count();
        assert_eq!(links, MOST_ROWS);
        let told = page.replace('\u{a0}', " ");
        for words in ["200 rows more", "pairs more", "notes more", "6 of 300 rows"] {
            assert!(told.contains(words), "{words}");
        }
    }

    #[test]
    fn a_family_that_there_is_not_is_told() {
        let fleet = fixture::fleet(now());
        let why = wanted(&fleet, Some("<b>"), None).unwrap_err();
        assert!(
            why.starts_with("There is no family <b>; there are gemma-3-27b,"),
            "{why}"
        );
        assert!(html(&fleet, None, Err(&why), now()).contains("family &lt;b&gt;"));
        let why = wanted(&fleet, Some("qwen3-32b"), Some("no")).unwrap_err();
        assert!(why.contains("there are reference"), "{why}");
        let mut none = fixture::fleet(now());
        none.probes.clear();
        let why = wanted(&none, None, None).unwrap_err();
        assert!(why.starts_with("No deployment has a family yet."), "{why}");
    }

    #[test]
    fn no_text_becomes_a_part_of_the_page() {
        let fleet = fixture::hostile(now());
        let wanted = wanted(&fleet, Some(fixture::HOSTILE), None).unwrap();
        let compared = compared([fixture::HOSTILE, "bf16"]);
        let page = html(&fleet, Some(&wanted), Ok(&compared), now());
        assert!(!page.contains("<script>"), "{page}");
        assert!(page.matches("&lt;script&gt;").count() > 5, "{page}");
    }
}
