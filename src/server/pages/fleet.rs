//! The fleet: whether anything is slower, since when, why, and how sure that is; then every deployment, those that
//! want attention first.

mod overview;
mod row;
mod selection;

use std::collections::BTreeSet;

use jiff::Timestamp;
use maud::{Markup, html};

pub(in crate::server) use self::overview::overview;
use self::row::Row;
pub(super) use self::selection::Selection;
use self::selection::{Group, ON_A_PAGE, Order};
use super::finding::{Stand, capitalised};
use super::frame::{self, ago, moment};
use super::last_run::last_run_in_words;
use super::quantity::{NONE, count, number, ratio, seconds, span};
use super::sparkline::sparkline;
use crate::board::Snapshot;
use crate::condition::DeploymentState;
use crate::environment::EnvironmentField;
use crate::measure::Measure;

/// Deployments whose findings are told in full above the table.
const MOST_FINDINGS: usize = 5;

/// Renders what `selection` says of `snapshot` as it is at `now`. `mistakes` are what of it made no sense.
pub(super) fn html(
    snapshot: &Snapshot,
    selection: &Selection,
    mistakes: &[String],
    now: Timestamp,
) -> String {
    let probes = snapshot.of_each_deployment();
    let all: Vec<Row<'_>> = probes
        .filter_map(|probes| Row::of(snapshot, probes, now))
        .collect();
    let mut rows: Vec<&Row<'_>> = all.iter().filter(|row| row.matches(selection)).collect();
    rows.sort_by(|a, b| a.compare(b, selection));
    let pages = rows.len().div_ceil(ON_A_PAGE).max(1);
    let page = selection.page.min(pages);
    let shown: Vec<&Row<'_>> = rows
        .iter()
        .copied()
        .skip((page - 1) * ON_A_PAGE)
        .take(ON_A_PAGE)
        .collect();
    let main = html! {
        h1 { (headline(&all)) }
        @for mistake in mistakes { p.notice role="alert" { (mistake) } }
        (findings(&all, now))
        (groups(&all, selection))
        (form(&all, selection))
        @if all.is_empty() {
            p.empty { "No deployment is configured. Name one in the configuration file, and reload it." }
        } @else if rows.is_empty() {
            p.empty { "No deployment matches. " a href="./" { "Show all " (all.len()) } }
        } @else {
            (table(&shown, rows.len(), selection, snapshot.stale_after, now))
            @if pages > 1 { (paging(selection, page, pages)) }
        }
    };
    frame::page("Fleet · vllm-prober", "", &main, now)
}

