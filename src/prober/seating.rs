//! Seats the judges of each probe, who first read what the history has of it.

use std::mem;
use std::sync::Arc;

use super::judging::{self, Bench, Replayed, Unread};
use super::plan::PlannedProbe;
use super::{Prober, Ticket};

impl Prober {
    /// Seats judges for every probe.
    pub(super) fn seat_judges(&mut self) {
        let mut unread = Vec::new();
        for probe in self.plan.probes.clone() {
            let bench = self.seat(&probe, &mut unread);
            self.benches.push(bench);
        }
        self.read_history(unread);
    }

    /// Seats judges for a probe, who read its history first if there is one: then that is noted in `unread`.
    pub(super) fn seat(&mut self, probe: &PlannedProbe, unread: &mut Vec<Unread>) -> Bench {
        if probe.workload.is_light() {
            return Bench::Empty;
        }
        if self.storage.is_none() {
            return Bench::sitting(&probe.deployment.tolerances);
        }
        let Ticket(seat) = self.new_ticket();
        unread.push(Unread {
            seat,
            series: probe.series(),
            tolerances: probe.deployment.tolerances.clone(),
        });
        Bench::replaying(seat)
    }

    /// Lets judges read, in the background.
    pub(super) fn read_history(&self, unread: Vec<Unread>) {
        if let Some(storage) = self.storage.clone().filter(|_| !unread.is_empty()) {
            tokio::spawn(judging::replay(storage, unread, self.seated.0.clone()));
        }
    }

    pub(super) fn sit(&mut self, mut replayed: Replayed) {
        let seat = replayed.seat;
        // Another plan may have unseated them meanwhile.
        if let Some(probe) = self.benches.iter().position(|bench| bench.awaits(seat)) {
            let before = mem::take(&mut replayed.recent);
            self.board.update(probe, |status| {
                Arc::make_mut(&mut status.recent).recall(before);
            });
            let edges = self.benches[probe].sit(replayed);
            self.publish_opinion(probe, &edges);
        }
    }
}
