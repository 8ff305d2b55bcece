//! Which probe starts now: the one place that knows what runs, what waits and what was missed.
//!
//! A state machine over times that it is handed. A slot that has come ends in exactly one of three ways: its
//! run starts, it is missed for a reason, or it is skipped on purpose. A probe that cannot start at once
//! waits until its next slot at most, so nothing piles up behind a slow deployment.
//!
//! A run that has started may still be put off, when a look at the deployment shows that it is busy with its
//! users. Then the slot waits again and holds nothing meanwhile. It is tried again after a pause that grows,
//! and skipped if that would not be before the next slot.
//!
//! Every run is entered in the ledgers of its deployment and of all. A burst for which there are no tokens left
//! when it could start is skipped. One that is against the duty cycle waits for it, and is skipped when its next
//! slot comes first. If it were skipped at once, a probe that is always due shortly after another would never
//! run, though there is time for both. Light runs are entered and never refused.
//!
//! After a run that panicked the slots of its probe are left out for a while, the longer the more have panicked in a
//! row. A run that someone asks for is not.
//!
//! Who waits is served in this order. Light probes come first, since they hold a lane for a moment only and
//! take no place under the cap. Bursts follow, the one that has waited longest before the others, even if it
//! had to let a slot go meanwhile. Last come the light probes that have already run while a burst of their
//! lane waited: each may overtake a burst once, so that a burst gets its turn however many light ones there are.
//! Behind all of them are runs that are in no schedule.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, ToSpan};

use crate::budget::Budget;
use crate::deployment::{DeploymentName, Lane};
use crate::schedule::Schedule;

pub use self::event::{Event, ProbeKey};
pub use self::faults::Backoff;
pub use self::ledger::Spent;
pub use self::reason::{DeferredReason, MissedReason, SkippedReason};
pub use self::visits::VisitKey;

use self::ledger::Load;
use self::places::{Needs, Places};
use self::visits::Visits;
use self::waiting::Waiting;

mod event;
mod faults;
mod ledger;
mod moment;
mod places;
mod reason;
mod replan;
mod visits;
mod waiting;

#[cfg(test)]
mod tests;

/// What the agenda knows of one probe.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Whom it probes: never with two runs at once.
    pub deployment: DeploymentName,
    /// What it occupies while it runs: a lane holds one run at a time.
    pub lane: Lane,
    /// Whether its runs are light: they take no place under the cap and go before bursts.
    pub light: bool,
    /// When it is due.
    pub schedule: Schedule,
    /// What probing its deployment may cost; the first entry of a deployment speaks for all.
    pub budget: Budget,
    /// The tokens that a run may take, as far as that is known before the first one.
    pub tokens: u64,
}

/// The probes of a configuration with all that is due, waiting and running.
#[derive(Clone, Debug)]
pub struct Agenda {
    probes: Vec<Probe>,
    /// The next slot of each probe.
    due: BTreeSet<(Timestamp, usize)>,
    /// The slots that have come and not yet started, at most one of each probe.
    waiting: BTreeMap<usize, Waiting>,
    places: Places,
    /// Runs beside the schedule.
    visits: Visits,
    /// The time of the last poll.
    seen: Timestamp,
    /// Whether a run has ended since.
    freed: bool,
}

/// One probe and where it stands.
#[derive(Clone, Debug)]
struct Probe {
    deployment: DeploymentName,
    lane: Lane,
    schedule: Schedule,
    needs: Needs,
    /// The tokens that a run may take, as far as that was known beforehand.
    planned_tokens: u64,
    next: Option<Timestamp>,
    running: Option<Running>,
    /// When its last run that was not taken back began.
    last_start: Option<Timestamp>,
    /// What its last runs have come to, if they panicked.
    backoff: Option<Backoff>,
}

/// A run that goes.
#[derive(Clone, Copy, Debug)]
struct Running {
    /// What it came from, and goes back to if it is put off.
    waiting: Waiting,
    started: Timestamp,
    /// What it took.
    needs: Needs,
}

