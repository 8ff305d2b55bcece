//! What runs occupy: a lane and a deployment each, a place under the cap, and their share of the budgets.

use jiff::{SignedDuration, Timestamp};

use super::ledger::{Ledger, Load, Refusal, Spent};
use super::reason::MissedReason;
use crate::budget::Budget;

/// What a run needs; lanes and deployments are known by number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    pub(super) lane: usize,
    pub(super) deployment: usize,
    pub(super) load: Load,
}

/// What there is, and how much of it is taken.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Runs in each. At most one, unless lanes were merged while runs were going.
    in_lanes: Vec<usize>,
    in_deployments: Vec<usize>,
    bursts_in_flight: usize,
    max_concurrent_runs: usize,
    /// Of each deployment.
    ledgers: Vec<Ledger>,
    /// Of all deployments together.
    total: Ledger,
}

impl Places {
    /// So many lanes, and a deployment for each of the `budgets`; nothing is taken yet.
    pub(super) fn new(
        lanes: usize,
        budgets: &[Budget],
        max_concurrent_runs: usize,
        total: Budget,
    ) -> Self {
        Self {
            in_lanes: vec![0; lanes],
            in_deployments: vec![0; budgets.len()],
            bursts_in_flight: 0,
            max_concurrent_runs: max_concurrent_runs.max(1),
            ledgers: budgets.iter().copied().map(Ledger::new).collect(),
            total: Ledger::new(total),
        }
    }

    /// What keeps a run waiting.
    pub(super) fn held_by(&self, needs: Needs) -> Option<MissedReason> {
        if self.in_deployments[needs.deployment] > 0 {
            Some(MissedReason::Deployment)
        } else if self.in_lanes[needs.lane] > 0 {
            Some(MissedReason::Lane)
        } else if !needs.load.light && self.bursts_in_flight >= self.max_concurrent_runs {
            Some(MissedReason::Cap)
        } else {
            None
        }
    }

    /// Why a run that nothing keeps waiting is against a budget; a light one never is.
    pub(super) fn refusal(&mut self, needs: Needs, now: Timestamp) -> Option<Refusal> {
        if needs.load.light {
            return None;
        }
        let [own, total] = self.ledgers(needs);
        let own = own.refusal(needs.load, now);
        own.or_else(|| total.refusal(needs.load, now))
    }

    /// Takes what a run needs.
    pub(super) fn take(&mut self, needs: Needs) {
        self.in_lanes[needs.lane] += 1;
        self.in_deployments[needs.deployment] += 1;
        self.bursts_in_flight += usize::from(!needs.load.light);
        for ledger in self.ledgers(needs) {
            ledger.begin(needs.load);
        }
    }

    /// Gives back what a run took.
    pub(super) fn give_back(&mut self, needs: Needs) {
        self.in_lanes[needs.lane] -= 1;
        self.in_deployments[needs.deployment] -= 1;
        self.bursts_in_flight -= usize::from(!needs.load.light);
        for ledger in self.ledgers(needs) {
            ledger.end(needs.load);
        }
    }

    /// Enters what a run really cost that began at `started` and is over at `now`.
    pub(super) fn enter(&mut self, needs: Needs, spent: Spent, started: Timestamp, now: Timestamp) {
        for ledger in self.ledgers(needs) {
            ledger.enter(spent, needs.load.light, started, now);
        }
    }

    /// Enters what a light run cost that was on none of the deployments.
    pub(super) fn enter_elsewhere(&mut self, spent: Spent, started: Timestamp, now: Timestamp) {
        self.total.enter(spent, true, started, now);
    }

    /// Follows a clock that was set back by `by`.
    pub(super) fn set_back(&mut self, by: SignedDuration) {
        for ledger in self.ledgers.iter_mut().chain([&mut self.total]) {
            ledger.set_back(by);
        }
    }

    /// Takes over what was spent under other budgets: of the deployments in `pairs`, known by their numbers here and
    /// in `before`, and of all together. What runs hold is not taken over.
    pub(super) fn succeed(&mut self, before: &Self, pairs: &[(usize, usize)]) {
        for (own, theirs) in pairs {
            self.ledgers[*own].succeed(&before.ledgers[*theirs]);
        }
        self.total.succeed(&before.total);
    }

    fn ledgers(&mut self, needs: Needs) -> [&mut Ledger; 2] {
        [&mut self.ledgers[needs.deployment], &mut self.total]
    }
}
