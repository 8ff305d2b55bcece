//! What the prober does when it is told to, beside its schedule.
//!
//! An intervention takes effect at once, between two runs; its answer waits for the disk, and the loop does not.

use tokio::sync::mpsc;
use tracing::info;
use uuid::Uuid;

use super::{Prober, log, now};
use crate::agenda::ProbeKey;
use crate::history::{Event, Series, StoredIntervention};
use crate::judges::Intervention;
use crate::lifecycle::{Answer, Intervened, InterventionRequest, Order, ProbeRequest, Refusal};
use crate::measure::Measure;
use crate::measurement::RunId;

/// The next order; `None` if none are taken, or all who could give one have gone.
pub(super) async fn next<T>(orders: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    orders.as_mut()?.recv().await
}

/// An intervention that has taken effect, and is to be stored.
struct Done {
    series: Series,
    measures: Vec<Measure>,
    after_run: Option<RunId>,
}

impl Prober {
    /// Follows an order, and answers it. Whoever asked may have gone.
    pub(super) fn obey(&mut self, order: Order) {
        match order {
            Order::Intervene(request, answer) => self.take_intervention(request, answer),
            Order::Run(probes, answer) => _ = answer.send(self.run_now(&probes)),
            Order::Cancel(probes, answer) => _ = answer.send(self.cancel(&probes)),
            Order::Probe(wanted, answer) => self.welcome(wanted, answer),
        }
    }

    /// Lets the probes run before their time.
    fn run_now(&mut self, request: &ProbeRequest) -> Result<Vec<String>, Refusal> {
        let probes = self.probes_of(request)?;
        let coming = probes
            .into_iter()
            .filter(|probe| self.agenda.request(ProbeKey(*probe), now()));
        let coming: Vec<_> = coming.collect();
        if coming.is_empty() {
            return Err(Refusal::Running);
        }
        self.note_order(&coming);
        Ok(self.workloads(&coming))
    }

    /// Cuts the runs of the probes.
    fn cancel(&self, request: &ProbeRequest) -> Result<Vec<String>, Refusal> {
        let mut probes = self.probes_of(request)?;
        probes.retain(|probe| self.agenda.is_running(ProbeKey(*probe)));
        if probes.is_empty() {
            return Err(Refusal::NotRunning);
        }
        for probe in &probes {
            self.cut_run(self.tickets[*probe]);
        }
        Ok(self.workloads(&probes))
    }

    fn workloads(&self, probes: &[usize]) -> Vec<String> {
        let name = |probe: &usize| self.plan.probes[*probe].workload.name.to_string();
        probes.iter().map(name).collect()
    }

    fn take_intervention(&mut self, request: InterventionRequest, answer: Answer<Vec<Intervened>>) {
        let intervention = Intervention {
            at: now(),
            by: request.by.clone(),
            why: request.why.clone(),
            measure: request.measure,
            act: request.act,
        };
        match self.intervene(&request, &intervention) {
            Ok(done) => self.store_and_answer(&intervention, done, answer),
            Err(refusal) => _ = answer.send(Err(refusal)),
        }
    }

    fn intervene(
        &mut self,
        request: &InterventionRequest,
        intervention: &Intervention,
    ) -> Result<Vec<Done>, Refusal> {
        let probes = self.probes_of(&request.probes)?;
        let mut refusal = None;
        let mut done = Vec::new();
        for probe in probes {
            match self.benches[probe].intervene(intervention) {
                Ok((measures, after_run)) => {
                    let planned = &self.plan.probes[probe];
                    log::intervention(planned, intervention, &measures);
                    done.push(Done {
                        series: planned.series(),
                        measures,
                        after_run,
                    });
                    self.publish_opinion(probe, &[]);
                }
                // Of several probes the one that is judged says why not.
                Err(Refusal::NotJudged) => {}
                Err(other) => refusal = Some(other),
            }
        }
        if done.is_empty() {
            return Err(refusal.unwrap_or(Refusal::NotJudged));
        }
        Ok(done)
    }

    /// The probes that a request is about.
    fn probes_of(&self, request: &ProbeRequest) -> Result<Vec<usize>, Refusal> {
        let ProbeRequest {
            deployment,
            workload,
        } = request;
        let all = self.plan.probes.iter().enumerate();
        let of_deployment: Vec<_> = all
            .filter(|(_, planned)| planned.deployment.name.as_str() == deployment)
            .collect();
        if of_deployment.is_empty() {
            return Err(Refusal::UnknownDeployment(deployment.clone()));
        }
        let is_meant = |name: &str| workload.as_deref().is_none_or(|meant| meant == name);
        let probes: Vec<_> = of_deployment
            .into_iter()
            .filter(|(_, planned)| is_meant(planned.workload.name.as_str()))
            .map(|(probe, _)| probe)
            .collect();
        match workload {
            Some(workload) if probes.is_empty() => Err(Refusal::UnknownWorkload {
                deployment: deployment.clone(),
                workload: workload.clone(),
            }),
            _ => Ok(probes),
        }
    }

    fn store_and_answer(
        &self,
        intervention: &Intervention,
        done: Vec<Done>,
        answer: Answer<Vec<Intervened>>,
    ) {
        let recorder = self.recorder.as_ref();
        // Queued in this order and at once; only the answer waits.
        let storing: Vec<_> = done
            .into_iter()
            .map(|one| {
                let workload = one.series.workload.clone();
                let event = Event::Intervened(StoredIntervention {
                    id: Uuid::now_v7().to_string(),
                    series: one.series,
                    after_run: one.after_run,
                    intervention: intervention.clone(),
                });
                let stored = recorder.map(|recorder| recorder.note(event));
                (workload, one.measures, stored)
            })
            .collect();
        tokio::spawn(async move {
            let mut answers = Vec::new();
            for (workload, measures, stored) in storing {
                let stored = match stored {
                    Some(stored) => stored.await,
                    None => false,
                };
                answers.push(Intervened {
                    workload,
                    measures,
                    stored,
                });
            }
            if answer.send(Ok(answers)).is_err() {
                info!("whoever intervened did not wait for the answer");
            }
        });
    }
}
