//! The agenda as a whole, held to its promises on random fleets with random run times.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;
use vllm_prober::agenda::{Agenda, Entry, Event, ProbeKey};
use vllm_prober::deployment::{DeploymentName, Lane};
use vllm_prober::schedule::{Blackout, Cadence, Schedule};

/// One probe of a simulated fleet.
#[derive(Clone, Debug)]
struct Plan {
    deployment: usize,
    lane: usize,
    light: bool,
    interval: Duration,
    /// How long its runs take, one after the other and over again.
    run_times: Vec<Duration>,
    rests_at_noon: bool,
}

impl Plan {
    fn schedule(&self, index: usize) -> Schedule {
        let noon = Blackout::parse("", "11:30", "12:30", TimeZone::UTC).expect("a good window");
        Schedule::new(
            Cadence::Every(self.interval),
            self.interval / 10,
            if self.rests_at_noon {
                vec![noon]
            } else {
                Vec::new()
            },
            &format!("deployment-{}/{index}", self.deployment),
        )
    }

    fn entry(&self, index: usize) -> Entry {
        Entry {
            deployment: DeploymentName::new(format!("deployment-{}", self.deployment)),
            lane: Lane::new(format!("gpu{}", self.lane)),
            light: self.light,
            schedule: self.schedule(index),
        }
    }
}

/// What became of one probe's slots.
#[derive(Clone, Debug, Default)]
struct Account {
    started: Vec<Started>,
    missed: u64,
    skipped: u64,
}

#[derive(Clone, Copy, Debug)]
struct Started {
    slot: Timestamp,
    at: Timestamp,
}

fn begin() -> Timestamp {
    "2026-03-02T09:00:00Z".parse().expect("a good time")
}

/// Drives an agenda as the prober does, until `end`, and holds every moment to what may run at once. In each
/// sleep, a moment and a length, nobody asks the agenda anything.
fn simulate(
    fleet: &[Plan],
    cap: usize,
    end: Timestamp,
    sleeps: &[(Timestamp, Duration)],
) -> Vec<Account> {
    let entries = fleet
        .iter()
        .enumerate()
        .map(|(index, plan)| plan.entry(index));
    let mut agenda = Agenda::new(entries.collect(), cap, begin());
    let mut accounts = vec![Account::default(); fleet.len()];
    let mut ends: BTreeSet<(Timestamp, ProbeKey)> = BTreeSet::new();
    let mut now = begin();
    loop {
        let first_end = ends.first().map(|(end, _)| *end);
        let wake = agenda.next_wake().into_iter().chain(first_end).min();
        now = now.max(wake.expect("a fixed interval never ends"));
        for (moment, length) in sleeps {
            if (*moment..*moment + *length).contains(&now) {
                now = *moment + *length;
            }
        }
        if now > end {
            return accounts;
        }
        while let Some(&(_, probe)) = ends.first().filter(|(end, _)| *end <= now) {
            ends.pop_first();
            agenda.finished(probe);
        }
        for event in agenda.poll(now) {
            match event {
                Event::Start { probe, slot } => {
                    let (plan, account) = (&fleet[probe.0], &mut accounts[probe.0]);
                    let run_time = plan.run_times[account.started.len() % plan.run_times.len()];
                    account.started.push(Started { slot, at: now });
                    assert!(slot <= now, "a run starts before it is due");
                    assert!(ends.insert((now + run_time, probe)));
                }
                Event::Missed { probe, count, .. } => accounts[probe.0].missed += count,
                Event::Skipped { probe, .. } => accounts[probe.0].skipped += 1,
            }
        }
        check_what_runs(fleet, cap, ends.iter().map(|(_, probe)| *probe));
    }
}

fn check_what_runs(fleet: &[Plan], cap: usize, running: impl Iterator<Item = ProbeKey>) {
    let (mut lanes, mut deployments, mut bursts) = (BTreeMap::new(), BTreeMap::new(), 0);
    for probe in running {
        let plan = &fleet[probe.0];
        assert_eq!(lanes.insert(plan.lane, probe), None, "two runs in one lane");
        assert_eq!(
            deployments.insert(plan.deployment, probe),
            None,
            "two runs of one deployment"
        );
        bursts += usize::from(!plan.light);
    }
    assert!(bursts <= cap, "{bursts} bursts in flight, {cap} allowed");
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let run_times = prop::collection::vec((1_u64..600).prop_map(Duration::from_secs), 1..4);
    (
        0_usize..8,
        any::<bool>(),
        10_u64..1_800,
        run_times,
        any::<bool>(),
    )
        .prop_map(
            |(deployment, light, interval, run_times, rests_at_noon)| Plan {
                deployment,
                lane: deployment / 2,
                light,
                interval: Duration::from_secs(interval),
                run_times,
                rests_at_noon,
            },
        )
}

