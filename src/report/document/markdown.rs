//! The report as Markdown, for a repository or a ticket.

use std::fmt::Write;

use super::{Report, svg_name, time_name, words};
use crate::comparison::Story;
use crate::report::comparison::{escaped, markdown};

/// The page.
pub(super) fn page(report: &Report) -> String {
    let mut out = format!("# {}\n\n", escaped(&report.heading.title));
    if let Some(until) = report.until {
        let until = until.strftime("%Y-%m-%d %H:%M UTC");
        let _ = writeln!(out, "As of the run that ended at {until}.\n");
    }
    out += &markdown(&report.heading, &report.table);
    out += "\n## By precision\n\nA bar is the median over the runs of its row, and nine runs in ten lie within its whisker. A single \
            run has none.\n\n";
    for (name, chart) in &report.by_precision {
        let _ = writeln!(out, "![{}]({})\n", escaped(&chart.title), svg_name(name));
    }
    if !report.stories.is_empty() {
        out += "## Over time\n\nA dot is a run that counts. A cross is one that does not, a triangle one that others' traffic spoilt. \
                A numbered line is a change of the environment; dashes are the baseline. The vertical axis does not begin at 0.\n";
    }
    let stories = report.stories.iter().zip(&report.over_time).zip(1..);
    for ((story, chart), number) in stories {
        let _ = writeln!(
            out,
            "\n### {}\n\n{}.\n\n![{}]({})",
            escaped(&story.name),
            words::runs(story),
            escaped(&chart.title),
            time_name(number)
        );
        changes(&mut out, story);
    }
    out
}

fn changes(out: &mut String, story: &Story) {
    if story.replay.changes.is_empty() {
        *out += "\nIts environment has not changed.\n";
        return;
    }
    *out += "\n| change | at | changed | after / before, decode tokens per second [95 %] | clean runs before | after | verdict |\n\
             |---:|---|---|---|---:|---:|---|\n";
    for (number, change, fields) in story.changes() {
        let headline = change
            .compared
            .get(&crate::verdict::Measure::DecodeTokensRate);
        let (before, after) = headline.map_or((change.clean_before, change.clean_after), |found| {
            (found.runs_before, found.runs_after)
        });
        let _ = writeln!(
            out,
            "| {number} | {} | {} | {} | {before} | {after} | {} |",
            change.at.strftime("%Y-%m-%d %H:%M UTC"),
            escaped(&words::fields(fields)),
            headline.map_or_else(|| "-".to_owned(), |found| escaped(&words::ratio(found))),
            words::of_change(change)
        );
    }
    if !story.replay.verdicts.is_empty() {
        *out += "\n| verdict began | measure | verdict | against | ratio then [95 %] |\n|---|---|---|---|---|\n";
    }
    for begun in &story.replay.verdicts {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            begun.at.strftime("%Y-%m-%d %H:%M UTC"),
            words::measure(begun.measure),
            begun.verdict.label(),
            words::against(begun.against),
            begun
                .comparison
                .as_ref()
                .map_or_else(|| "-".to_owned(), |found| escaped(&words::ratio(found))),
        );
    }
}
