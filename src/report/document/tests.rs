//! What a page may hold and what it may not, whatever the names in it are.

use std::collections::BTreeMap;

use super::*;
use crate::comparison::{Contestant, Precision, Replay, SeriesRun};
use crate::environment::{EnvironmentField, FieldChange};
use crate::judges::JudgedFigures;
use crate::measure::Tolerances;
use crate::measurement::RunId;
use crate::measurement::fixture::reference;
use crate::report::RunJson;
use crate::statistics::summarize;

/// A run in mid-2026, the `n`th at one each quarter of an hour.
fn series_run(n: usize, value: Option<f64>, contaminated: bool, fingerprint: &str) -> SeriesRun {
    let begin: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
    SeriesRun {
        id: RunId(n.to_string()),
        figures: JudgedFigures {
            ended_at: begin + SignedDuration::from_mins(15 * n as i64),
            values: value
                .map(|value| (Measure::DecodeTokensRate, value))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
            completion_tokens_mean: value.map(|_| 256.0),
            contaminated,
            contention_observable: true,
            fingerprint: fingerprint.to_owned(),
            restarted: false,
        },
    }
}

/// Thirty runs in one environment and thirty in the next, 10 % slower; one of each does not count.
fn story(name: &str, changed: &str) -> Story {
    let runs: Vec<SeriesRun> = (0..60)
        .map(|n| {
            let wobble = 1.0 + 0.002 * ((n * 7 % 5) as f64 - 2.0);
            let level = if n < 30 { 600.0 } else { 540.0 };
            let value = (n != 10 && n != 50).then_some(level * wobble);
            series_run(n, value, n == 50, if n < 30 { "a" } else { "b" })
        })
        .collect();
    let change = FieldChange {
        field: EnvironmentField::Driver,
        before: format!("580{changed}"),
        after: format!("590{changed}"),
    };
    Story {
        name: name.to_owned(),
        replay: Replay::of(&runs, &[], &Tolerances::default()),
        runs,
        changed: vec![vec![change]],
    }
}

fn run_json(name: &str) -> RunJson {
    let (run, workload) = reference();
    let endpoint = crate::deployment::Endpoint::new("http://127.0.0.1:8000".parse().unwrap());
    let deployment = crate::deployment::Deployment::new(name, endpoint);
    let summary = summarize(&run, &workload);
    RunJson {
        model: name.to_owned(),
        ..RunJson::new(&deployment, &workload, &run, &summary, false)
    }
}

fn contestant(name: &str, precision: &str) -> Contestant {
    Contestant {
        deployment: name.to_owned(),
        precision: Some(Precision {
            name: precision.to_owned(),
            is_guess: false,
        }),
        level: None,
        runs: vec![run_json(name)],
        left_out: 0,
    }
}

fn report_of(name: &str) -> Report {
    let contestants = vec![
        contestant(&format!("{name}1"), name),
        contestant(&format!("{name}2"), "bf16"),
    ];
    let mut table = SideBySide::of(contestants, None).unwrap();
    table.notes.push(format!("A note on {name}."));
    let heading = Heading {
        title: name.to_owned(),
        workload: Some(name.to_owned()),
    };
    Report::new(heading, table, vec![story(name, name)], 30).unwrap()
}

#[test]
fn no_name_makes_an_element_of_its_own() {
    let planted = "<script>alert('x')</script>\"'>&|`[a](b)\n";
    let report = report_of(planted);
    let html = report.html();
    assert!(!html.contains("<script"), "{html}");
    assert!(html.contains("&lt;script&gt;alert"), "it is shown as it is");
    assert!(!html.contains("\"'>&"), "no attribute ends early");
    for (name, svg) in report.files() {
        assert!(!svg.contains("<script") && !name.contains('<'), "{name}");
    }
    let markdown = report.markdown();
    assert!(!markdown.contains("<script") && !markdown.contains("[a](b)"));
    for row in markdown.lines().filter(|line| line.starts_with("| ")) {
        let separators = row.replace("\\|", "").matches('|').count();
        assert!([3, 6, 8, 13].contains(&separators), "{separators}: {row}");
    }
}

#[test]
fn the_page_loads_nothing_and_runs_nothing() {
    let html = report_of("qwen").html();
    for word in [
        "http:", "https:", "//", "src=", "href=", "url(", "@import", "<script", "<link", "onload",
        "<iframe", "<object",
    ] {
        assert!(!html.contains(word), "{word}");
    }
    assert_eq!(html.matches("<svg").count(), 4);
    assert_eq!(html.matches("role=\"img\" aria-label=\"").count(), 4);
    assert!(!html.contains("#010203"), "text has the colour of the page");
}

#[test]
fn what_does_not_count_is_marked_and_never_joined() {
    let story = story("qwen", "");
    let range = (story.begin().unwrap(), story.until().unwrap());
    let chart = chart_of(&story, range);
    let lengths: Vec<usize> = chart.segments.iter().map(Vec::len).collect();
    assert_eq!(
        lengths,
        [10, 19, 20, 9],
        "broken at both runs that do not count and at the change"
    );
    let marks: Vec<&Mark> = chart.marks.iter().map(|(_, mark)| mark).collect();
    let change = Mark::Change(1, "driver 580 → 590".to_owned());
    assert_eq!(marks, [&Mark::Invalid, &Mark::Contaminated, &change]);
}

#[test]
fn a_change_is_told_in_words_and_figures() {
    let report = report_of("qwen");
    let told = "regressed: 10.0 % lower, beyond chance";
    for page in [report.html(), report.markdown()] {
        assert!(page.contains("driver 580qwen → 590qwen"), "{page}");
        assert!(page.contains(told), "{page}");
    }
    assert!(report.markdown().contains("| 29 | 28 | regressed"));
}

#[test]
fn runs_from_before_the_window_are_judged_and_not_drawn() {
    let heading = Heading {
        title: "qwen".to_owned(),
        workload: None,
    };
    let table = SideBySide::of(vec![contestant("a", "fp8")], None).unwrap();
    let mut early = story("a", "");
    for run in &mut early.runs[..10] {
        run.figures.ended_at -= SignedDuration::from_hours(24 * 40);
    }
    let report = Report::new(heading, table, vec![early], 30).unwrap();
    assert!(report.html().contains("are judged too, and not drawn"));
}

#[test]
fn a_markdown_page_shows_each_file_that_is_written() {
    let report = report_of("qwen");
    let markdown = report.markdown();
    let files = report.files();
    assert_eq!(files.len(), 4);
    for (name, svg) in files {
        assert!(markdown.contains(&format!("]({name})")), "{name}");
        assert!(svg.contains("xmlns=") && svg.contains("fill=\"#ffffff\""));
    }
}
