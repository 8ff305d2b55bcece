//! What is shown of the judges' opinions: whether a deployment became slower, against what, and how much could be
//! seen at all; and what the precisions of one family gain.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prometheus::proto::MetricFamily;

use super::catalogue::unix;
use super::family::{Family, Labels, with};
use crate::board::{ProbeStatus, Snapshot};
use crate::environment::precision_bits;
use crate::judges::Opinion;
use crate::verdict::{Compared, Comparison, Judgement, Measure, Speedup, Verdict, speedup};

/// A gauge with one series for each measure.
type OfMeasure = (&'static str, &'static str, fn(&Judgement) -> Option<f64>);
const OF_MEASURE: [OfMeasure; 3] = [
    (
        "baseline",
        "Median of the pinned baseline, in the measure's own unit: tokens or requests per second, or seconds.",
        |judgement| judgement.baseline_median,
    ),
    (
        "noise_ratio",
        "How much single runs differ from their level: their standard deviation, as a share of it.",
        |judgement| judgement.noise_ratio,
    ),
    (
        "minimum_detectable_change_ratio",
        "The least worsening that would be found in nine cases of ten within 24 runs, as a share.",
        |judgement| judgement.minimum_detectable_change,
    ),
];

/// A gauge with one series for each comparison and measure.
type OfComparison = (&'static str, &'static str, fn(&Comparison) -> f64);
const OF_COMPARISON: [OfComparison; 5] = [
    (
        "change_ratio",
        "The present level divided by what it is compared with: below 1 is slower for a rate, and faster for a latency.",
        |comparison| comparison.ratio,
    ),
    (
        "change_lower_ratio",
        "Lower end of the 95 % interval of the change.",
        |comparison| comparison.lower,
    ),
    (
        "change_upper_ratio",
        "Upper end of the 95 % interval of the change.",
        |comparison| comparison.upper,
    ),
    (
        "verdict",
        "-1 while the deployment is judged slower than that, 1 while it is judged faster, else 0. It stands until it has recovered, was acknowledged or pinned anew.",
        |comparison| comparison.verdict.map_or(0.0, Verdict::sign),
    ),
    (
        "verdict_conclusive",
        "1 if the runs suffice to say that there is a change, or that there is none beyond the tolerance.",
        |comparison| f64::from(u8::from(comparison.is_conclusive())),
    ),
];

const COMPARISON_RUNS: (&str, &str) = (
    "comparison_runs",
    "Clean runs on each side of a comparison of decode tokens per second.",
);

/// A gauge about the headline's baseline.
type OfHeadline = (&'static str, &'static str, fn(&Judgement) -> Option<f64>);
const OF_HEADLINE: [OfHeadline; 2] = [
    (
        "baseline_runs",
        "Clean runs in the pinned baseline, at most 96; it is used from 10.",
        |judgement| Some(judgement.baseline_runs as f64),
    ),
    (
        "baseline_timestamp_seconds",
        "Unix time at which the latest run of the pinned baseline ended.",
        |judgement| judgement.baseline_at.map(unix),
    ),
];

const ACKNOWLEDGED: (&str, &str) = (
    "acknowledged",
    "1 while every verdict that stands was acknowledged, and is to be silent.",
);

/// A gauge about two precisions.
type OfPrecisions = (&'static str, &'static str, fn(&Speedup) -> f64);
const OF_PRECISIONS: [OfPrecisions; 3] = [
    (
        "precision_speedup_ratio",
        "How many times as many decode tokens per second a narrower precision gives as a wider one of the same family.",
        |speedup| speedup.ratio,
    ),
    (
        "precision_speedup_lower_ratio",
        "Lower end of the 95 % interval of the speed-up.",
        |speedup| speedup.lower,
    ),
    (
        "precision_speedup_upper_ratio",
        "Upper end of the 95 % interval of the speed-up; below 1 the narrower precision is the slower one.",
        |speedup| speedup.upper,
    ),
];

/// Name and HELP of every family here.
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    let of_measure = OF_MEASURE.iter().map(|(name, help, _)| (*name, *help));
    let of_comparison = OF_COMPARISON.iter().map(|(name, help, _)| (*name, *help));
    let of_headline = OF_HEADLINE.iter().map(|(name, help, _)| (*name, *help));
    let of_precisions = OF_PRECISIONS.iter().map(|(name, help, _)| (*name, *help));
    of_measure
        .chain(of_comparison)
        .chain(of_headline)
        .chain(of_precisions)
        .chain([COMPARISON_RUNS, ACKNOWLEDGED])
}

