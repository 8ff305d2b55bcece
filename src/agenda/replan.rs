//! From one configuration to the next: what goes on goes on, and what is new begins.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Agenda, Entry, ProbeKey};
use crate::budget::Budget;

impl Agenda {
    /// The agenda of other `entries`, in which each that names a probe of this one goes on as that: its slots, unless
    /// they are others now, its place in the queue, its run, and what its deployment has spent.
    ///
    /// Runs of probes that no entry names go on too, and hold what they need until they end: such a probe stands
    /// behind the entries, and is never due. The list says where each probe of this agenda is now.
    pub fn replan(
        mut self,
        entries: Vec<(Entry, Option<ProbeKey>)>,
        max_concurrent_runs: usize,
        budget: Budget,
        now: Timestamp,
    ) -> (Self, Vec<Option<ProbeKey>>) {
        self.follow_clock(now);
        let (mut entries, predecessors): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        let mut places: Vec<Option<ProbeKey>> = vec![None; self.probes.len()];
        for (new, old) in predecessors.iter().enumerate() {
            if let Some(ProbeKey(old)) = old {
                places[*old] = Some(ProbeKey(new));
            }
        }
        let remaining = entries.len();
        for (old, place) in places.iter_mut().enumerate() {
            if place.is_none() && self.probes[old].running.is_some() {
                *place = Some(ProbeKey(entries.len()));
                entries.push(self.entry(old));
            }
        }
        let mut next = Self::new(entries, max_concurrent_runs, budget, now);
        for probe in &mut next.probes[remaining..] {
            probe.next = None;
        }
        next.due.retain(|(_, index)| *index < remaining);
        next.places.succeed(&self.places, &self.shared_with(&next));
        for (old, place) in places.iter().enumerate() {
            if let Some(ProbeKey(new)) = place {
                next.take_over(*new, &mut self, old);
            }
        }
        next.visits = std::mem::take(&mut self.visits);
        // A place may be free now that was not.
        next.freed = true;
        next.seen = self.seen;
        (next, places)
    }

    /// What a probe was made from. Its budget is that of its deployment, if that is still there.
    fn entry(&self, index: usize) -> Entry {
        let probe = &self.probes[index];
        Entry {
            deployment: probe.deployment.clone(),
            lane: probe.lane.clone(),
            light: probe.needs.load.light,
            schedule: probe.schedule.clone(),
            budget: Budget::default(),
            tokens: probe.planned_tokens,
        }
    }

    /// The deployments that are in both, by their numbers in `next` and here.
    fn shared_with(&self, next: &Self) -> Vec<(usize, usize)> {
        let here: BTreeMap<_, _> = self
            .probes
            .iter()
            .map(|probe| (&probe.deployment, probe.needs.deployment))
            .collect();
        let there: BTreeMap<_, _> = next
            .probes
            .iter()
            .map(|probe| (&probe.deployment, probe.needs.deployment))
            .collect();
        let pairs = there
            .into_iter()
            .filter_map(|(name, number)| Some((number, *here.get(name)?)));
        pairs.collect()
    }

    /// Lets the probe `new` go on as the probe `old` of `before`.
    fn take_over(&mut self, new: usize, before: &mut Self, old: usize) {
        let was = &mut before.probes[old];
        let is = &mut self.probes[new];
        let is_due_as_before = is.next.is_some() && is.schedule == was.schedule;
        if is.planned_tokens == was.planned_tokens {
            is.needs.load.tokens = was.needs.load.tokens;
        }
        is.last_start = was.last_start;
        is.backoff = was.backoff;
        if let Some(mut running) = was.running.take() {
            running.needs = is.needs;
            is.running = Some(running);
            self.places.take(is.needs);
        }
        if is_due_as_before {
            if let Some(slot) = is.next {
                self.due.remove(&(slot, new));
            }
            is.next = was.next;
            self.due.extend(is.next.map(|slot| (slot, new)));
            let waiting = before.waiting.remove(&old);
            self.waiting.extend(waiting.map(|waiting| (new, waiting)));
        }
    }
}
