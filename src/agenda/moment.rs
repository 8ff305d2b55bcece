//! One moment of the agenda: the slots that have come are taken in, those that are left out are given up, and who can
//! start does, in the order of its rule.

use jiff::Timestamp;

use super::ledger::Refusal;
use super::waiting::{Blame, Contender, Waiting, in_order};
use super::{Agenda, Event, MissedReason, ProbeKey, Running, SkippedReason};

impl Agenda {
    /// Takes in the slots that have come: of each probe the latest one waits, and the others are missed.
    pub(super) fn take_due(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        while let Some(&(slot, index)) = self.due.first()
            && slot <= now
        {
            self.due.pop_first();
            let (key, probe) = (ProbeKey(index), &mut self.probes[index]);
            let given_up = self.waiting.remove(&index);
            events.extend(given_up.map(|waiting| match waiting.blame {
                Blame::Skipped(reason) => Event::Skipped { probe: key, reason },
                Blame::Missed(reason) => Event::Missed {
                    probe: key,
                    reason,
                    count: 1,
                },
            }));
            let later = probe.schedule.passed(slot, now);
            if let Some(later) = later {
                let reason = MissedReason::Suspended;
                events.push(Event::Missed {
                    probe: key,
                    reason,
                    count: later.count,
                });
            }
            let slot = later.map_or(slot, |later| later.last);
            if probe.schedule.in_blackout(slot) {
                let reason = SkippedReason::Blackout;
                events.push(Event::Skipped { probe: key, reason });
            } else {
                let since = given_up.and_then(|waiting| waiting.place_in_queue());
                let mut waiting = Waiting::new(slot, since.unwrap_or(slot));
                waiting.ordered = given_up.is_some_and(|waiting| waiting.ordered);
                self.waiting.insert(index, waiting);
            }
            probe.next = probe.schedule.next_after(now);
            self.due.extend(probe.next.map(|next| (next, index)));
        }
    }

    /// Gives up the slots that are left out after panics, whatever else they wait for.
    pub(super) fn leave_out(&mut self, events: &mut Vec<Event>) {
        let waiting = self.waiting.iter();
        let left_out = waiting.filter(|(index, waiting)| self.is_left_out(**index, waiting));
        for index in left_out.map(|(index, _)| *index).collect::<Vec<_>>() {
            self.waiting.remove(&index);
            let (probe, reason) = (ProbeKey(index), SkippedReason::Fault);
            events.push(Event::Skipped { probe, reason });
        }
    }

    /// Starts what can start, in the order of the module's rule, and notes what holds the others.
    pub(super) fn start_waiting(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        for index in self.in_order(now) {
            let Some(mut waiting) = self.waiting.remove(&index) else {
                continue;
            };
            if let Some(reason) = self.held_by(index) {
                waiting.held_by(reason);
                self.waiting.insert(index, waiting);
                continue;
            }
            let (probe, slot) = (ProbeKey(index), waiting.slot);
            match self.refusal(index, now) {
                None => {}
                Some(Refusal { reason, until }) if reason == SkippedReason::DutyCycle => {
                    (waiting.blame, waiting.until) = (Blame::Skipped(reason), until);
                    self.waiting.insert(index, waiting);
                    continue;
                }
                Some(Refusal { reason, .. }) => {
                    events.push(Event::Skipped { probe, reason });
                    continue;
                }
            }
            let needs = self.probes[index].needs;
            self.places.take(needs);
            self.probes[index].running = Some(Running {
                waiting,
                started: now,
                needs,
            });
            events.push(Event::Start { probe, slot });
        }
    }

    /// The probes that wait for a place at `now`, in the order in which they are served.
    fn in_order(&self, now: Timestamp) -> Vec<usize> {
        let ready = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.is_ready(now));
        let contenders: Vec<_> = ready
            .map(|(&index, waiting)| Contender {
                index,
                lane: self.probes[index].needs.lane,
                light: self.probes[index].needs.load.light,
                since: waiting.since,
                last_start: self.probes[index].last_start,
            })
            .collect();
        in_order(&contenders)
    }

    /// What keeps a probe from starting.
    fn held_by(&self, index: usize) -> Option<MissedReason> {
        let probe = &self.probes[index];
        if probe.running.is_some() {
            return Some(MissedReason::Running);
        }
        let visited = self.visits.hold(&probe.deployment, &probe.lane);
        visited.or_else(|| self.places.held_by(probe.needs))
    }

    /// Why a probe that nothing holds is not to start at `now`.
    fn refusal(&mut self, index: usize, now: Timestamp) -> Option<Refusal> {
        let probe = &self.probes[index];
        if probe.schedule.in_blackout(now) {
            let reason = SkippedReason::Blackout;
            return Some(Refusal {
                reason,
                until: None,
            });
        }
        self.places.refusal(probe.needs, now)
    }
}
