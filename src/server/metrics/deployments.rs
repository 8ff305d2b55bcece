//! What is shown of a deployment as a whole: what it is, how it is, and what it runs on.

use jiff::Timestamp;
use prometheus::proto::MetricFamily;

use super::catalogue::unix;
use super::family::{Family, with};
use crate::board::Snapshot;
use crate::condition::DeploymentState;
use crate::deployment::Deployment;
use crate::environment::EnvironmentField;

const DEPLOYMENT_INFO: (&str, &str) = (
    "deployment_info",
    "1. What the deployment is: labels from the configuration, and the version that its server tells. Join with * on (deployment) group_left (...).",
);

const DEPLOYMENT_STATE: (&str, &str) = (
    "deployment_state",
    "1 for the state that the deployment is in, 0 for the others: from what its last run met, its own word about its health and its token counters.",
);

const SERVER_START: (&str, &str) = (
    "server_start_time_seconds",
    "Unix time at which the server's process started, as its own metrics last told.",
);

const ENVIRONMENT_INFO: (&str, &str) = (
    "environment_info",
    "1. The fingerprint of what the deployment runs on; it changes when a known field does, not when one becomes known.",
);

const ENVIRONMENT_CHANGED: (&str, &str) = (
    "environment_changed_timestamp_seconds",
    "Unix time at which a change of what the deployment runs on was last seen. Absent until there was one.",
);

const ENVIRONMENT_CHANGES: (&str, &str) = (
    "environment_changes_total",
    "Changes of what the deployment runs on, by field.",
);

const ENVIRONMENT_UNKNOWN: (&str, &str) = (
    "environment_unknown_fields",
    "Fields of what the deployment runs on of which nothing is known.",
);

const ENVIRONMENT_CONTRADICTED: (&str, &str) = (
    "environment_contradicted",
    "1 for each field of which something else was found than the configuration declares. The configuration's word holds.",
);

/// Name and HELP of every family here.
pub(super) const ALL: &[(&str, &str)] = &[
    DEPLOYMENT_INFO,
    DEPLOYMENT_STATE,
    SERVER_START,
    ENVIRONMENT_INFO,
    ENVIRONMENT_CHANGED,
    ENVIRONMENT_CHANGES,
    ENVIRONMENT_UNKNOWN,
    ENVIRONMENT_CONTRADICTED,
];

/// Every family about the deployments of `snapshot` as they are at `now`.
pub(super) fn families(snapshot: &Snapshot, now: Timestamp) -> Vec<MetricFamily> {
    let one_each = [
        deployment_info(snapshot),
        deployment_state(snapshot, now),
        server_start(snapshot),
    ];
    one_each
        .into_iter()
        .flatten()
        .chain(environment(snapshot))
        .collect()
}

/// One series for each deployment: what it is, from the configuration and from what its server tells.
fn deployment_info(snapshot: &Snapshot) -> Option<MetricFamily> {
    let mut family = Family::gauge(DEPLOYMENT_INFO.0, DEPLOYMENT_INFO.1);
    for same in snapshot.of_each_deployment() {
        let latest = same
            .iter()
            .max_by_key(|probe| probe.last.as_ref().map(|last| last.ended_at));
        let deployment: &Deployment = &same[0].deployment;
        let status = snapshot.deployments.get(&deployment.name);
        let environment = status
            .and_then(|status| status.generation.as_ref())
            .map(|generation| &generation.environment);
        let declared = &deployment.environment.declared;
        let known = |field: EnvironmentField| {
            let seen = environment.and_then(|environment| environment.get(field));
            let said = declared.get(&field).map(String::as_str);
            said.or(seen).unwrap_or("")
        };
        let told = latest.and_then(|probe| probe.server_version());
        let mut labels = vec![
            ("deployment", deployment.name.as_str()),
            ("family", deployment.family.as_deref().unwrap_or("")),
            ("precision", deployment.precision.as_deref().unwrap_or("")),
            (
                "model",
                latest.and_then(|probe| probe.model()).unwrap_or(""),
            ),
            ("lane", deployment.lane.as_str()),
            (
                "vllm_version",
                Some(known(EnvironmentField::VllmVersion))
                    .filter(|version| !version.is_empty())
                    .or(told)
                    .unwrap_or(""),
            ),
        ];
        labels.extend(
            [
                EnvironmentField::Driver,
                EnvironmentField::Cuda,
                EnvironmentField::Gpu,
                EnvironmentField::MigProfile,
                EnvironmentField::Quantization,
            ]
            .map(|field| (field.label(), known(field))),
        );
        labels.extend(
            deployment
                .labels
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        family.value(&labels, Some(1.0));
    }
    family.done()
}

/// One series for each state of each deployment.
fn deployment_state(snapshot: &Snapshot, now: Timestamp) -> Option<MetricFamily> {
    let mut family = Family::gauge(DEPLOYMENT_STATE.0, DEPLOYMENT_STATE.1);
    for same in snapshot.of_each_deployment() {
        let current = snapshot.state(same, now);
        for state in DeploymentState::ALL {
            let labels = [
                ("deployment", same[0].deployment.name.as_str()),
                ("state", state.label()),
            ];
            family.value(&labels, Some(f64::from(u8::from(*state == current))));
        }
    }
    family.done()
}

/// What is known of the environment of each deployment, and how it has changed.
fn environment(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let mut info = Family::gauge(ENVIRONMENT_INFO.0, ENVIRONMENT_INFO.1);
    let mut changed = Family::gauge(ENVIRONMENT_CHANGED.0, ENVIRONMENT_CHANGED.1);
    let mut changes = Family::counter(ENVIRONMENT_CHANGES.0, ENVIRONMENT_CHANGES.1);
    let mut unknown = Family::gauge(ENVIRONMENT_UNKNOWN.0, ENVIRONMENT_UNKNOWN.1);
    let mut contradicted = Family::gauge(ENVIRONMENT_CONTRADICTED.0, ENVIRONMENT_CONTRADICTED.1);
    for (name, status) in &snapshot.deployments {
        let labels = [("deployment", name.as_str())];
        if let Some(generation) = &status.generation {
            let fingerprint = ("fingerprint", generation.fingerprint.as_str());
            info.value(&with(&labels, fingerprint), Some(1.0));
            unknown.value(&labels, Some(generation.environment.unknown() as f64));
        }
        changed.value(&labels, status.changed_at.map(unix));
        for (field, count) in &status.changes {
            changes.value(
                &with(&labels, ("field", field.label())),
                Some(*count as f64),
            );
        }
        for contradiction in &status.contradictions {
            let field = ("field", contradiction.field.label());
            contradicted.value(&with(&labels, field), Some(1.0));
        }
    }
    [info, changed, changes, unknown, contradicted]
        .into_iter()
        .filter_map(Family::done)
        .collect()
}

fn server_start(snapshot: &Snapshot) -> Option<MetricFamily> {
    let mut family = Family::gauge(SERVER_START.0, SERVER_START.1);
    for (name, status) in &snapshot.deployments {
        family.value(&[("deployment", name.as_str())], status.process_start);
    }
    family.done()
}
