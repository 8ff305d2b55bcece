//! What one deployment reaches: the medians over the runs that it is told by, and what those runs were.

use std::fmt;

use super::{Contestant, Gain};
use crate::environment::{precision_bits, suggested_precision};
use crate::report::{RunJson, foreign::UNKNOWN_WORKLOAD};
use crate::sample::Sample;

/// The share of the runs that lies below a spread, and the share above it.
const TAIL: f64 = 0.05;

/// A precision, and whether anyone has said that it is this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precision {
    /// Such as `nvfp4`.
    pub name: String,
    /// Whether only the model's name suggests it.
    pub is_guess: bool,
}

impl Precision {
    /// One that somebody declared.
    pub fn declared(name: &str) -> Self {
        Self {
            name: name.to_lowercase(),
            is_guess: false,
        }
    }

    /// What is known of the precision of `run`: what was declared, or else what its model's name suggests.
    pub(super) fn of(run: &RunJson) -> Option<Self> {
        let declared = run.environment.fields.get("precision");
        declared
            .map(|field| Self::declared(&field.value))
            .or_else(|| {
                suggested_precision(&run.model).map(|name| Self {
                    name: name.to_owned(),
                    is_guess: true,
                })
            })
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.is_guess { "?" } else { "" };
        f.pad(&format!("{}{mark}", self.name))
    }
}

/// How a figure is spread over the runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Its median.
    pub median: f64,
    /// Nine runs in ten lie between these two; absent for a single run.
    pub range: Option<(f64, f64)>,
}

impl Spread {
    pub(super) fn of(runs: &[RunJson], figure: impl Fn(&RunJson) -> Option<f64>) -> Option<Self> {
        let sample = Sample::new(runs.iter().filter_map(figure).collect())?;
        Some(Self {
            median: sample.median(),
            range: (sample.count() > 1)
                .then(|| (sample.quantile(TAIL), sample.quantile(1.0 - TAIL))),
        })
    }
}

/// What was replayed, as far as it is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// The workload's identity.
    pub workload_id: String,
    /// Requests of a run.
    pub requests: u32,
    /// Requests in flight.
    pub concurrency: u32,
    /// The bound of an answer.
    pub max_tokens: Option<u32>,
}

impl Shape {
    fn of(run: &RunJson) -> Self {
        Self {
            workload_id: run.workload_id.clone(),
            requests: run.requests,
            concurrency: run.concurrency,
            max_tokens: run.max_tokens,
        }
    }

    /// Whether runs of one may be compared with runs of the other.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let bounds = self.max_tokens.zip(other.max_tokens);
        self.workload_id == other.workload_id
            && (self.requests, self.concurrency) == (other.requests, other.concurrency)
            && bounds.is_none_or(|(one, other)| one == other)
    }

    /// Whether the prompt is known.
    pub fn is_known(&self) -> bool {
        self.workload_id != UNKNOWN_WORKLOAD
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests, {} in flight",
            self.requests, self.concurrency
        )?;
        match self.max_tokens {
            Some(tokens) => write!(f, ", {tokens} tokens"),
            None => Ok(()),
        }
    }
}

/// What one deployment reaches. What is not known, or withheld, is absent.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What people call it among the others: its precision, or what tells it from another of the same.
    pub label: String,
    /// Its name; empty when it has none.
    pub deployment: String,
    /// The weights' number format.
    pub precision: Option<Precision>,
    /// As the server names it.
    pub model: String,
    /// Of the latest run.
    pub vllm_version: Option<String>,
    /// What was replayed.
    pub shape: Shape,
    /// Runs that the figures stand for.
    pub runs: usize,
    /// Runs since the first of these that do not count, and are in no figure.
    pub left_out: usize,
    /// Completed requests per second.
    pub qps: Option<Spread>,
    /// Accepted prompt tokens per second.
    pub prompt_tps: Option<Spread>,
    /// Completion tokens per second.
    pub decode_tps: Option<Spread>,
    /// Median end-to-end latency, in seconds.
    pub p50: Option<Spread>,
    /// Its 95th percentile.
    pub p95: Option<Spread>,
    /// Median time to first token, in seconds.
    pub ttft_p50: Option<Spread>,
    /// Completion tokens of a request.
    pub completion_tokens: Option<f64>,
    /// Against the row of reference.
    pub gain: Gain,
}

impl Row {
    /// Its precision, else its deployment, else its model.
    pub(super) fn name(&self) -> String {
        match &self.precision {
            Some(precision) => precision.to_string(),
            None if !self.deployment.is_empty() => self.deployment.clone(),
            None => self.model.clone(),
        }
    }

    /// The bits of a weight, the widest last and the unknown beyond it.
    pub(super) fn width(&self) -> u32 {
        let bits = self
            .precision
            .as_ref()
            .and_then(|precision| precision_bits(&precision.name));
        bits.unwrap_or(u32::MAX)
    }
}

/// The row of a contestant; `None` without any run.
pub(super) fn row(contestant: &Contestant) -> Option<Row> {
    let runs = &contestant.runs;
    let last = runs.last()?;
    let of = |figure: fn(&RunJson) -> Option<f64>| Spread::of(runs, figure);
    let tokens = of(|run| run.token_usage.completion_tokens_mean);
    Some(Row {
        label: String::new(),
        deployment: contestant.deployment.clone(),
        precision: contestant.precision.clone().or_else(|| Precision::of(last)),
        model: last.model.clone(),
        vllm_version: last.server.version.clone(),
        shape: Shape::of(last),
        runs: runs.iter().filter(|run| run.valid).count(),
        left_out: contestant.left_out,
        qps: of(|run| run.qps),
        prompt_tps: of(|run| run.prompt_tps),
        decode_tps: of(|run| run.decode_tps),
        p50: of(|run| run.latency_seconds?.p50),
        p95: of(|run| run.latency_seconds?.p95),
        ttft_p50: of(|run| run.ttft_seconds?.p50),
        completion_tokens: tokens
            .map(|tokens| tokens.median)
            .filter(|_| runs.iter().any(|run| run.valid)),
        gain: Gain::Reference,
    })
}
