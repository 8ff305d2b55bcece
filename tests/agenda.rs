//! The agenda as a whole, held to its promises on random fleets with random run times.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;
use vllm_prober::agenda::{Agenda, DeferredReason, Entry, Event, ProbeKey, SkippedReason, Spent};
use vllm_prober::budget::Budget;
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
    /// What a look at the deployment shows before its runs, one after the other and over again.
    looks: Vec<Look>,
    /// What its deployment may be put through, if it is the first probe of it.
    budget: Budget,
    /// Tokens that a run may take, and takes.
    tokens: u64,
}

/// What a look at a deployment shows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Look {
    Idle,
    Busy,
    Asleep,
}

/// How long a look takes.
const LOOK: Duration = Duration::from_millis(300);

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
            budget: self.budget,
            tokens: self.tokens,
        }
    }
}

/// What became of one probe's slots.
#[derive(Clone, Debug, Default)]
struct Account {
    started: Vec<Started>,
    missed: u64,
    skipped: BTreeMap<SkippedReason, u64>,
    deferred: u64,
    looks: usize,
    /// What the last look was for, and when it was begun.
    looked_for: Option<Timestamp>,
    looked_at: Option<Timestamp>,
}

impl Account {
    fn slots(&self) -> u64 {
        self.started.len() as u64 + self.missed + self.skipped.values().sum::<u64>()
    }
}

#[derive(Clone, Copy, Debug)]
struct Started {
    slot: Timestamp,
    /// When the agenda let it start, before the look.
    admitted: Timestamp,
    at: Timestamp,
    run_time: Duration,
}

/// What goes on at a deployment, and when it will be over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Going {
    end: Timestamp,
    probe: ProbeKey,
    /// `None` for a run; a look for a slot that was due then, before one.
    look_for: Option<Timestamp>,
}

fn begin() -> Timestamp {
    "2026-03-02T09:00:00Z".parse().expect("a good time")
}

/// The circumstances of a fleet.
#[derive(Clone, Debug)]
struct World {
    cap: usize,
    total: Budget,
    end: Timestamp,
    /// In each sleep, a moment and a length, nobody asks the agenda anything.
    sleeps: Vec<(Timestamp, Duration)>,
}

impl World {
    fn new(cap: usize) -> Self {
        Self {
            cap,
            total: Budget::default(),
            end: end(),
            sleeps: Vec::new(),
        }
    }
}

