//! Whether the schedule can be kept at all: how long runs are likely to take and what they cost, whether each
//! lane and the process have the time for theirs, and whether the budgets allow it.
//!
//! How fast a deployment is is what we are about to measure, so these are estimates, and what comes of
//! them are warnings.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::budgets::ReadBudget;
use super::deployments::ReadDeployment;
use super::field::Field;
use super::global::Global;
use super::probes::ReadProbe;
use crate::deployment::Lane;
use crate::schedule::{Cadence, Schedule};
use crate::workload::Workload;

/// The pace of a 32B model in BF16 on one GPU with 16 requests in flight.
const TOKEN_TIME: Duration = Duration::from_millis(50);

/// What the estimates rest on, as messages say it.
const ASSUMPTION: &str = "at 50 ms a token, the pace of a 32B model in BF16 on one GPU";

/// What a budget of tokens is for.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Slots of a cron pattern that are looked at to see how far apart they lie.
const SLOTS: usize = 100;

/// When schedules are tried out: a day under today's rules of time zones, so that the outcome never depends
/// on the day on which the file is read.
pub(super) const TRIAL: Timestamp = Timestamp::constant(1_735_689_600, 0);

/// How long a run is likely to take: its waves, one after the other, each of full length.
fn expected_duration(workload: &Workload) -> Duration {
    let waves = |requests: u32| requests.div_ceil(workload.concurrency);
    let waves = waves(workload.requests).saturating_add(waves(workload.warmup));
    TOKEN_TIME
        .saturating_mul(workload.max_tokens)
        .saturating_mul(waves)
}

/// The share of the time that the runs of a probe are likely to take.
fn share_of_time(read: &ReadProbe<'_>) -> f64 {
    expected_duration(&read.probe.workload).as_secs_f64() / read.spacing.mean.as_secs_f64()
}

/// How far apart the slots of a schedule lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spacing {
    pub(super) shortest: Duration,
    pub(super) mean: Duration,
}

impl Spacing {
    /// `None` when there are fewer than two slots.
    pub(super) fn of(cadence: &Cadence) -> Option<Self> {
        if let Cadence::Every(interval) = *cadence {
            return Some(Self {
                shortest: interval,
                mean: interval,
            });
        }
        let schedule = Schedule::new(cadence.clone(), Duration::ZERO, Vec::new(), "");
        let first = schedule.next_after(TRIAL)?;
        let slots: Vec<_> = std::iter::successors(Some(first), |slot| schedule.next_after(*slot))
            .take(SLOTS)
            .collect();
        let gaps = slots
            .windows(2)
            .filter_map(|pair| Duration::try_from(pair[1].duration_since(pair[0])).ok());
        let whole = Duration::try_from(slots.last()?.duration_since(first)).ok()?;
        Some(Self {
            shortest: gaps.min()?,
            mean: whole / u32::try_from(slots.len() - 1).ok()?,
        })
    }
}

/// Warns when the next run of a probe is due before the last one can be over.
pub(super) fn warn_if_too_often(field: &Field<'_>, workload: &Workload, spacing: Spacing) {
    let expected = expected_duration(workload);
    if spacing.shortest < expected {
        field.warning(
            format!(
                "a run of `{}` takes about {}, and the next one is due after {} ({ASSUMPTION})",
                workload.name,
                spoken(expected),
                spoken(spacing.shortest),
            ),
            format!(
                "leave {} or more between two runs, or make the workload smaller",
                spoken(expected * 2)
            ),
        );
    }
}

