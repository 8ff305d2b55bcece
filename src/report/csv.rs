//! Runs as a table for spreadsheets and notebooks: a row each, figures that are withheld or unknown left empty.

use std::borrow::Cow;

use super::{Quantiles, RunJson};

/// What the columns of a distribution are called, and which figure each has.
type Figure = (&'static str, fn(Quantiles) -> Option<f64>);
const FIGURES: [Figure; 5] = [
    ("mean", |q| q.mean),
    ("p50", |q| q.p50),
    ("p90", |q| q.p90),
    ("p95", |q| q.p95),
    ("p99", |q| q.p99),
];

/// The distributions that have columns.
type Distributed = (&'static str, fn(&RunJson) -> Option<Quantiles>);
const DISTRIBUTIONS: [Distributed; 4] = [
    ("latency_seconds", |run| run.latency_seconds),
    ("ttft_seconds", |run| run.ttft_seconds),
    ("tpot_seconds", |run| run.tpot_seconds),
    ("itl_seconds", |run| run.itl_seconds),
];

/// A column with one value for each run.
type Column = (&'static str, fn(&RunJson) -> String);
const COLUMNS: [Column; 21] = [
    ("run_id", |run| run.run_id.clone()),
    ("deployment", |run| run.deployment.clone()),
    ("workload", |run| run.workload.clone().unwrap_or_default()),
    ("workload_id", |run| run.workload_id.clone()),
    ("model", |run| run.model.clone()),
    ("vllm_version", |run| {
        run.server.version.clone().unwrap_or_default()
    }),
    ("started_at", |run| run.started_at.to_string()),
    ("wall_seconds", |run| run.wall_seconds.to_string()),
    ("concurrency", |run| run.concurrency.to_string()),
    ("requests", |run| run.requests.to_string()),
    ("max_tokens", |run| {
        run.max_tokens.map_or_else(String::new, |n| n.to_string())
    }),
    ("completed", |run| run.completed.to_string()),
    ("failed", |run| run.failed.to_string()),
    ("valid", |run| run.valid.to_string()),
    ("invalid_reasons", |run| run.invalid_reasons.join(" ")),
    ("qps", |run| number(run.qps)),
    ("prompt_tps", |run| number(run.prompt_tps)),
    ("decode_tps", |run| number(run.decode_tps)),
    ("prompt_tokens_mean", |run| {
        number(run.token_usage.prompt_tokens_mean)
    }),
    ("completion_tokens_mean", |run| {
        number(run.token_usage.completion_tokens_mean)
    }),
    ("foreign_tokens_ratio", |run| {
        number(run.server.foreign_tokens_ratio)
    }),
];

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// The line with the columns' names.
pub fn header() -> String {
    let ones = COLUMNS.iter().map(|(name, _)| (*name).to_owned());
    let distributed = DISTRIBUTIONS.iter().flat_map(|(name, _)| {
        FIGURES
            .iter()
            .map(move |(figure, _)| format!("{name}_{figure}"))
    });
    line(ones.chain(distributed))
}

/// The line of one run.
pub fn row(run: &RunJson) -> String {
    let ones = COLUMNS.iter().map(|(_, of)| of(run));
    let distributed = DISTRIBUTIONS.iter().flat_map(|(_, of)| {
        let quantiles = of(run);
        FIGURES
            .iter()
            .map(move |(_, figure)| number(quantiles.and_then(figure)))
    });
    line(ones.chain(distributed))
}

/// A line of these cells.
pub(in crate::report) fn line(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.map(|cell| quoted(&cell).into_owned()).collect();
    cells.join(",") + "\n"
}

/// As RFC 4180 has it.
fn quoted(cell: &str) -> Cow<'_, str> {
    if cell.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", cell.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::{Deployment, Endpoint};
    use crate::measurement::FailureReason;
    use crate::measurement::fixture::{fail, reference};
    use crate::statistics::summarize;

    #[test]
    fn a_row_has_a_cell_for_each_column_and_is_empty_where_a_figure_is_withheld() {
        let rows = [0, 64].map(|failed| {
            let (mut run, workload) = reference();
            fail(&mut run.records[..failed], FailureReason::Connect);
            let endpoint = Endpoint::new("http://127.0.0.1:8000".parse().unwrap());
            let deployment = Deployment::new("a, \"b\"", endpoint);
            let summary = summarize(&run, &workload);
            row(&RunJson::new(&deployment, &workload, &run, &summary, false))
        });
        insta::assert_snapshot!([header(), rows.concat()].concat());
    }
}