/// Drives an agenda as the prober does, and holds every moment to what may run at once.
fn simulate(fleet: &[Plan], world: &World) -> Vec<Account> {
    let entries = fleet
        .iter()
        .enumerate()
        .map(|(index, plan)| plan.entry(index));
    let mut agenda = Agenda::new(entries.collect(), world.cap, world.total, begin());
    let mut accounts = vec![Account::default(); fleet.len()];
    let mut going: BTreeSet<Going> = BTreeSet::new();
    let mut put_off: BTreeMap<ProbeKey, (Option<Timestamp>, Timestamp)> = BTreeMap::new();
    let mut now = begin();
    loop {
        let first_end = going.first().map(|going| going.end);
        let wake = agenda.next_wake().into_iter().chain(first_end).min();
        now = now.max(wake.expect("a fixed interval never ends"));
        for (moment, length) in &world.sleeps {
            if (*moment..*moment + *length).contains(&now) {
                now = *moment + *length;
            }
        }
        if now > world.end {
            return accounts;
        }
        let mut events = Vec::new();
        while let Some(over) = going.first().copied().filter(|going| going.end <= now) {
            going.pop_first();
            let Going {
                probe, look_for, ..
            } = over;
            let (plan, account) = (&fleet[probe.0], &mut accounts[probe.0]);
            let Some(slot) = look_for else {
                let wall = account.started.last().expect("it runs").run_time;
                let tokens = plan.tokens;
                agenda.finished(probe, Some(Spent { tokens, wall }), now);
                continue;
            };
            let look = plan.looks[account.looks % plan.looks.len()];
            account.looks += 1;
            match look {
                Look::Busy => events.extend(agenda.defer(probe, DeferredReason::Busy, now)),
                Look::Asleep => events.extend(agenda.skip(probe, SkippedReason::Asleep, now)),
                Look::Idle => {
                    let run_time = plan.run_times[account.started.len() % plan.run_times.len()];
                    account.started.push(Started {
                        slot,
                        admitted: account.looked_at.expect("it was looked at"),
                        at: now,
                        run_time,
                    });
                    let end = now + run_time;
                    going.insert(Going {
                        end,
                        probe,
                        look_for: None,
                    });
                }
            }
        }
        events.extend(agenda.poll(now));
        for event in events {
            match event {
                Event::Start { probe, slot } => {
                    assert!(slot <= now, "a run starts before it is due");
                    if let Some((of, until)) = put_off.remove(&probe) {
                        assert!(
                            of != Some(slot) || until <= now,
                            "a run starts before it is tried again"
                        );
                    }
                    let end = now + LOOK;
                    let look_for = Some(slot);
                    assert!(going.insert(Going {
                        end,
                        probe,
                        look_for
                    }));
                    accounts[probe.0].looked_for = look_for;
                    accounts[probe.0].looked_at = Some(now);
                }
                Event::Deferred { probe, until, .. } => {
                    let account = &mut accounts[probe.0];
                    account.deferred += 1;
                    let pause = until.duration_since(now).as_secs();
                    assert!([5, 10, 20, 40, 60].contains(&pause), "{pause}");
                    put_off.insert(probe, (account.looked_for, until));
                }
                Event::Missed { probe, count, .. } => accounts[probe.0].missed += count,
                Event::Admitted { .. } => unreachable!("nobody visits"),
                Event::Skipped { probe, reason } => {
                    *accounts[probe.0].skipped.entry(reason).or_default() += 1;
                }
            }
        }
        check_what_runs(fleet, world.cap, going.iter().map(|going| going.probe));
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

/// Holds bursts, in the order of their starts and with the tokens that they took, to a budget.
fn check_budget(budget: Budget, runs: &[(Started, u64)]) {
    if let Some(limit) = budget.tokens_per_day {
        for (last, _) in runs {
            // Whatever ran at any time of the 24 hours that end with this run.
            let to = last.at + last.run_time;
            let of_day = runs
                .iter()
                .filter(|(run, _)| run.at <= to && run.at + run.run_time >= to - 24.hours());
            let tokens: u64 = of_day.map(|(_, tokens)| tokens).sum();
            assert!(tokens <= limit, "{tokens} tokens, {limit} allowed");
        }
    }
    if let Some(share) = budget.duty_cycle {
        for pair in runs.windows(2) {
            let ((before, _), (after, _)) = (pair[0], pair[1]);
            let distance = after.at.duration_since(before.at).as_secs_f64();
            let load = before.run_time.as_secs_f64();
            assert!(
                load <= distance * share + 1e-6,
                "{load} s in {distance} s, {share} allowed"
            );
        }
    }
}

fn any_look() -> impl Strategy<Value = Look> {
    prop_oneof![5 => Just(Look::Idle), 4 => Just(Look::Busy), 1 => Just(Look::Asleep)]
}

fn any_budget() -> impl Strategy<Value = Budget> {
    let tokens = prop::option::weighted(0.5, 1_000_u64..40_000);
    let share = prop::option::weighted(0.5, 0.01_f64..=1.0);
    (tokens, share).prop_map(|(tokens_per_day, duty_cycle)| Budget {
        tokens_per_day,
        duty_cycle,
    })
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let run_times = prop::collection::vec((1_u64..600).prop_map(Duration::from_secs), 1..4);
    (
        0_usize..8,
        any::<bool>(),
        10_u64..1_800,
        run_times,
        any::<bool>(),
        prop::collection::vec(any_look(), 1..12),
        any_budget(),
        0_u64..2_000,
    )
        .prop_map(
            |(deployment, light, interval, run_times, rests_at_noon, looks, budget, tokens)| Plan {
                deployment,
                lane: deployment / 2,
                light,
                interval: Duration::from_secs(interval),
                run_times,
                rests_at_noon,
                looks,
                budget,
                tokens,
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
        total in any_budget(),
    ) {
        let accounts = simulate(&fleet, &World { total, sleeps, ..World::new(cap) });
        for (index, (plan, account)) in fleet.iter().zip(&accounts).enumerate() {
            let schedule = plan.schedule(index);
            let first = schedule.first_after(begin());
            let extra = u64::from(first != schedule.next_after(begin()));
            let slots = extra + schedule.passed(begin(), end()).map_or(0, |passed| passed.count);
            let accounted = account.slots();
            // Of the last two slots one may still wait, while a look is taken for the other.
            prop_assert!(
                (accounted..=accounted + 2).contains(&slots),
                "probe {} has {} slots and accounts for {}", index, slots, accounted
            );
            prop_assert!(account.started.is_sorted_by(|a, b| a.slot < b.slot), "a slot ran twice");
            for started in &account.started {
                let regular = schedule.next_after(started.slot - 1.nanosecond());
                let is_slot = [first, regular].contains(&Some(started.slot));
                prop_assert!(is_slot && !schedule.in_blackout(started.admitted));
            }
        }
    }

    #[test]
    fn over_days_no_deployment_and_no_fleet_is_above_its_budget(
        fleet in prop::collection::vec(any_plan(), 1..8),
        cap in 1_usize..4,
        total in any_budget(),
    ) {
        // Light runs are never refused, so that a budget is kept by bursts only.
        let fleet: Vec<Plan> = fleet.into_iter().map(|plan| Plan { light: false, ..plan }).collect();
        let end = begin() + 60.hours();
        let accounts = simulate(&fleet, &World { total, end, ..World::new(cap) });
        let runs_of = |deployment: Option<usize>| {
            let probes = fleet.iter().zip(&accounts);
            let probes = probes.filter(|(plan, _)| deployment.is_none_or(|number| plan.deployment == number));
            let runs = probes.flat_map(|(plan, account)| account.started.iter().map(|run| (*run, plan.tokens)));
            let mut runs: Vec<_> = runs.collect();
            runs.sort_by_key(|(run, _)| run.at);
            runs
        };
        check_budget(total, &runs_of(None));
        let mut budgets = BTreeMap::new();
        for plan in &fleet {
            budgets.entry(plan.deployment).or_insert(plan.budget);
        }
        for (deployment, budget) in budgets {
            check_budget(budget, &runs_of(Some(deployment)));
        }
    }

    #[test]
    fn nobody_waits_for_ever_when_there_is_room_for_all(
        fleet in prop::collection::vec(any_plan(), 1..12),
        cap in 1_usize..3,
        duty_cycle in prop::option::of(0.5_f64..=1.0),
    ) {
        // Together they need two fifths of one lane, so whoever shares it and the cap has room.
        let share = 0.4 / fleet.len() as f64;
        let fleet: Vec<Plan> = fleet
            .into_iter()
            .map(|plan| Plan {
                run_times: vec![plan.interval.mul_f64(share)],
                rests_at_noon: false,
                looks: vec![Look::Idle],
                budget: Budget::default(),
                ..plan
            })
            .collect();
        let round: Duration = fleet.iter().map(|plan| plan.run_times[0] + LOOK).sum();
        let round = round.div_f64(duty_cycle.unwrap_or(1.0));
        let total = Budget { duty_cycle, ..Budget::default() };
        for (plan, account) in fleet.iter().zip(simulate(&fleet, &World { total, ..World::new(cap) })) {
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
fn a_fleet_under_guards_and_budgets_still_gets_its_runs() {
    let plan = |deployment, looks: &[Look], budget| Plan {
        deployment,
        lane: deployment,
        light: false,
        interval: Duration::from_secs(600),
        run_times: vec![Duration::from_secs(60)],
        rests_at_noon: false,
        looks: looks.to_vec(),
        budget,
        tokens: 1_000,
    };
    let tokens = Budget {
        tokens_per_day: Some(20_500),
        ..Budget::default()
    };
    let share = Budget {
        duty_cycle: Some(0.05),
        ..Budget::default()
    };
    let fleet = [
        plan(0, &[Look::Busy, Look::Busy, Look::Idle], Budget::default()),
        plan(1, &[Look::Busy], Budget::default()),
        plan(2, &[Look::Asleep], Budget::default()),
        plan(3, &[Look::Idle], tokens),
        plan(4, &[Look::Idle], share),
    ];
    let accounts = simulate(&fleet, &World::new(fleet.len()));
    let told = accounts.iter().map(|account| {
        let skipped: Vec<_> = account
            .skipped
            .iter()
            .map(|(reason, count)| (reason.label(), *count))
            .collect();
        (account.started.len(), skipped, account.deferred)
    });
    let told: Vec<_> = told.collect();
    // Ten hours are 60 slots, and one more at the start.
    assert_eq!(told[0], (61, vec![], 122));
    // Nine or so pauses fit into ten minutes, and the last one does not.
    let (runs, skipped, deferred) = &told[1];
    assert_eq!((*runs, skipped[0].0), (0, "busy"));
    assert!(
        (60..=61).contains(&skipped[0].1) && (600..800).contains(deferred),
        "{told:?}"
    );
    assert_eq!(told[2], (0, vec![("asleep", 61)], 0));
    assert_eq!(told[3], (20, vec![("budget", 41)], 0));
    // A minute is paid for in twenty.
    let (runs, skipped, _) = &told[4];
    assert_eq!(skipped[0].0, "duty_cycle");
    assert!((29..=31).contains(runs), "{told:?}");
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
        looks: vec![Look::Idle],
        budget: Budget::default(),
        tokens: 0,
    };
    let fleet: Vec<Plan> = (0..300).map(plan).collect();
    let accounts = simulate(
        &fleet,
        &World {
            end: begin() + 16.minutes(),
            ..World::new(fleet.len())
        },
    );
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
