//! The comparison of a family for other programs: JSON with the spread of each figure, and CSV.

use serde::Serialize;

use super::Heading;
use crate::comparison::{Gain, Row, SideBySide, Spread};
use crate::report::csv::line;

/// The schema of [`json`].
pub const SCHEMA: &str = "vllm-prober/comparison/v1";

type Figure = (&'static str, fn(&Row) -> Option<Spread>);
const FIGURES: [Figure; 6] = [
    ("qps", |row| row.qps),
    ("prompt_tps", |row| row.prompt_tps),
    ("decode_tps", |row| row.decode_tps),
    ("latency_p50_seconds", |row| row.p50),
    ("latency_p95_seconds", |row| row.p95),
    ("ttft_p50_seconds", |row| row.ttft_p50),
];

/// For spreadsheets, a row each.
pub fn csv(table: &SideBySide) -> String {
    let names = [
        "precision",
        "deployment",
        "model",
        "vllm_version",
        "workload_id",
        "runs",
        "left_out",
    ];
    let figures = FIGURES.iter().flat_map(|(name, _)| {
        [String::new(), "_low".into(), "_high".into()].map(|end| format!("{name}{end}"))
    });
    let gains = ["reference", "speedup", "speedup_lower", "speedup_upper"];
    let head = names.iter().map(|name| (*name).to_owned());
    let head = head
        .chain(figures)
        .chain(gains.iter().map(|name| (*name).to_owned()));
    let reference = table.rows.get(table.reference).map(|row| row.label.clone());
    let mut out = line(head);
    for row in &table.rows {
        let precision = row.precision.as_ref();
        let names = [
            precision
                .map(|precision| precision.name.clone())
                .unwrap_or_default(),
            row.deployment.clone(),
            row.model.clone(),
            row.vllm_version.clone().unwrap_or_default(),
            row.shape.workload_id.clone(),
            row.runs.to_string(),
            row.left_out.to_string(),
        ];
        let figures = FIGURES.iter().flat_map(|(_, of)| {
            let spread = of(row);
            let range = spread.and_then(|spread| spread.range);
            [
                number(spread.map(|spread| spread.median)),
                number(range.map(|range| range.0)),
                number(range.map(|range| range.1)),
            ]
        });
        let gain = GainJson::of(&row.gain);
        let gains = [
            reference.clone().unwrap_or_default(),
            number(gain.ratio),
            number(gain.lower),
            number(gain.upper),
        ];
        out += &line(names.into_iter().chain(figures).chain(gains));
    }
    out
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

#[derive(Serialize)]
struct TableJson<'a> {
    schema: &'a str,
    title: &'a str,
    workload: Option<&'a str>,
    reference: Option<String>,
    rows: Vec<RowJson<'a>>,
    pairs: Vec<PairJson>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct RowJson<'a> {
    precision: Option<&'a str>,
    /// Whether only the model's name suggests the precision.
    precision_is_guess: bool,
    deployment: Option<&'a str>,
    model: &'a str,
    vllm_version: Option<&'a str>,
    workload_id: &'a str,
    requests: u32,
    concurrency: u32,
    max_tokens: Option<u32>,
    runs: usize,
    left_out: usize,
    qps: Option<SpreadJson>,
    prompt_tps: Option<SpreadJson>,
    decode_tps: Option<SpreadJson>,
    latency_p50_seconds: Option<SpreadJson>,
    latency_p95_seconds: Option<SpreadJson>,
    ttft_p50_seconds: Option<SpreadJson>,
    completion_tokens_mean: Option<f64>,
    speedup: GainJson,
}

/// The median over the runs, and where nine in ten of them lie.
#[derive(Serialize)]
struct SpreadJson {
    median: f64,
    low: Option<f64>,
    high: Option<f64>,
}

#[derive(Serialize)]
struct PairJson {
    precision: String,
    over: String,
    speedup: GainJson,
}

#[derive(Serialize)]
struct GainJson {
    ratio: Option<f64>,
    lower: Option<f64>,
    upper: Option<f64>,
    is_reference: bool,
    /// Why something of it is null.
    why: Option<String>,
}

impl GainJson {
    fn of(gain: &Gain) -> Self {
        let interval = match gain {
            Gain::Known(speedup) => Some((speedup.lower, speedup.upper)),
            _ => None,
        };
        Self {
            ratio: gain.ratio(),
            lower: interval.map(|interval| interval.0),
            upper: interval.map(|interval| interval.1),
            is_reference: *gain == Gain::Reference,
            why: gain.why().map(str::to_owned),
        }
    }
}

fn spread(spread: Option<Spread>) -> Option<SpreadJson> {
    spread.map(|spread| SpreadJson {
        median: spread.median,
        low: spread.range.map(|range| range.0),
        high: spread.range.map(|range| range.1),
    })
}

/// For other programs, schema `vllm-prober/comparison/v1`.
///
/// # Errors
/// When a figure has no form in JSON.
pub fn json(heading: &Heading, table: &SideBySide) -> Result<String, serde_json::Error> {
    let name = |place: usize| table.rows.get(place).map(|row| row.label.clone());
    let rows = table.rows.iter().map(|row| {
        let precision = row.precision.as_ref();
        RowJson {
            precision: precision.map(|precision| precision.name.as_str()),
            precision_is_guess: precision.is_some_and(|precision| precision.is_guess),
            deployment: Some(row.deployment.as_str()).filter(|name| !name.is_empty()),
            model: &row.model,
            vllm_version: row.vllm_version.as_deref(),
            workload_id: &row.shape.workload_id,
            requests: row.shape.requests,
            concurrency: row.shape.concurrency,
            max_tokens: row.shape.max_tokens,
            runs: row.runs,
            left_out: row.left_out,
            qps: spread(row.qps),
            prompt_tps: spread(row.prompt_tps),
            decode_tps: spread(row.decode_tps),
            latency_p50_seconds: spread(row.p50),
            latency_p95_seconds: spread(row.p95),
            ttft_p50_seconds: spread(row.ttft_p50),
            completion_tokens_mean: row.completion_tokens,
            speedup: GainJson::of(&row.gain),
        }
    });
    let pairs = table.pairs.iter().map(|pair| PairJson {
        precision: name(pair.narrow).unwrap_or_default(),
        over: name(pair.wide).unwrap_or_default(),
        speedup: GainJson::of(&pair.gain),
    });
    serde_json::to_string_pretty(&TableJson {
        schema: SCHEMA,
        title: &heading.title,
        workload: heading.workload.as_deref(),
        reference: name(table.reference),
        rows: rows.collect(),
        pairs: pairs.collect(),
        notes: &table.notes,
    })
}
