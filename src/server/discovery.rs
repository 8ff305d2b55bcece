//! `/discovery`: the deployments that are probed, in the form of Prometheus' `http_sd`.
//!
//! A target is a deployment's name, as `/probe?target=` takes it. What else is known of it stands in labels that
//! Prometheus drops after relabelling, so that nothing becomes a label of every series unless someone wants it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Served;
use crate::board::{ProbeStatus, Snapshot};

/// What the labels begin with.
const PREFIX: &str = "__meta_vllm_prober_";

/// Answers with one group for each deployment.
pub(super) async fn targets(State(served): State<Arc<Served>>) -> Json<Value> {
    Json(groups(&served.board.snapshot()))
}

fn groups(snapshot: &Snapshot) -> Value {
    snapshot.of_each_deployment().map(group).collect()
}

fn group(probes: &[Arc<ProbeStatus>]) -> Value {
    let deployment = &probes[0].deployment;
    let model = probes.iter().find_map(|probe| probe.model());
    let workloads = probes.iter().map(|probe| probe.workload.name.as_str());
    // Between commas, so that a rule finds each of them by `,name,`.
    let workloads = format!(",{},", workloads.collect::<Vec<_>>().join(","));
    let labels = [
        ("base_url", Some(deployment.endpoint.base_url())),
        ("model", model),
        ("family", deployment.family.as_deref()),
        ("precision", deployment.precision.as_deref()),
        ("lane", Some(deployment.lane.as_str())),
        ("workloads", Some(workloads.as_str())),
    ];
    let labels: serde_json::Map<_, _> = labels
        .into_iter()
        .filter_map(|(name, value)| Some((format!("{PREFIX}{name}"), value?.into())))
        .collect();
    json!({"targets": [deployment.name.as_str()], "labels": labels})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::deployment::{Deployment, Endpoint};
    use crate::workload::Workload;

    #[test]
    fn every_deployment_is_one_target_with_what_is_known_of_it() {
        let deployment = |name: &str, family: Option<&str>| {
            let endpoint = Endpoint::new("http://gpu-0:8000/v1".parse().unwrap());
            Arc::new(Deployment {
                family: family.map(str::to_owned),
                ..Deployment::new(name, endpoint)
            })
        };
        let (first, second) = (deployment("a b", Some("qwen")), deployment("c", None));
        let probe = |deployment: &Arc<Deployment>, workload: &str| {
            let mut replayed = Workload::reference("p");
            replayed.name = crate::workload::WorkloadName::new(workload);
            Arc::new(ProbeStatus::new(
                Arc::clone(deployment),
                Arc::new(replayed),
                &None,
            ))
        };
        let shown = groups(&Snapshot {
            stale_after: 3,
            probes: vec![
                probe(&first, "reference"),
                probe(&first, "canary"),
                probe(&second, "canary"),
            ],
            deployments: BTreeMap::new(),
        });
        let expected = json!([
            {"targets": ["a b"], "labels": {
                "__meta_vllm_prober_base_url": "http://gpu-0:8000",
                "__meta_vllm_prober_family": "qwen",
                "__meta_vllm_prober_lane": "a b",
                "__meta_vllm_prober_workloads": ",reference,canary,",
            }},
            {"targets": ["c"], "labels": {
                "__meta_vllm_prober_base_url": "http://gpu-0:8000",
                "__meta_vllm_prober_lane": "c",
                "__meta_vllm_prober_workloads": ",canary,",
            }},
        ]);
        assert_eq!(shown, expected);
    }
}