/// Warns when a lane, or the process, is asked for more runs than it has time for.
pub(super) fn warn_if_overcommitted(deployments: &[ReadDeployment<'_>], global: &Global) {
    let mut lanes: BTreeMap<&Lane, Vec<(f64, &Field<'_>)>> = BTreeMap::new();
    let mut process = Vec::new();
    for ReadDeployment {
        deployment, probes, ..
    } in deployments
    {
        for read in probes {
            let workload = &read.probe.workload;
            let share = share_of_time(read);
            lanes
                .entry(&deployment.lane)
                .or_default()
                .push((share, &read.field));
            if !workload.is_light() {
                process.push((share, &read.field));
            }
        }
    }
    let total = |shares: &[(f64, &Field<'_>)]| shares.iter().map(|(share, _)| share).sum::<f64>();
    for (lane, shares) in &lanes {
        // A probe that is alone in its lane has been told already.
        if let ([.., (_, last)], share) = (shares.as_slice(), total(shares))
            && shares.len() > 1
            && share > 1.0
        {
            last.warning(
                format!("the probes of lane `{lane}` take {share:.1} times the time there is ({ASSUMPTION})"),
                format!("multiply the intervals in this lane by {:.0} or more", share.ceil()),
            );
        }
    }
    let (share, room) = (total(&process), global.max_concurrent_runs.get());
    if let Some((_, last)) = process.last()
        && lanes.len() > 1
        && share > room as f64
    {
        last.warning(
            format!(
                "all probes together take {share:.1} times the time there is, and `max_concurrent_runs` is {room} \
                 ({ASSUMPTION})"
            ),
            format!("write `max_concurrent_runs: {:.0}` in `global`, or longer intervals", share.ceil()),
        );
    }
}

/// Warns when a budget is smaller than what the configured probes need by plan.
pub(super) fn warn_if_over_budget(deployments: &[ReadDeployment<'_>], total: &ReadBudget<'_>) {
    for read in deployments {
        let whose = format!("the probes of `{}`", read.deployment.name);
        let probes: Vec<_> = read.probes.iter().collect();
        warn_if_short_of_tokens(&read.budget, &whose, &probes);
        warn_if_short_of_time(&read.budget, &whose, &probes);
    }
    let probes: Vec<_> = deployments.iter().flat_map(|read| &read.probes).collect();
    warn_if_short_of_tokens(total, "all probes together", &probes);
    warn_if_short_of_time(total, "all probes together", &probes);
}

fn warn_if_short_of_tokens(budget: &ReadBudget<'_>, whose: &str, probes: &[&ReadProbe<'_>]) {
    let Some((limit, field)) = &budget.tokens else {
        return;
    };
    let bursts = probes.iter().map(|read| &read.probe.workload);
    let largest = bursts
        .filter(|workload| !workload.is_light())
        .max_by_key(|workload| workload.most_tokens());
    if let Some(workload) = largest.filter(|workload| workload.most_tokens() > *limit) {
        let tokens = workload.most_tokens();
        return field.warning(
            format!(
                "a run of `{}` may take {tokens} tokens, more than this budget has for a whole day: it never runs",
                workload.name
            ),
            format!("write a multiple of {tokens}, or make the workload smaller"),
        );
    }
    let a_day = probes.iter().map(|read| {
        let runs = DAY.as_secs_f64() / read.spacing.mean.as_secs_f64();
        read.probe.workload.most_tokens() as f64 * runs
    });
    let planned = a_day.sum::<f64>().ceil();
    if planned > *limit as f64 {
        field.warning(
            format!("{whose} may take {planned:.0} tokens a day and those of their prompts, more than this budget"),
            format!("write `tokens_per_day: {planned:.0}` or more, or longer intervals: what is beyond is skipped"),
        );
    }
}

fn warn_if_short_of_time(budget: &ReadBudget<'_>, whose: &str, probes: &[&ReadProbe<'_>]) {
    let Some((limit, field)) = &budget.duty_cycle else {
        return;
    };
    let share: f64 = probes.iter().map(|read| share_of_time(read)).sum();
    if share <= *limit {
        return;
    }
    // Rounded up, but not for what the sum lost by rounding.
    let enough = (share * 100.0 - 1e-6).ceil() / 100.0;
    field.warning(
        format!("{whose} take {enough:.2} of the time, more than this budget ({ASSUMPTION})"),
        if enough <= 1.0 {
            format!("write `duty_cycle: {enough}` or more, or longer intervals: what is beyond is skipped")
        } else {
            "write longer intervals: what is beyond is skipped".to_owned()
        },
    );
}

/// A duration as the configuration writes it, in whole seconds.
fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round().max(1.0) as i64;
    format!("{:#}", SignedDuration::from_secs(seconds)).replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_takes_its_waves_one_after_the_other() {
        let mut workload = Workload::reference("a prompt");
        assert_eq!(expected_duration(&workload), Duration::from_millis(51_200));
        workload.warmup = 17;
        assert_eq!(expected_duration(&workload), Duration::from_millis(76_800));
        (workload.requests, workload.concurrency, workload.warmup) = (1, 1, 0);
        workload.max_tokens = 16;
        assert_eq!(expected_duration(&workload), Duration::from_millis(800));
    }

    #[test]
    fn the_slots_of_a_cron_pattern_may_lie_unevenly() {
        let cron = |pattern| {
            let pattern = Schedule::parse_cron(pattern).unwrap();
            let zone = jiff::tz::TimeZone::UTC;
            Spacing::of(&Cadence::Cron { pattern, zone }).unwrap()
        };
        let minutes = |n: u64| Duration::from_secs(60 * n);
        assert_eq!(cron("*/15 * * * *").mean, minutes(15));
        assert_eq!(cron("0,10 * * * *").shortest, minutes(10));
        assert!(cron("0,10 * * * *").mean > minutes(29));
    }

    #[test]
    fn durations_are_spoken_as_they_are_written() {
        for (seconds, text) in [(0, "1s"), (51, "51s"), (900, "15m"), (5445, "1h30m45s")] {
            assert_eq!(spoken(Duration::from_secs(seconds)), text);
        }
    }
}
