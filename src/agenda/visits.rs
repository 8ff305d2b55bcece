//! Runs beside the schedule, that someone asks for and waits for. They are light, they are no probe's, and they
//! occupy lane and deployment as every run does: of each lane one at a time, in the order in which they came.
//!
//! Whoever of the schedule can start goes first, each time that a lane becomes free. So no visitors, however many,
//! keep the schedule waiting for longer than the one that is there takes.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::reason::MissedReason;
use super::{Agenda, Event, Spent};
use crate::agenda::ledger::Load;
use crate::agenda::places::Needs;
use crate::deployment::{DeploymentName, Lane};

/// One visit, for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VisitKey(u64);

#[cfg(test)]
impl VisitKey {
    /// Which visit it is, from 0.
    pub(super) fn number(self) -> u64 {
        self.0
    }
}

/// Those that wait, and those that go on.
#[derive(Clone, Debug, Default)]
pub(super) struct Visits {
    issued: u64,
    waiting: VecDeque<Visit>,
    going: Vec<Visit>,
}

#[derive(Clone, Debug)]
struct Visit {
    key: VisitKey,
    deployment: DeploymentName,
    lane: Lane,
    /// When it was let in.
    started: Option<Timestamp>,
}

impl Visits {
    /// What of a visit keeps a run waiting.
    pub(super) fn hold(&self, deployment: &DeploymentName, lane: &Lane) -> Option<MissedReason> {
        let mut going = self.going.iter();
        let held = going.find(|visit| visit.deployment == *deployment || visit.lane == *lane)?;
        Some(if held.deployment == *deployment {
            MissedReason::Deployment
        } else {
            MissedReason::Lane
        })
    }

    pub(super) fn anyone_waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Follows a clock that was set back to `now`.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        for visit in &mut self.going {
            visit.started = visit.started.map(|started| started.min(now));
        }
    }
}

impl Agenda {
    /// Lets someone wait for a light run on `deployment` in `lane`, configured or not. It is let in by an event of a
    /// poll, which is due at once, and is to be told to have [left](Self::left) in any case.
    pub fn visit(&mut self, deployment: DeploymentName, lane: Lane) -> VisitKey {
        let key = VisitKey(self.visits.issued);
        self.visits.issued += 1;
        self.visits.waiting.push_back(Visit {
            key,
            deployment,
            lane,
            started: None,
        });
        self.freed = true;
        key
    }

    /// Says that a visit is over, whether it was let in or not, and what it cost, as far as that is known.
    pub fn left(&mut self, key: VisitKey, spent: Option<Spent>, now: Timestamp) {
        self.follow_clock(now);
        self.visits.waiting.retain(|visit| visit.key != key);
        let going = &mut self.visits.going;
        let Some(place) = going.iter().position(|visit| visit.key == key) else {
            return;
        };
        let visit = going.swap_remove(place);
        self.freed = true;
        if let (Some(spent), Some(started)) = (spent, visit.started) {
            let mut probes = self.probes.iter();
            let known = probes.find(|probe| probe.deployment == visit.deployment);
            let load = Load {
                tokens: 0,
                light: true,
            };
            match known.map(|probe| probe.needs) {
                Some(needs) => self
                    .places
                    .enter(Needs { load, ..needs }, spent, started, now),
                None => self.places.enter_elsewhere(spent, started, now),
            }
        }
    }

    /// Lets in who can be, in the order in which they came.
    pub(super) fn let_visits_in(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        for mut visit in std::mem::take(&mut self.visits.waiting) {
            let is_taken = self.visits.hold(&visit.deployment, &visit.lane).is_some()
                || self.probes.iter().any(|probe| {
                    probe.running.is_some()
                        && (probe.lane == visit.lane || probe.deployment == visit.deployment)
                });
            if is_taken {
                self.visits.waiting.push_back(visit);
                continue;
            }
            visit.started = Some(now);
            events.push(Event::Admitted { visit: visit.key });
            self.visits.going.push(visit);
        }
    }
}