/// The answer in one line.
fn headline(rows: &[Row<'_>]) -> String {
    let of = |group: Group| rows.iter().filter(|row| row.is_of(group)).count();
    let (slower, silent) = (of(Group::Slower), of(Group::NotServing));
    let are = |number: usize, what: &str| {
        let verb = if number == 1 { "is" } else { "are" };
        format!(
            "{number} of {} {verb} {what}",
            count(rows.len(), "deployment", "deployments")
        )
    };
    match (slower, silent) {
        (0, 0) if rows.is_empty() => "No deployments".to_owned(),
        (0, 0) if of(Group::Fine) + of(Group::Faster) == 0 => "Nothing is known yet".to_owned(),
        (0, 0) => "Nothing is slower".to_owned(),
        (0, silent) => are(silent, "not serving"),
        (slower, 0) => are(slower, "slower"),
        (slower, silent) => format!("{}, {silent} not serving", are(slower, "slower")),
    }
}

/// What wants attention, each in full.
fn findings(rows: &[Row<'_>], now: Timestamp) -> Markup {
    let news: Vec<&Row<'_>> = rows
        .iter()
        .filter(|row| row.is_news || row.is_of(Group::NotServing))
        .collect();
    html! {
        @if !news.is_empty() {
            ul.findings aria-label="What wants attention" {
                @for row in news.iter().take(MOST_FINDINGS) {
                    li {
                        a.name href=(address(row)) { (row.name()) }
                        @if row.is_of(Group::NotServing) {
                            p {
                                strong { (capitalised(row.state.label())) }
                                @if let Some(status) = row.status {
                                    ": " (status.condition.evidence) ", seen " (moment(status.seen_at, now)) "."
                                }
                            }
                        }
                        @if row.is_news {
                            p { (row.finding.in_full(row.status, now).html(now)) }
                            @if let Some(why) = row.finding.why(row.status) { p.quiet { (why.html(now)) } }
                        }
                    }
                }
                @if news.len() > MOST_FINDINGS {
                    li.quiet { "and " (news.len() - MOST_FINDINGS) " more, first in the table below" }
                }
            }
        }
    }
}

/// How many there are of each group, and the way to them.
fn groups(rows: &[Row<'_>], selection: &Selection) -> Markup {
    let groups = Group::ALL.iter().map(|group| {
        let number = rows.iter().filter(|row| row.is_of(*group)).count();
        (*group, number)
    });
    let current = |show: Option<Group>| (selection.show == show).then_some("true");
    html! {
        nav.groups aria-label="Groups of deployments" {
            a.group href=(selection.showing(None)) aria-current=[current(None)] {
                b { (rows.len()) } " all"
            }
            @for (group, number) in groups {
                a.group data-group=(group.label()) data-none[number == 0] title=(group.meaning())
                    href=(selection.showing(Some(group))) aria-current=[current(Some(group))] {
                    b { (number) } " " (group.label().replace('-', " "))
                }
            }
        }
    }
}

fn form(rows: &[Row<'_>], selection: &Selection) -> Markup {
    let families: BTreeSet<&str> = rows
        .iter()
        .filter_map(|row| row.probe.deployment.family.as_deref())
        .collect();
    html! {
        form.filter method="get" action="./" role="search" aria-label="Filter deployments" {
            label { span { "Search" }
                input type="search" name="q" value=(selection.text) placeholder="name, model, version, label";
            }
            label { span { "Family" }
                select name="family" {
                    option value="" { "any" }
                    @for family in families {
                        option value=(family) selected[selection.family.as_deref() == Some(family)] { (family) }
                    }
                }
            }
            label { span { "State" }
                select name="state" {
                    option value="" { "any" }
                    @for state in DeploymentState::ALL {
                        option value=(state.label()) selected[selection.state == Some(*state)] { (state.label()) }
                    }
                }
            }
            label { span { "Order" }
                select name="sort" {
                    @for order in Order::ALL {
                        option value=(order.label()) selected[selection.order == *order] {
                            @if *order == Order::Problems { "problems first" } @else { (order.label()) }
                        }
                    }
                }
            }
            @if let Some(show) = selection.show { input type="hidden" name="show" value=(show.label()); }
            button { "Apply" }
            @if selection.is_narrow() { a href="./" { "Show all" } }
        }
    }
}

/// The columns: what is ordered by them, and their names. One without an order is a picture.
const COLUMNS: [(Option<Order>, &str); 11] = [
    (Some(Order::Name), "Deployment"),
    (Some(Order::State), "State"),
    (Some(Order::Problems), "Verdict"),
    (Some(Order::Ratio), "Ratio, 95\u{a0}% interval"),
    (Some(Order::Decode), "Decode tok/s"),
    (None, "Last runs"),
    (Some(Order::Latency), "Latency p50, p95"),
    (Some(Order::Ttft), "TTFT p50"),
    (Some(Order::Version), "vLLM, driver"),
    (Some(Order::Age), "Last run"),
    (Some(Order::Next), "Next"),
];

fn table(
    rows: &[&Row<'_>],
    all: usize,
    selection: &Selection,
    stale_after: u32,
    now: Timestamp,
) -> Markup {
    html! {
        // Explicit roles: on a narrow screen the table is laid out as cards, and is to be read as a table still.
        table.fleet role="table" {
            caption {
                (count(all, "deployment", "deployments"))
                @if selection.order == Order::Problems && !selection.is_descending { ", problems first" }
                @if rows.len() < all { ", " (rows.len()) " of them here" }
            }
            thead role="rowgroup" {
                tr role="row" {
                    @for (order, name) in COLUMNS {
                        @let is_current = order == Some(selection.order);
                        @let sorted = if selection.is_descending { "descending" } else { "ascending" };
                        th scope="col" role="columnheader" aria-sort=[is_current.then_some(sorted)] {
                            @match order {
                                Some(order) => a href=(selection.ordered_by(order)) {
                                    (name)
                                    @if is_current {
                                        span aria-hidden="true" { @if selection.is_descending { " ↓" } @else { " ↑" } }
                                    }
                                },
                                None => (name),
                            }
                        }
                    }
                }
            }
            tbody role="rowgroup" {
                @for row in rows { (deployment(row, stale_after, now)) }
            }
        }
    }
}

fn deployment(row: &Row<'_>, stale_after: u32, now: Timestamp) -> Markup {
    let Row { probe, finding, .. } = row;
    let deployment = &probe.deployment;
    let figures = row.figures.as_ref();
    let baseline = probe
        .opinion
        .as_ref()
        .and_then(|opinion| opinion.judgements.get(&Measure::DecodeTokensRate))
        .and_then(|judgement| judgement.baseline_median);
    let cells: [Markup; 10] = [
        html! { (state(row.state)) },
        html! {
            (verdict(finding.stand, &finding.in_short()))
            div.quiet { (finding.qualified().html(now)) }
            @if let Some(seen) = finding.acknowledged(now) { div.quiet.seen { (seen.html(now)) } }
        },
        html! {
            @match finding.comparison {
                Some(comparison) => {
                    span.figure { (ratio(comparison.ratio)) }
                    div.quiet { (ratio(comparison.lower)) " to " (ratio(comparison.upper)) }
                },
                None => (NONE),
            }
        },
        html! {
            span.figure { (figures.map_or_else(|| NONE.to_owned(), |figures| number(figures.decode_tps))) }
            @if let Some(baseline) = baseline { div.quiet { "baseline " (number(baseline)) } }
        },
        sparkline(probe, baseline),
        html! {
            @match figures {
                Some(figures) => {
                    span.figure { (seconds(figures.p50)) }
                    div.quiet { (seconds(figures.p95)) }
                },
                None => (NONE),
            }
        },
        html! {
            span.figure {
                (figures.and_then(|figures| figures.ttft_p50).map_or_else(|| NONE.to_owned(), seconds))
            }
        },
        html! {
            (row.version().unwrap_or(NONE))
            div.quiet { (row.environment(EnvironmentField::Driver).unwrap_or_default()) }
        },
        html! {
            @match &probe.last {
                Some(last) => {
                    (ago(last.ended_at, now))
                    div.quiet { (last_run_in_words(probe, stale_after, now).replace('_', " ")) }
                },
                None => (last_run_in_words(probe, stale_after, now)),
            }
        },
        html! {
            @match probe.next_run.map(|slot| slot.duration_since(now)) {
                _ if probe.in_progress => "running",
                Some(wait) if !wait.is_positive() => "waiting",
                Some(wait) => { "in " (span(wait)) },
                None => (NONE),
            }
        },
    ];
    html! {
        tr role="row" data-stand=(finding.stand.label()) data-state=(row.state.label()) data-news[row.is_news] {
            th scope="row" role="rowheader" {
                a.name href=(address(row)) { (row.name()) }
                div.quiet {
                    @let words = [deployment.family.as_deref(), deployment.precision.as_deref()];
                    (words.into_iter().flatten().collect::<Vec<_>>().join(" · "))
                    @if row.has_several { " · " (probe.workload.name) }
                }
                div.quiet.model { (probe.model().unwrap_or_default()) }
            }
            @for ((_, name), cell) in COLUMNS.iter().skip(1).zip(cells) {
                td role="cell" data-label=(name) { div { (cell) } }
            }
        }
    }
}

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

fn paging(selection: &Selection, page: usize, pages: usize) -> Markup {
    html! {
        nav.paging aria-label="Pages of the table" {
            @if page > 1 { a rel="prev" href=(selection.on_page(page - 1)) { "← Previous" } }
            span { "page " (page) " of " (pages) }
            @if page < pages { a rel="next" href=(selection.on_page(page + 1)) { "Next →" } }
        }
    }
}

/// The page of a deployment, as it is reached from here.
fn address(row: &Row<'_>) -> String {
    frame::deployment("", row.name())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::time::Instant;

    use super::*;
    use crate::server::pages::fixture;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn of(snapshot: &Snapshot, query: &[(&str, &str)]) -> String {
        let asked: BTreeMap<String, String> = query
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let (selection, mistakes) = Selection::read(&asked);
        html(snapshot, &selection, &mistakes, now())
    }

    /// The names in the rows, in their order.
    fn names(page: &str) -> Vec<&str> {
        let table = page.split("<tbody").nth(1).unwrap_or_default();
        let links = table.split("deployments/").skip(1);
        links.filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn the_fleet_says_what_is_slower_first() {
        let page = of(&fixture::fleet(now()), &[]);
        insta::assert_snapshot!(fixture::text(&page));
    }

    #[test]
    fn a_fleet_may_be_empty_and_a_filter_may_find_nothing() {
        let mut none = fixture::fleet(now());
        none.probes.clear();
        assert!(of(&none, &[]).contains("No deployment is configured."));
        let page = of(&fixture::fleet(now()), &[("q", "no such thing")]);
        assert!(page.contains("No deployment matches.") && !page.contains("<table"));
    }

    #[test]
    fn deployments_are_found_by_group_family_state_and_text() {
        let fleet = fixture::fleet(now());
        let found = |name, value| {
            let page = of(&fleet, &[(name, value)]);
            names(&page)
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            found("show", "slower"),
            ["qwen3-32b-nvfp4", "llama-3.3-70b-fp8"]
        );
        assert_eq!(found("show", "faster"), ["gemma-3-27b-int4"]);
        assert_eq!(found("state", "down"), ["mistral-small-24b"]);
        assert_eq!(
            found("family", "qwen3-8b"),
            ["qwen3-8b-edge", "qwen3-8b-spare"]
        );
        assert_eq!(found("q", "REDHATAI"), ["qwen3-32b-nvfp4"]);
        assert_eq!(found("q", "590.12"), ["qwen3-32b-nvfp4"]);
    }

    #[test]
    fn rows_are_ordered_by_any_column_and_what_is_unknown_comes_last() {
        let fleet = fixture::fleet(now());
        let up = of(&fleet, &[("sort", "decode")]);
        let down = of(&fleet, &[("sort", "decode"), ("dir", "desc")]);
        let (up, down) = (names(&up), names(&down));
        assert_eq!((up[0], down[0]), ("llama-3.3-70b-fp8", "phi-4-new"));
        assert_eq!(
            up[..6].iter().rev().collect::<Vec<_>>(),
            down[..6].iter().collect::<Vec<_>>()
        );
        let without = ["mistral-small-24b", "qwen3-8b-edge", "qwen3-8b-spare"];
        assert_eq!((&up[6..], &down[6..]), (&without[..], &without[..]));
        let aged = of(&fleet, &[("sort", "age")]);
        assert_eq!(names(&aged)[0], "gemma-3-27b-int4");
    }

    #[test]
    fn no_text_becomes_a_part_of_the_page() {
        let fleet = fixture::hostile(now());
        for query in [
            ("q", ""),
            ("q", fixture::HOSTILE),
            ("family", fixture::HOSTILE),
            ("sort", fixture::HOSTILE),
        ] {
            let page = of(&fleet, &[query]);
            assert!(!page.contains("<script>"), "{query:?}");
            assert!(!page.contains("</script>\"&"), "{query:?}");
            assert!(page.contains("&lt;script&gt;"), "{query:?}");
        }
    }

    #[test]
    fn a_large_fleet_is_paged() {
        let fleet = fixture::large(250, now());
        let last = of(&fleet, &[("sort", "name"), ("page", "3")]);
        assert_eq!(names(&last).len(), 50);
        assert!(last.contains("page 3 of 3") && last.contains("./?sort=name&amp;page=2"));
        // A page that is no more is the last one.
        assert_eq!(names(&of(&fleet, &[("page", "99")])).len(), 50);
    }

    #[test]
    #[ignore = "a measurement"]
    fn a_thousand_deployments_take_less_than_100_ms_and_filters_half_of_that() {
        let fleet = fixture::long_lived(1_000, now());
        let runs = fleet.probes.iter().map(|probe| probe.recent.iter().len());
        let runs: usize = runs.sum();
        println!("{runs} runs of {} deployments", fleet.probes.len());
        assert!(runs >= 100_000, "{runs}");
        let queries = [
            ("sort", "problems", 100),
            ("sort", "decode", 100),
            ("q", "qwen", 50),
            ("family", "qwen3-32b", 50),
            ("state", "down", 50),
            ("show", "slower", 50),
        ];
        for (name, value, most) in queries {
            let mut times = (0..5).map(|_| {
                let start = Instant::now();
                let page = of(&fleet, &[(name, value)]);
                let took = start.elapsed().as_secs_f64() * 1e3;
                assert!(page.len() < 300_000, "{}", page.len());
                assert!(page.matches("<tr role").count() > 20, "{name}={value}");
                took
            });
            let first = times.next().unwrap_or_default();
            let next = times.fold(f64::INFINITY, f64::min);
            println!("{name}={value}: first {first:.1} ms, then {next:.1} ms at best");
            assert!(first < f64::from(most), "{first} ms");
        }
    }
}
