//! What someone wants done, however it was said: the JSON interface and the forms of the pages both come here.

use super::Problem;
use crate::judges::Act;
use crate::lifecycle::{Intervened, InterventionRequest, Lifecycle, ProbeRequest};
use crate::measure::Measure;
use crate::report::InterventionJson;
use crate::server::Served;

/// Has a say in the judging of a deployment: `act`, or what is wrong with it.
pub(in crate::server) async fn intervene(
    served: &Served,
    deployment: String,
    said: InterventionJson,
    act: Result<Act, String>,
) -> Result<Vec<Intervened>, Problem> {
    let lifecycle = lifecycle(served)?;
    for (field, text) in [("by", &said.by), ("why", &said.why)] {
        if text.trim().is_empty() {
            return Err(Problem::unprocessable(format!(
                "`{field}` is missing; say who intervenes and why, for whoever comes later"
            )));
        }
    }
    let act = act.map_err(Problem::unprocessable)?;
    let measure = match &said.measure {
        Some(name) => Some(Measure::named(name).ok_or_else(|| unknown_measure(name))?),
        None => None,
    };
    let request = InterventionRequest {
        probes: ProbeRequest {
            deployment,
            workload: said.workload,
        },
        measure,
        by: said.by,
        why: said.why,
        act,
    };
    Ok(lifecycle.intervene(request).await?)
}

/// Asks for runs before their time, and tells of which workloads.
pub(in crate::server) async fn run_now(
    served: &Served,
    probes: ProbeRequest,
) -> Result<Vec<String>, Problem> {
    Ok(lifecycle(served)?.run(probes).await?)
}

/// Cuts runs, and tells of which workloads.
pub(in crate::server) async fn cancel(
    served: &Served,
    probes: ProbeRequest,
) -> Result<Vec<String>, Problem> {
    Ok(lifecycle(served)?.cancel(probes).await?)
}

/// Where orders are given.
///
/// # Errors
/// When nothing may be changed over HTTP.
pub(in crate::server) fn lifecycle(served: &Served) -> Result<&Lifecycle, Problem> {
    served.lifecycle.get().ok_or_else(Problem::no_lifecycle)
}

fn unknown_measure(name: &str) -> Problem {
    let all: Vec<_> = Measure::ALL.iter().map(|measure| measure.label()).collect();
    Problem::unprocessable(format!(
        "there is no measure `{name}`; there are {}",
        all.join(", ")
    ))
}
