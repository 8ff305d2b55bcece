//! The `probes` of a deployment: which workload, how often, and when not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::feasibility::{Spacing, TRIAL, warn_if_too_often};
use super::field::Field;
use super::global::Defaults;
use super::named::Named;
use super::section::Section;
use super::source::Fault;
use super::values;
use crate::schedule::{Blackout, Cadence, Schedule};
use crate::workload::{Workload, WorkloadName};

pub(super) const FIELDS: &[&str] = &[
    "workload",
    "every",
    "cron",
    "timezone",
    "jitter",
    "blackouts",
];
pub(super) const BLACKOUT_FIELDS: &[&str] = &["days", "from", "to", "timezone"];

/// A workload, and when it is replayed against a deployment.
#[derive(Clone, Debug)]
pub struct Probe {
    /// What is replayed.
    pub workload: Arc<Workload>,
    /// When it is replayed.
    pub schedule: Schedule,
}

/// A probe with what later checks need of where it came from.
pub(super) struct ReadProbe<'a> {
    pub(super) probe: Probe,
    pub(super) field: Field<'a>,
    pub(super) spacing: Spacing,
}

pub(super) fn read_probes<'a>(
    field: &Field<'a>,
    deployment: &str,
    workloads: &Named<Arc<Workload>>,
    defaults: &Defaults,
) -> Vec<ReadProbe<'a>> {
    let mut lines = BTreeMap::new();
    let items = field.items().into_iter();
    let read = items.filter_map(|field| {
        let section = Section::of(&field, FIELDS);
        let workload = read_workload(&section, workloads, &mut lines);
        read_probe(field, &section, deployment, workload, defaults)
    });
    read.collect()
}

fn read_probe<'a>(
    field: Field<'a>,
    section: &Section<'a>,
    deployment: &str,
    workload: Option<Arc<Workload>>,
    defaults: &Defaults,
) -> Option<ReadProbe<'a>> {
    let zone = section
        .get("timezone")
        .and_then(|field| field.parsed(values::zone))
        .unwrap_or_else(|| defaults.zone.clone());
    let cadence = read_cadence(section, &zone);
    let jitter = section
        .get("jitter")
        .and_then(|field| Some((field.parsed(values::duration)?, field)));
    let mut blackouts = defaults.blackouts.clone();
    if let Some(field) = section.get("blackouts") {
        blackouts.extend(read_blackouts(&field, &zone));
    }

    let (workload, (cadence, written)) = (workload?, cadence?);
    let Some(spacing) = Spacing::of(&cadence) else {
        written.mistake(
            "no two runs are ever due",
            "write a schedule that repeats, such as `every: 15m`",
        );
        return None;
    };
    warn_if_too_often(&written, &workload, spacing);
    if let Some((jitter, field)) = &jitter
        && *jitter >= spacing.shortest
    {
        field.mistake(
            "the jitter is not shorter than the time between two runs",
            "write a shorter one, such as a tenth of that time",
        );
    }
    let jitter = jitter.map_or(Duration::ZERO, |(jitter, _)| jitter);
    let identity = format!("{deployment}/{}", workload.name);
    let schedule = Schedule::new(cadence, jitter, blackouts, &identity);
    if schedule.next_run_after(TRIAL).is_none() {
        written.mistake(
            "no run can ever start: the blackouts cover every time at which one is due",
            "shorten the blackouts of this probe, or those in `global`",
        );
    }
    Some(ReadProbe {
        probe: Probe { workload, schedule },
        field,
        spacing,
    })
}

/// The workload of a probe; `lines` holds where those of its siblings stand.
fn read_workload(
    section: &Section<'_>,
    workloads: &Named<Arc<Workload>>,
    lines: &mut BTreeMap<WorkloadName, usize>,
) -> Option<Arc<Workload>> {
    let field = section.require("workload", "reference")?;
    let workload = workloads.resolve(&field, "workload")?;
    if let Some(line) = lines.insert(workload.name.clone(), field.line()) {
        field.mistake(
            format!(
                "the workload `{}` is probed twice here, first in line {line}",
                workload.name
            ),
            "keep one of the two probes, or define a second workload for the other",
        );
    }
    Some(Arc::clone(workload))
}

fn read_cadence<'a>(section: &Section<'a>, zone: &TimeZone) -> Option<(Cadence, Field<'a>)> {
    let (name, field) = section.exactly_one(&["every", "cron"], "every: 15m")?;
    let cadence = if name == "every" {
        field.parsed(|text| interval(text).map(Cadence::Every))?
    } else {
        let pattern = field.parsed(|text| {
            Schedule::parse_cron(text).map_err(|problem| {
                Fault::new(
                    problem,
                    "write a pattern such as `*/15 * * * *`, or `every: 15m`",
                )
            })
        })?;
        Cadence::Cron {
            pattern,
            zone: zone.clone(),
        }
    };
    Some((cadence, field))
}

fn interval(text: &str) -> Result<Duration, Fault> {
    let interval = values::duration(text)?;
    if interval < Duration::from_secs(1) {
        return Err(Fault::new(
            format!("`{text}` is shorter than a second"),
            "write a longer interval, such as `15m`",
        ));
    }
    Ok(interval)
}

pub(super) fn read_blackouts(field: &Field<'_>, zone: &TimeZone) -> Vec<Blackout> {
    field
        .items()
        .iter()
        .filter_map(|field| read_blackout(field, zone))
        .collect()
}

fn read_blackout(field: &Field<'_>, zone: &TimeZone) -> Option<Blackout> {
    let section = Section::of(field, BLACKOUT_FIELDS);
    let days = section.get("days").map_or(Some(""), |field| field.text());
    let zone = section
        .get("timezone")
        .map_or(Some(zone.clone()), |field| field.parsed(values::zone));
    let from = section
        .require("from", "22:00")
        .and_then(|field| field.text());
    let to = section
        .require("to", "06:00")
        .and_then(|field| field.text());
    Blackout::parse(days?, from?, to?, zone?)
        .map_err(|problem| {
            field.mistake(
                problem,
                "write it as in `{ days: mon-fri, from: 22:00, to: 06:00 }`",
            );
        })
        .ok()
}