impl Agenda {
    /// An agenda on which each probe's first slot lies after `now`. Of the probes that are not light, at most
    /// `max_concurrent_runs` run at once, and at least one; `budget` is for all probes together.
    pub fn new(
        entries: Vec<Entry>,
        max_concurrent_runs: usize,
        budget: Budget,
        now: Timestamp,
    ) -> Self {
        let (mut lanes, mut deployments) = (BTreeMap::new(), BTreeMap::new());
        let mut budgets = Vec::new();
        let mut probes = Vec::with_capacity(entries.len());
        let mut due = BTreeSet::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let lane = lanes.len();
            let next = entry.schedule.first_after(now);
            due.extend(next.map(|slot| (slot, index)));
            let needs = Needs {
                lane: *lanes.entry(entry.lane.clone()).or_insert(lane),
                deployment: *deployments
                    .entry(entry.deployment.clone())
                    .or_insert_with(|| {
                        budgets.push(entry.budget);
                        budgets.len() - 1
                    }),
                load: Load {
                    tokens: entry.tokens,
                    light: entry.light,
                },
            };
            probes.push(Probe {
                deployment: entry.deployment,
                lane: entry.lane,
                schedule: entry.schedule,
                needs,
                planned_tokens: entry.tokens,
                next,
                running: None,
                last_start: None,
                backoff: None,
            });
        }
        Self {
            probes,
            due,
            waiting: BTreeMap::new(),
            places: Places::new(lanes.len(), &budgets, max_concurrent_runs, budget),
            visits: Visits::default(),
            seen: now,
            freed: false,
        }
    }

    /// What happens at `now`. To be asked at [`Self::next_wake`], and at any other time without harm.
    pub fn poll(&mut self, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        self.follow_clock(now);
        self.seen = now;
        self.take_due(now, &mut events);
        self.leave_out(&mut events);
        self.start_waiting(now, &mut events);
        self.let_visits_in(now, &mut events);
        self.freed = false;
        events
    }

    /// Says that a run has ended, and what it cost, or `None` when nothing was measured. What waited for it can
    /// start at the next poll, which is due at once.
    pub fn finished(&mut self, probe: ProbeKey, spent: Option<Spent>, now: Timestamp) {
        self.follow_clock(now);
        let Some(Running { started, needs, .. }) = self.free(probe.0) else {
            return;
        };
        let probe = &mut self.probes[probe.0];
        probe.last_start = Some(started);
        probe.backoff = None;
        if let Some(spent) = spent {
            // A run may have failed early and cost little: that says nothing of the next one.
            probe.needs.load.tokens = probe.planned_tokens.max(spent.tokens);
            self.places.enter(needs, spent, started, now);
        }
    }

    /// Says that a run has ended in a panic: its probe rests, unless someone asks for a run.
    pub fn panicked(&mut self, probe: ProbeKey, now: Timestamp) {
        self.follow_clock(now);
        let Some(Running { started, .. }) = self.free(probe.0) else {
            return;
        };
        let probe = &mut self.probes[probe.0];
        probe.last_start = Some(started);
        probe.backoff = Some(Backoff::after(probe.backoff, now));
    }

    /// What follows from the panics of the probe's last runs, if they panicked.
    pub fn backoff(&self, probe: ProbeKey) -> Option<Backoff> {
        self.probes[probe.0].backoff
    }

    /// Forgets that the last runs of a probe have panicked: it is another one now in what its runs meet.
    pub fn forgive(&mut self, probe: ProbeKey) {
        self.probes[probe.0].backoff = None;
    }

    /// Puts off a run that has started and sent nothing yet. The slot waits again, or is skipped if the next try
    /// would not be before the probe's next slot. `None` when no run of the probe is going.
    pub fn defer(
        &mut self,
        probe: ProbeKey,
        reason: DeferredReason,
        now: Timestamp,
    ) -> Option<Event> {
        self.follow_clock(now);
        let (waiting, until) = self.free(probe.0)?.waiting.put_off(reason, now);
        let next_is_first = self.probes[probe.0].next.is_some_and(|next| next <= until);
        // The next slot may even have come while the deployment was looked at.
        if next_is_first || self.waiting.contains_key(&probe.0) {
            let reason = reason.into();
            return Some(Event::Skipped { probe, reason });
        }
        self.waiting.insert(probe.0, waiting);
        Some(Event::Deferred {
            probe,
            reason,
            until,
        })
    }

    /// Ends the slot of a run that has started and sent nothing yet. `None` when no run of the probe is going.
    pub fn skip(
        &mut self,
        probe: ProbeKey,
        reason: SkippedReason,
        now: Timestamp,
    ) -> Option<Event> {
        self.follow_clock(now);
        self.free(probe.0)?;
        Some(Event::Skipped { probe, reason })
    }

    /// Makes a probe due at `now`, before its time; what holds others holds it too, but no panics of the runs before.
    /// Whether there will be a run for that: not while one is going.
    pub fn request(&mut self, probe: ProbeKey, now: Timestamp) -> bool {
        self.follow_clock(now);
        if self.is_running(probe) {
            return false;
        }
        let waiting = self
            .waiting
            .entry(probe.0)
            .or_insert_with(|| Waiting::new(now, now));
        // One that was put off is wanted now.
        waiting.until = None;
        waiting.ordered = true;
        self.freed = true;
        true
    }

    /// When to poll next; `None` when no slot ever comes again and nothing waits for a place or a time.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let mut waiting = self.waiting.values();
        let anyone =
            self.visits.anyone_waits() || waiting.any(|waiting| waiting.is_ready(self.seen));
        if self.freed && anyone {
            return Some(self.seen);
        }
        let waiting = self.waiting.values().filter_map(|waiting| waiting.until);
        let tries = waiting.filter(|until| *until > self.seen);
        let due = self.due.first().map(|(slot, _)| *slot);
        tries.chain(due).min()
    }

    /// When the probe's next run may start, as far as it is known: the slot that waits, or the time before which
    /// it does not start, or else the first slot that is neither left out nor in its blackouts.
    pub fn next_run(&self, probe: ProbeKey) -> Option<Timestamp> {
        let waiting = self.waiting.get(&probe.0);
        if let Some(waiting) = waiting.filter(|waiting| !self.is_left_out(probe.0, waiting)) {
            return Some(waiting.until.unwrap_or(waiting.slot));
        }
        let probe = &self.probes[probe.0];
        let mut next = probe.next?;
        if let Some(backoff) = probe.backoff.filter(|backoff| backoff.leaves_out(next)) {
            let before = backoff.until.checked_sub(1.nanosecond()).ok()?;
            next = probe.schedule.next_after(before)?;
        }
        if probe.schedule.in_blackout(next) {
            probe.schedule.next_run_after(next)
        } else {
            Some(next)
        }
    }

    /// Whether a run of the probe is going.
    pub fn is_running(&self, probe: ProbeKey) -> bool {
        self.probes[probe.0].running.is_some()
    }

    /// Whether a slot that waits is left out after panics: not if someone asked for the run.
    fn is_left_out(&self, index: usize, waiting: &Waiting) -> bool {
        let backoff = self.probes[index].backoff;
        !waiting.ordered && backoff.is_some_and(|backoff| backoff.leaves_out(waiting.slot))
    }

    /// Gives back what a run occupies.
    fn free(&mut self, index: usize) -> Option<Running> {
        let running = self.probes[index].running.take()?;
        self.places.give_back(running.needs);
        self.freed = true;
        Some(running)
    }

    /// Keeps the waits as long as they were when the clock was set back, up to the next slot after them:
    /// nothing stalls until the old time comes round again, and nothing fires at once.
    fn follow_clock(&mut self, now: Timestamp) {
        let set_back = self.seen.duration_since(now);
        if !set_back.is_positive() {
            return;
        }
        self.seen = now;
        self.due.clear();
        for (index, probe) in self.probes.iter_mut().enumerate() {
            probe.next = probe.next.and_then(|next| {
                let same_wait = next.checked_sub(set_back).ok()?;
                probe
                    .schedule
                    .next_after(same_wait.checked_sub(1.nanosecond()).ok()?)
            });
            self.due.extend(probe.next.map(|slot| (slot, index)));
            probe.last_start = probe.last_start.map(|start| start.min(now));
            probe.backoff = probe.backoff.map(|backoff| backoff.set_back(set_back, now));
            if let Some(running) = &mut probe.running {
                running.started = running.started.checked_sub(set_back).unwrap_or(now);
                running.waiting.set_back(set_back, now);
            }
        }
        for waiting in self.waiting.values_mut() {
            waiting.set_back(set_back, now);
        }
        self.places.set_back(set_back);
        self.visits.set_back(now);
    }
}