fn any_sleep() -> impl Strategy<Value = (Timestamp, Duration)> {
    (0_i64..20_000, 1_u64..8_000)
        .prop_map(|(after, length)| (begin() + after.seconds(), Duration::from_secs(length)))
}

/// Long enough for everyone to have slept out.
fn end() -> Timestamp {
    begin() + 10.hours()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_slot_is_started_missed_or_skipped_and_nothing_runs_beside_what_it_must_not(
        fleet in prop::collection::vec(any_plan(), 1..16),
        cap in 1_usize..4,
        sleeps in prop::collection::vec(any_sleep(), 0..3),
    ) {
        let accounts = simulate(&fleet, cap, end(), &sleeps);
        for (index, (plan, account)) in fleet.iter().zip(&accounts).enumerate() {
            let schedule = plan.schedule(index);
            let first = schedule.first_after(begin());
            let extra = u64::from(first != schedule.next_after(begin()));
            let slots = extra + schedule.passed(begin(), end()).map_or(0, |passed| passed.count);
            let accounted = account.started.len() as u64 + account.missed + account.skipped;
            // The last slot may still wait.
            prop_assert!(
                accounted == slots || accounted + 1 == slots,
                "probe {} has {} slots and accounts for {}", index, slots, accounted
            );
            prop_assert!(account.started.is_sorted_by(|a, b| a.slot < b.slot), "a slot ran twice");
            for started in &account.started {
                let regular = schedule.next_after(started.slot - 1.nanosecond());
                let is_slot = [first, regular].contains(&Some(started.slot));
                prop_assert!(is_slot && !schedule.in_blackout(started.at));
            }
        }
    }

    #[test]
    fn nobody_waits_for_ever_when_there_is_room_for_all(
        fleet in prop::collection::vec(any_plan(), 1..12),
        cap in 1_usize..3,
    ) {
        // Together they need two fifths of one lane, so whoever shares it and the cap has room.
        let share = 0.4 / fleet.len() as f64;
        let fleet: Vec<Plan> = fleet
            .into_iter()
            .map(|plan| Plan { run_times: vec![plan.interval.mul_f64(share)], rests_at_noon: false, ..plan })
            .collect();
        let round: Duration = fleet.iter().map(|plan| plan.run_times[0]).sum();
        for (plan, account) in fleet.iter().zip(simulate(&fleet, cap, end(), &[])) {
            let starts = std::iter::once(begin()).chain(account.started.iter().map(|started| started.at));
            let starts: Vec<Timestamp> = starts.chain([end()]).collect();
            for pair in starts.windows(2) {
                // A jittered interval, and twice as long as it takes to run everybody.
                let longest = plan.interval.mul_f64(1.1) + 2 * round;
                prop_assert!(pair[1].duration_since(pair[0]) <= longest.try_into().unwrap(), "{:?}", plan);
            }
        }
    }
}

#[test]
fn after_its_first_minute_a_fleet_on_one_cadence_is_spread_over_it() {
    let minutes = 15;
    let plan = |deployment| Plan {
        deployment,
        lane: deployment,
        light: false,
        interval: Duration::from_secs(60 * minutes),
        run_times: vec![Duration::from_secs(1)],
        rests_at_noon: false,
    };
    let fleet: Vec<Plan> = (0..300).map(plan).collect();
    let accounts = simulate(&fleet, fleet.len(), begin() + 16.minutes(), &[]);
    let mut in_each_minute = BTreeMap::new();
    for started in accounts.iter().flat_map(|account| &account.started) {
        let minute = started.at.duration_since(begin()).as_secs() / 60;
        *in_each_minute.entry(minute).or_insert(0) += 1;
    }
    // Everyone has run once by then, spread over that minute: a start shows figures soon.
    let in_first_minute = in_each_minute.remove(&0).unwrap_or(0);
    assert!((300..345).contains(&in_first_minute), "{in_first_minute}");
    // 20 of 300 in a minute on average: a fleet that fired together would have 300 in one.
    assert_eq!(in_each_minute.len() as u64, minutes);
    assert!(
        in_each_minute.values().all(|starts| *starts < 45),
        "{in_each_minute:?}"
    );
}