/// Every family about the opinions of `snapshot`.
pub(super) fn families(snapshot: &Snapshot, now: Timestamp) -> Vec<MetricFamily> {
    let mut families = Vec::new();
    for (name, help, value) in OF_MEASURE {
        let mut family = Family::gauge(name, help);
        for_each(snapshot, |labels, opinion| {
            for (measure, judgement) in &opinion.judgements {
                let labels = with(labels, ("measure", measure.label()));
                family.value(&labels, value(judgement));
            }
        });
        families.push(family);
    }
    for (name, help, value) in OF_COMPARISON {
        let mut family = Family::gauge(name, help);
        for_each(snapshot, |labels, opinion| {
            for (measure, judgement) in &opinion.judgements {
                for compared in Compared::ALL {
                    let labels = with(labels, ("comparison", compared.label()));
                    let labels = with(&labels, ("measure", measure.label()));
                    family.value(&labels, judgement.comparison(*compared).map(value));
                }
            }
        });
        families.push(family);
    }
    for (name, help, value) in OF_HEADLINE {
        let mut family = Family::gauge(name, help);
        for_each(snapshot, |labels, opinion| {
            family.value(labels, headline(opinion).and_then(value));
        });
        families.push(family);
    }
    families.push(comparison_runs(snapshot));
    families.push(acknowledged(snapshot, now));
    families.extend(precisions(snapshot));
    families.into_iter().filter_map(Family::done).collect()
}

/// Each probe that is judged, with its labels.
fn for_each(snapshot: &Snapshot, mut add: impl FnMut(Labels<'_>, &Opinion)) {
    for probe in &snapshot.probes {
        if let Some(opinion) = &probe.opinion {
            let labels = [
                ("deployment", probe.deployment.name.as_str()),
                ("workload", probe.workload.name.as_str()),
            ];
            add(&labels, opinion);
        }
    }
}

fn headline(opinion: &Opinion) -> Option<&Judgement> {
    opinion.judgements.get(&Measure::DecodeTokensRate)
}

fn comparison_runs(snapshot: &Snapshot) -> Family {
    let mut family = Family::gauge(COMPARISON_RUNS.0, COMPARISON_RUNS.1);
    for_each(snapshot, |labels, opinion| {
        for compared in Compared::ALL {
            let comparison =
                headline(opinion).and_then(|judgement| judgement.comparison(*compared));
            let Some(comparison) = comparison else {
                continue;
            };
            let labels = with(labels, ("comparison", compared.label()));
            for (side, runs) in [
                ("after", comparison.runs_after),
                ("before", comparison.runs_before),
            ] {
                family.value(&with(&labels, ("side", side)), Some(runs as f64));
            }
        }
    });
    family
}

/// A verdict that nobody has seen is not silenced by what was said of another.
fn acknowledged(snapshot: &Snapshot, now: Timestamp) -> Family {
    let mut family = Family::gauge(ACKNOWLEDGED.0, ACKNOWLEDGED.1);
    for_each(snapshot, |labels, opinion| {
        let mut standing = opinion
            .judgements
            .values()
            .filter_map(|judgement| judgement.standing.as_ref())
            .peekable();
        let holds = standing.peek().is_some() && standing.all(|one| one.is_acknowledged(now));
        family.value(labels, Some(f64::from(u8::from(holds))));
    });
    family
}

/// The probes of one family and workload, by the bits and the name of their precision.
type Precisions<'a> = BTreeMap<(u32, &'a str), &'a ProbeStatus>;

/// Each narrower precision against each wider one of its family. Where several deployments have one precision,
/// the first of the configuration stands for it.
fn precisions(snapshot: &Snapshot) -> Vec<Family> {
    let mut families = OF_PRECISIONS.map(|(name, help, _)| Family::gauge(name, help));
    let mut of_family: BTreeMap<(&str, &str), Precisions<'_>> = BTreeMap::new();
    for probe in &snapshot.probes {
        let deployment = &probe.deployment;
        if let (Some(family), Some(precision)) = (&deployment.family, &deployment.precision)
            && let Some(bits) = precision_bits(precision)
        {
            of_family
                .entry((family, probe.workload.name.as_str()))
                .or_default()
                .entry((bits, precision))
                .or_insert(probe);
        }
    }
    for ((family, workload), precisions) in &of_family {
        for ((bits, precision), narrow) in precisions {
            let wider = precisions.iter().filter(|((of, _), _)| of > bits);
            for ((_, reference), wide) in wider {
                let Some(found) = speedup_of(narrow, wide) else {
                    continue;
                };
                let labels = [
                    ("family", *family),
                    ("workload", *workload),
                    ("precision", *precision),
                    ("reference", *reference),
                    ("measure", Measure::DecodeTokensRate.label()),
                ];
                for (shown, (_, _, value)) in families.iter_mut().zip(OF_PRECISIONS) {
                    shown.value(&labels, Some(value(&found)));
                }
            }
        }
    }
    families.into()
}

fn speedup_of(one: &ProbeStatus, reference: &ProbeStatus) -> Option<Speedup> {
    let (one, tokens) = one.opinion.as_ref()?.level.as_ref()?;
    let (reference, reference_tokens) = reference.opinion.as_ref()?.level.as_ref()?;
    speedup((one, *tokens), (reference, *reference_tokens))
}
