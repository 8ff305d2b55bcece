//! The runs of a family from the history, judged again. That takes a while, so what was worked out is kept until a run
//! of the family has ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::runtime::Handle;

use crate::board::{ProbeStatus, Snapshot};
use crate::comparison::{Contestant, SideBySide};
use crate::history::{Reader, Series, UnreadSubject};
use crate::report::comparison::Heading;
use crate::server::Served;
use crate::server::api::Problem;

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::server::pages) struct Wanted {
    pub(super) family: String,
    pub(super) workload: String,
}

/// A comparison, and what it is of.
#[derive(Debug)]
pub(in crate::server::pages) struct Compared {
    pub(super) heading: Heading,
    pub(in crate::server::pages) table: SideBySide,
}

/// The probes that a comparison was worked out of, and the ends of their last runs.
type Stamp = Vec<(String, Option<Timestamp>)>;

/// Comparisons that were worked out: at most one for each family and workload that was ever configured.
#[derive(Debug, Default)]
pub(in crate::server) struct Kept(Mutex<BTreeMap<Wanted, (Stamp, Arc<Compared>)>>);

impl Kept {
    fn find(&self, wanted: &Wanted, stamp: &Stamp) -> Option<Arc<Compared>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, compared) = kept.get(wanted)?;
        (known == stamp).then(|| Arc::clone(compared))
    }

    fn keep(&self, wanted: Wanted, stamp: Stamp, compared: Arc<Compared>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(wanted, (stamp, compared));
    }
}

/// Compares what is `wanted`.
///
/// # Errors
/// Why there is nothing to show, in words without a full stop.
pub(in crate::server::pages) async fn gather(
    served: &Served,
    snapshot: &Snapshot,
    wanted: &Wanted,
) -> Result<Arc<Compared>, String> {
    let probes = snapshot.probes.iter().filter(|probe| {
        probe.deployment.family.as_ref() == Some(&wanted.family)
            && probe.workload.name.to_string() == wanted.workload
    });
    let probes: Vec<Arc<ProbeStatus>> = probes.cloned().collect();
    let stamp: Stamp = probes
        .iter()
        .map(|probe| {
            let deployment = &probe.deployment;
            let what = format!(
                "{} {:?} {:?} {}",
                deployment.name,
                deployment.precision,
                deployment.tolerances,
                probe.workload.id()
            );
            (what, probe.last.as_ref().map(|last| last.ended_at))
        })
        .collect();
    if let Some(kept) = served.compared.find(wanted, &stamp) {
        return Ok(kept);
    }
    let told = |problem: Problem| problem.detail().to_owned();
    let (_turn, mut reader) = served.history_reader().await.map_err(told)?;
    // Judging years of runs again is not to hold up the other answers.
    let runtime = Handle::current();
    let judged =
        tokio::task::spawn_blocking(move || runtime.block_on(judged(&mut reader, &probes)))
            .await
            .map_err(|error| error.to_string())?;
    let (contestants, notes) = judged.map_err(|error| {
        tracing::warn!(%error, "the history cannot be read");
        "The history cannot be read; the log of the daemon says more".to_owned()
    })?;
    let mut table = SideBySide::of(contestants, None).map_err(|_| {
        format!(
            "There are no runs of the family {} with the workload {} yet",
            wanted.family, wanted.workload
        )
    })?;
    table.notes.extend(notes);
    let compared = Arc::new(Compared {
        heading: Heading {
            title: wanted.family.clone(),
            workload: Some(wanted.workload.clone()),
        },
        table,
    });
    served
        .compared
        .keep(wanted.clone(), stamp, Arc::clone(&compared));
    Ok(compared)
}

async fn judged(
    reader: &mut Reader,
    probes: &[Arc<ProbeStatus>],
) -> Result<(Vec<Contestant>, Vec<String>), UnreadSubject> {
    let mut contestants = Vec::new();
    let mut notes = Vec::new();
    for probe in probes {
        let deployment = &probe.deployment;
        let series = Series {
            deployment: deployment.name.to_string(),
            workload: probe.workload.name.to_string(),
            workload_id: probe.workload.id().to_string(),
        };
        let precision = deployment.precision.as_deref();
        let tolerances = &deployment.tolerances;
        let subject = reader.subject(&series, precision, tolerances).await?;
        if subject.contestant.runs.is_empty() {
            notes.push(format!("{} has no runs yet.", deployment.name));
        } else {
            contestants.push(subject.contestant);
        }
    }
    Ok((contestants, notes))
}
