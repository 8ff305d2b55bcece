//! What probing has cost, held against a budget: tokens over any 24 hours, and the share of the time under load.
//!
//! The share of the time is a leaky bucket. A run that started at `s` and took `W` is paid for at
//! `max(paid, s) + W / duty_cycle`, and the next burst starts no earlier. A light run may be paid for by idle
//! time before it, since nobody asks whether it may start: otherwise a burst that is due shortly after each
//! sign of life would never run, however little the two of them take.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::reason::SkippedReason;
use crate::budget::Budget;

/// The span over which tokens are counted.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Tokens that were spent this close together are remembered as one sum, so that the memory of a day is
/// bounded however many runs it has.
const GRAIN: SignedDuration = SignedDuration::from_secs(60);

/// What a run really cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// Tokens of its prompts and answers together, those of the warm-up and of failed requests included as
    /// far as they are known.
    pub tokens: u64,
    /// How long the deployment was under its load.
    pub wall: Duration,
}

/// What a run is let in with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// What it is expected to cost.
    pub(super) tokens: u64,
    pub(super) light: bool,
}

/// Why a burst may not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: SkippedReason,
    /// When it may, if that is known: before then nothing changes.
    pub(super) until: Option<Timestamp>,
}

/// The account of one budget.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    budget: Budget,
    /// What was spent, the oldest first; `sum` is the sum of it.
    spent: VecDeque<Sum>,
    sum: u64,
    /// What the runs in flight are expected to cost.
    reserved: u64,
    bursts_in_flight: usize,
    /// When time will have paid for all load so far.
    paid: Option<Timestamp>,
}

/// Tokens that were spent within [`GRAIN`] after `since`.
#[derive(Clone, Copy, Debug)]
struct Sum {
    since: Timestamp,
    tokens: u64,
}

