//! The fleet: whether anything is slower, since when, why, and how sure that is; then every deployment, those that
//! want attention first.

mod choice;
mod overview;
mod row;
mod selection;
mod table;

use jiff::Timestamp;
use maud::{Markup, html};

pub(in crate::server) use self::overview::overview;
use self::row::Row;
pub(super) use self::selection::Selection;
use self::selection::{Group, ON_A_PAGE};
use super::finding::capitalised;
use super::frame::{self, Place, moment};
use super::quantity::{count, whole};
use crate::board::Snapshot;

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
        (choice::groups(&all, selection))
        (choice::form(&all, selection))
        @if all.is_empty() {
            p.empty { "No deployment is configured. Name one in the configuration file, and reload it." }
        } @else if rows.is_empty() {
            p.empty { "No deployment matches. " a href="./" { "Show all " (whole(all.len())) } }
        } @else {
            (table::html(&shown, rows.len(), selection, snapshot.stale_after, now))
            @if pages > 1 { (choice::paging(selection, page, pages)) }
        }
    };
    frame::page("Fleet · vllm-prober", "", Some(Place::Fleet), &main, now)
}

/// The answer in one line.
fn headline(rows: &[Row<'_>]) -> String {
    let of = |group: Group| rows.iter().filter(|row| row.is_of(group)).count();
    let (slower, silent) = (of(Group::Slower), of(Group::NotServing));
    let are = |number: usize, what: &str| {
        let verb = if number == 1 { "is" } else { "are" };
        format!(
            "{} of {} {verb} {what}",
            whole(number),
            count(rows.len(), "deployment", "deployments")
        )
    };
    match (slower, silent) {
        (0, 0) if rows.is_empty() => "No deployments".to_owned(),
        (0, 0) if of(Group::Fine) + of(Group::Faster) == 0 => match rows.len() {
            1 => "The deployment cannot be judged yet".to_owned(),
            all => format!(
                "None of {} can be judged yet",
                count(all, "deployment", "deployments")
            ),
        },
        (0, 0) => match of(Group::NoFigures) + of(Group::Undecided) {
            0 => "Nothing is slower".to_owned(),
            unknown => format!(
                "Nothing is slower, but {} of {} cannot be judged yet",
                whole(unknown),
                count(rows.len(), "deployment", "deployments")
            ),
        },
        (0, silent) => are(silent, "not serving"),
        (slower, 0) => are(slower, "slower"),
        (slower, silent) => {
            format!("{}, {} not serving", are(slower, "slower"), whole(silent))
        }
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
                    li.quiet { "and " (whole(news.len() - MOST_FINDINGS)) " more, first in the table below" }
                }
            }
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
    fn a_fleet_without_enough_runs_is_not_called_unknown() {
        let mut fleet = fixture::large(1_300, now());
        let is_new = |name: &str| name.starts_with("phi-4-new");
        fleet
            .probes
            .retain(|probe| is_new(probe.deployment.name.as_str()));
        let page = of(&fleet, &[]).replace('\u{a0}', " ");
        assert!(
            page.contains("<h1>None of 144 deployments can be judged yet</h1>"),
            "{page}"
        );
        fleet.probes.truncate(1);
        assert!(of(&fleet, &[]).contains("<h1>The deployment cannot be judged yet</h1>"));
    }

    #[test]
    fn numbers_of_deployments_are_told_one_way() {
        let page = of(&fixture::large(1_800, now()), &[]);
        assert!(page.contains("<b>1,800</b> all"), "{page}");
        assert!(!page.contains("1800"), "{page}");
    }

    #[test]
    fn the_direction_of_the_order_stays_when_the_form_is_sent() {
        let down = of(
            &fixture::fleet(now()),
            &[("sort", "decode"), ("dir", "desc")],
        );
        assert!(down.contains("<option value=\"desc\" selected>"), "{down}");
        let up = of(&fixture::fleet(now()), &[("sort", "decode")]);
        assert!(!up.contains("<option value=\"desc\" selected>"), "{up}");
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
