//! The `global` section: what holds for the whole process, and the defaults of deployments and probes.

use std::num::NonZero;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::budgets::{ReadBudget, read_budget};
use super::field::Field;
use super::guards::read_guards;
use super::probes::read_blackouts;
use super::section::Section;
use super::tolerances::read_tolerances;
use super::values;
use crate::budget::Budget;
use crate::guard::Guards;
use crate::history::Retention;
use crate::measure::Tolerances;
use crate::prober::RemovedRuns;
use crate::schedule::Blackout;

pub(super) const FIELDS: &[&str] = &[
    "max_concurrent_runs",
    "stale_after",
    "shutdown_grace",
    "removed_runs",
    "timezone",
    "blackouts",
    "guards",
    "budget",
    "tolerance",
    "retention",
    "request_histograms",
    "buckets",
];
pub(super) const RETENTION_FIELDS: &[&str] = &["runs", "light_runs", "requests"];
pub(super) const BUCKET_FIELDS: &[&str] = &["e2e", "ttft", "tpot"];

/// Bounds of one histogram: each is a series for every deployment and workload.
const MAX_BUCKETS: usize = 50;

/// What holds for the whole process.
#[derive(Clone, Debug, PartialEq)]
pub struct Global {
    /// Runs in flight at once in the process; light ones are not counted.
    pub max_concurrent_runs: NonZero<usize>,
    /// Results are withdrawn after this many intervals without a finished run.
    pub stale_after: u32,
    /// How long a shutdown waits for the runs in flight.
    pub shutdown_grace: Duration,
    /// What becomes of runs in flight whose deployment or workload a reload takes away.
    pub removed_runs: RemovedRuns,
    /// What probing all deployments together may cost.
    pub budget: Budget,
    /// How long the history keeps what is in it.
    pub retention: Retention,
    /// Whether request latencies are also exposed as histograms.
    pub request_histograms: bool,
    /// The bounds of these histograms.
    pub buckets: Buckets,
}

/// Upper bounds of the request histograms, in seconds: positive and ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    /// Of the end-to-end latency.
    pub e2e: Vec<f64>,
    /// Of the time to first token.
    pub ttft: Vec<f64>,
    /// Of the time per output token.
    pub tpot: Vec<f64>,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            max_concurrent_runs: NonZero::<usize>::MIN,
            stale_after: 3,
            shutdown_grace: Duration::from_secs(30),
            removed_runs: RemovedRuns::default(),
            budget: Budget::default(),
            retention: Retention::default(),
            request_histograms: true,
            buckets: Buckets::default(),
        }
    }
}

impl Default for Buckets {
    /// Closest together where the reference deployments lie: 7 to 13 s end to end, 26 to 50 ms a token.
    fn default() -> Self {
        Self {
            e2e: vec![
                0.5, 1.0, 2.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 15.0, 20.0,
                30.0, 60.0,
            ],
            ttft: vec![
                0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
            ],
            tpot: vec![
                0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.045, 0.05, 0.06, 0.08, 0.1,
                0.2, 0.5, 1.0,
            ],
        }
    }
}

/// What deployments and their probes have unless they say otherwise.
#[derive(Clone, Debug)]
pub(super) struct Defaults {
    pub(super) guards: Guards,
    pub(super) tolerances: Tolerances,
    pub(super) zone: TimeZone,
    pub(super) blackouts: Vec<Blackout>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            guards: Guards::default(),
            tolerances: Tolerances::default(),
            zone: TimeZone::UTC,
            blackouts: Vec::new(),
        }
    }
}

/// The section as far as it can be read.
#[derive(Default)]
pub(super) struct ReadGlobal<'a> {
    pub(super) global: Global,
    pub(super) defaults: Defaults,
    /// The total budget, with its places.
    pub(super) budget: ReadBudget<'a>,
}

pub(super) fn read_global<'a>(field: &Field<'a>) -> ReadGlobal<'a> {
    let section = Section::of(field, FIELDS);
    let mut global = Global::default();
    let mut defaults = Defaults::default();
    if let Some(runs) = section
        .get("max_concurrent_runs")
        .and_then(|field| field.whole(1..=1024))
    {
        global.max_concurrent_runs = NonZero::new(runs).unwrap_or(NonZero::<usize>::MIN);
    }
    if let Some(intervals) = section
        .get("stale_after")
        .and_then(|field| field.whole(1..=1000))
    {
        global.stale_after = intervals;
    }
    if let Some(grace) = section
        .get("shutdown_grace")
        .and_then(|field| field.parsed(values::duration))
    {
        global.shutdown_grace = grace;
    }
    if let Some(removed) = section.get("removed_runs").and_then(|field| {
        field.choice(&[
            ("finish", RemovedRuns::Finish),
            ("cancel", RemovedRuns::Cancel),
        ])
    }) {
        global.removed_runs = removed;
    }
    if let Some(wanted) = section
        .get("request_histograms")
        .and_then(|field| field.flag())
    {
        global.request_histograms = wanted;
    }
    if let Some(field) = section.get("retention") {
        global.retention = read_retention(&field);
    }
    if let Some(field) = section.get("buckets") {
        global.buckets = read_buckets(&field);
    }
    if let Some(zone) = section
        .get("timezone")
        .and_then(|field| field.parsed(values::zone))
    {
        defaults.zone = zone;
    }
    if let Some(field) = section.get("blackouts") {
        defaults.blackouts = read_blackouts(&field, &defaults.zone);
    }
    if let Some(field) = section.get("guards") {
        defaults.guards = read_guards(&field, defaults.guards);
    }
    if let Some(field) = section.get("tolerance") {
        defaults.tolerances = read_tolerances(&field, &defaults.tolerances);
    }
    let budget = section
        .get("budget")
        .map(|field| read_budget(&field))
        .unwrap_or_default();
    global.budget = budget.budget();
    ReadGlobal {
        global,
        defaults,
        budget,
    }
}

fn read_retention(field: &Field<'_>) -> Retention {
    let section = Section::of(field, RETENTION_FIELDS);
    let read = |name| section.get(name)?.parsed(values::retention);
    let defaults = Retention::default();
    Retention {
        runs: read("runs").unwrap_or(defaults.runs),
        light_runs: read("light_runs").unwrap_or(defaults.light_runs),
        requests: read("requests").unwrap_or(defaults.requests),
    }
}

fn read_buckets(field: &Field<'_>) -> Buckets {
    let section = Section::of(field, BUCKET_FIELDS);
    let defaults = Buckets::default();
    let bounds = |name, default| {
        section
            .get(name)
            .map_or(default, |field| read_bounds(&field))
    };
    Buckets {
        e2e: bounds("e2e", defaults.e2e),
        ttft: bounds("ttft", defaults.ttft),
        tpot: bounds("tpot", defaults.tpot),
    }
}

fn read_bounds(field: &Field<'_>) -> Vec<f64> {
    let items = field.items();
    if items.is_empty() || items.len() > MAX_BUCKETS {
        field.mistake(
            format!("a histogram has 1 to {MAX_BUCKETS} bounds, not {}", items.len()),
            "write bounds in seconds, as in `[0.5, 1, 2, 5]`, or leave the field out for the default",
        );
    }
    let mut bounds = Vec::new();
    for item in items {
        let Some(bound) = item.number(0.0..=86_400.0) else {
            continue;
        };
        if bound <= bounds.last().copied().unwrap_or(0.0) {
            item.mistake(
                format!("the bound {bound} is not above the one before it"),
                "list positive bounds in ascending order, each once",
            );
        }
        bounds.push(bound);
    }
    bounds
}