impl Ledger {
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            budget,
            spent: VecDeque::new(),
            sum: 0,
            reserved: 0,
            bursts_in_flight: 0,
            paid: None,
        }
    }

    /// Takes over what was spent under another budget, without the runs in flight.
    pub(super) fn succeed(&mut self, before: &Self) {
        self.spent.clone_from(&before.spent);
        self.sum = before.sum;
        self.paid = before.paid;
    }

    /// Why a burst with this load may not start at `now`.
    pub(super) fn refusal(&mut self, load: Load, now: Timestamp) -> Option<Refusal> {
        self.forget_before(now);
        let tokens = self.sum.saturating_add(self.reserved);
        let tokens = tokens.saturating_add(load.tokens);
        if self
            .budget
            .tokens_per_day
            .is_some_and(|limit| tokens > limit)
        {
            let reason = SkippedReason::Budget;
            return Some(Refusal {
                reason,
                until: None,
            });
        }
        // How long the bursts in flight take, and so when they are paid for, is not known yet.
        let flying = self.bursts_in_flight > 0;
        let until = self.paid.filter(|paid| now < *paid);
        let refused = self.budget.duty_cycle.is_some() && (flying || until.is_some());
        let reason = SkippedReason::DutyCycle;
        refused.then_some(Refusal { reason, until })
    }

    /// Notes that a run starts.
    pub(super) fn begin(&mut self, load: Load) {
        self.reserved = self.reserved.saturating_add(load.tokens);
        self.bursts_in_flight += usize::from(!load.light);
    }

    /// Notes that a run which [began](Self::begin) is over, whatever it cost.
    pub(super) fn end(&mut self, load: Load) {
        self.reserved = self.reserved.saturating_sub(load.tokens);
        self.bursts_in_flight -= usize::from(!load.light);
    }

    /// Enters what a run cost that began at `started` and is over at `now`.
    pub(super) fn enter(&mut self, spent: Spent, light: bool, started: Timestamp, now: Timestamp) {
        if self.budget.tokens_per_day.is_some() && spent.tokens > 0 {
            self.forget_before(now);
            self.sum = self.sum.saturating_add(spent.tokens);
            match self.spent.back_mut() {
                Some(last) if now.duration_since(last.since) < GRAIN => {
                    last.tokens = last.tokens.saturating_add(spent.tokens);
                }
                _ => self.spent.push_back(Sum {
                    since: now,
                    tokens: spent.tokens,
                }),
            }
        }
        if let Some(share) = self.budget.duty_cycle {
            let pause = Duration::try_from_secs_f64(spent.wall.as_secs_f64() / share);
            let pause = SignedDuration::try_from(pause.unwrap_or(Duration::MAX));
            let pause = pause.unwrap_or(SignedDuration::MAX);
            let from = if light {
                started.checked_sub(pause).unwrap_or(Timestamp::MIN)
            } else {
                started
            };
            let from = self.paid.map_or(from, |paid| paid.max(from));
            self.paid = Some(from.checked_add(pause).unwrap_or(Timestamp::MAX));
        }
    }

    /// Follows a clock that was set back by `by`: what was spent stays as long ago as it is.
    pub(super) fn set_back(&mut self, by: SignedDuration) {
        let earlier = |at: Timestamp| at.checked_sub(by).unwrap_or(Timestamp::MIN);
        for sum in &mut self.spent {
            sum.since = earlier(sum.since);
        }
        self.paid = self.paid.map(earlier);
    }

    fn forget_before(&mut self, now: Timestamp) {
        // Where exactly within its grain a sum was spent is not known: it counts until all of it is a day old.
        while let Some(oldest) = self.spent.front()
            && now.duration_since(oldest.since) >= DAY + GRAIN
        {
            self.sum = self.sum.saturating_sub(oldest.tokens);
            self.spent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;
    use proptest::prelude::*;

    use super::*;

    fn noon() -> Timestamp {
        "2026-03-02T12:00:00Z".parse().unwrap()
    }

    fn burst(tokens: u64) -> Load {
        Load {
            tokens,
            light: false,
        }
    }

    fn refusal(ledger: &mut Ledger, tokens: u64, now: Timestamp) -> Option<SkippedReason> {
        ledger
            .refusal(burst(tokens), now)
            .map(|refusal| refusal.reason)
    }

    fn spent(tokens: u64, seconds: u64) -> Spent {
        let wall = Duration::from_secs(seconds);
        Spent { tokens, wall }
    }

    #[test]
    fn what_is_a_day_old_is_forgotten_and_a_day_takes_little_memory() {
        let mut ledger = Ledger::new(Budget {
            tokens_per_day: Some(100_000),
            duty_cycle: None,
        });
        for second in 0..200_000 {
            let now = noon() + second.seconds();
            ledger.enter(spent(1, 1), false, now, now);
        }
        assert!(ledger.spent.len() <= 24 * 60 + 2, "{}", ledger.spent.len());
        let now = noon() + 200_000.seconds();
        // A day has 86400 seconds, and up to a minute more is remembered.
        assert_eq!(refusal(&mut ledger, 100_000 - 86_400 - 60, now), None);
        let refused = Some(SkippedReason::Budget);
        assert_eq!(refusal(&mut ledger, 100_000 - 86_400 + 1, now), refused);
        let later = now + 25.hours();
        assert_eq!(refusal(&mut ledger, 100_000, later), None);
        assert_eq!(refusal(&mut ledger, 100_001, later), refused);
    }

    #[test]
    fn a_clock_set_back_makes_nothing_younger_and_nothing_wait_longer() {
        let mut ledger = Ledger::new(Budget {
            tokens_per_day: Some(100),
            duty_cycle: Some(0.5),
        });
        ledger.enter(spent(100, 60), false, noon(), noon() + 60.seconds());
        let years = SignedDuration::from_hours(10 * 365 * 24);
        ledger.set_back(years);
        let now = noon() - years;
        let seconds = |n: i64| now + n.seconds();
        assert_eq!(
            refusal(&mut ledger, 0, seconds(119)),
            Some(SkippedReason::DutyCycle)
        );
        assert_eq!(refusal(&mut ledger, 0, seconds(120)), None);
        assert_eq!(
            refusal(&mut ledger, 1, seconds(86_459)),
            Some(SkippedReason::Budget)
        );
        assert_eq!(refusal(&mut ledger, 1, seconds(86_520)), None);
    }

    #[test]
    fn no_share_is_so_small_and_no_run_so_long_that_the_account_breaks() {
        let mut ledger = Ledger::new(Budget {
            tokens_per_day: Some(u64::MAX),
            duty_cycle: Some(f64::MIN_POSITIVE),
        });
        let endless = Spent {
            tokens: u64::MAX,
            wall: Duration::MAX,
        };
        for light in [true, false, true] {
            ledger.enter(endless, light, noon(), noon());
        }
        assert_eq!(
            refusal(&mut ledger, 0, noon()),
            Some(SkippedReason::DutyCycle)
        );
    }

    /// What each run is expected to cost, and costs at most.
    const EXPECTED: u64 = 100;

    /// A run that was let in, as a naive account would note it.
    #[derive(Clone, Copy, Debug)]
    struct Noted {
        started: Timestamp,
        ended: Timestamp,
        spent: Spent,
        light: bool,
    }

    /// A run that someone would like to start, `after` seconds after the one before has.
    #[derive(Clone, Copy, Debug)]
    struct Wish {
        after: i64,
        seconds: u64,
        tokens: u64,
        light: bool,
    }

    fn wish() -> impl Strategy<Value = Wish> {
        let after = prop_oneof![0_i64..300, 0_i64..20_000];
        (after, 1_u64..200, 0..=EXPECTED, prop::bool::weighted(0.3)).prop_map(
            |(after, seconds, tokens, light)| Wish {
                after,
                seconds,
                tokens,
                light,
            },
        )
    }

    /// Replays days on which bursts are asked about and light runs are not. Returns what ran, and when which
    /// bursts were refused for what.
    fn replay(budget: Budget, wishes: &[Wish]) -> (Vec<Noted>, Vec<(Timestamp, SkippedReason)>) {
        let mut ledger = Ledger::new(budget);
        let (mut noted, mut refused) = (Vec::<Noted>::new(), Vec::new());
        let mut in_flight: Vec<(Noted, Load)> = Vec::new();
        let mut now = noon();
        for wish in wishes {
            now += wish.after.seconds();
            in_flight.sort_by_key(|(run, _)| run.ended);
            while let Some((run, load)) = in_flight.first().copied()
                && run.ended <= now
            {
                in_flight.remove(0);
                ledger.end(load);
                ledger.enter(run.spent, run.light, run.started, run.ended);
            }
            let load = Load {
                tokens: EXPECTED,
                light: wish.light,
            };
            if !wish.light
                && let Some(refusal) = ledger.refusal(load, now)
            {
                refused.push((now, refusal.reason));
                continue;
            }
            let run = Noted {
                started: now,
                ended: now + Duration::from_secs(wish.seconds),
                spent: spent(wish.tokens, wish.seconds),
                light: wish.light,
            };
            ledger.begin(load);
            in_flight.push((run, load));
            noted.push(run);
        }
        // In the order in which they were entered.
        noted.sort_by_key(|run| run.ended);
        (noted, refused)
    }

    /// By how many seconds the load was above its share of the time before `at`, in the worst of all stretches.
    fn overdraft(noted: &[Noted], at: Timestamp, share: f64) -> f64 {
        let (mut load, mut worst) = (0.0, f64::NEG_INFINITY);
        for run in noted.iter().rev().filter(|run| run.ended <= at) {
            let wall = run.spent.wall.as_secs_f64();
            load += wall;
            let stretch = at.duration_since(run.started).as_secs_f64();
            let credit = if run.light { wall } else { 0.0 };
            worst = f64::max(worst, load - credit - share * stretch);
        }
        worst
    }

    proptest! {
        #[test]
        fn no_24_hours_take_more_tokens_than_the_budget_has(
            wishes in prop::collection::vec(wish(), 1..120),
            limit in EXPECTED..2_000,
        ) {
            let budget = Budget { tokens_per_day: Some(limit), duty_cycle: None };
            let tokens = |runs: &mut dyn Iterator<Item = &Noted>| runs.map(|run| run.spent.tokens).sum::<u64>();
            // Light runs are never refused, so that the budget is kept by bursts only.
            let bursts: Vec<_> = wishes.iter().map(|wish| Wish { light: false, ..*wish }).collect();
            let (noted, refused) = replay(budget, &bursts);
            for last in &noted {
                // Whatever ran at any time of the day that ends with the end of this run.
                let (from, to) = (last.ended - DAY, last.ended);
                let mut of_day = noted.iter().filter(|run| run.ended >= from && run.started <= to);
                prop_assert!(tokens(&mut of_day) <= limit);
            }
            // Nobody is refused for what is a day and a minute old.
            for (at, _) in refused {
                let flying = noted.iter().filter(|run| run.started <= at && at < run.ended).count();
                let mut recent = noted.iter().filter(|run| run.ended <= at && at.duration_since(run.ended) < DAY + GRAIN);
                prop_assert!(tokens(&mut recent) + EXPECTED * (flying as u64 + 1) > limit);
            }
            // With light runs, each burst had room when it started.
            let (noted, _) = replay(budget, &wishes);
            for burst in noted.iter().filter(|run| !run.light) {
                let at = burst.started;
                let mut before = noted.iter().filter(|run| run.ended <= at && at.duration_since(run.ended) < DAY);
                prop_assert!(tokens(&mut before) + EXPECTED <= limit);
            }
        }

        #[test]
        fn a_burst_starts_when_no_stretch_before_it_had_more_load_than_its_share(
            wishes in prop::collection::vec(wish(), 1..120),
            share in 0.02_f64..=1.0,
        ) {
            let budget = Budget { tokens_per_day: None, duty_cycle: Some(share) };
            let (noted, refused) = replay(budget, &wishes);
            for burst in noted.iter().filter(|run| !run.light) {
                prop_assert!(overdraft(&noted, burst.started, share) <= 1e-6);
            }
            for (at, _) in refused {
                let is_flying = |run: &Noted| !run.light && run.started <= at && at < run.ended;
                prop_assert!(noted.iter().any(is_flying) || overdraft(&noted, at, share) >= -1e-6);
            }
        }
    }
}
