//! Makes deployments of listed targets: what the labels say, and the template for the rest.
//!
//! A target that cannot be probed is refused by itself, and the others go on: one wrong line of an inventory must
//! not end the probing of a fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use url::Url;

use super::environment::DECLARED;
use super::likeness::unknown;
use super::probes::Probe;
use super::routes::allows;
use super::source::Fault;
use super::template::Template;
use super::{ProbedDeployment, addresses, deployments, values};
use crate::deployment::DeploymentName;
use crate::discovery::relabel::{Rule, relabel};
use crate::discovery::source::Source;
use crate::discovery::{ADDRESS, Labels};
use crate::endpoint::Auth;

/// The most targets of one list that are probed: several times what one prober can do, and no matter for its memory.
pub const MOST_TARGETS: usize = 10_000;

/// What Prometheus takes for granted of a target before its rules.
const SCHEME: (&str, &str) = ("__scheme__", "http");
const METRICS_PATH: (&str, &str) = ("__metrics_path__", "/metrics");

/// Labels that have a meaning for a deployment itself.
const FIELDS: [&str; 6] = ["name", "model", "family", "precision", "lane", "auth"];

/// A list of targets, and what becomes of them.
#[derive(Clone, Debug)]
pub struct DeploymentSource {
    /// What it is called in the log and by metrics; no other one is called so.
    pub name: String,
    /// Where the list is read.
    pub source: Source,
    pub(super) rules: Vec<Rule>,
    pub(super) template: Template,
    pub(super) probes: Vec<Probe>,
    /// What a label may choose.
    pub(super) auths: Arc<BTreeMap<String, Auth>>,
}

/// What became of the targets of a list.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Whom to probe.
    pub deployments: Vec<ProbedDeployment>,
    /// What cannot be probed.
    pub refused: Vec<Remark>,
    /// How many more there are than one list may have; nothing is said of each.
    pub beyond: usize,
    /// What can be probed and is unlikely to be meant so.
    pub warnings: Vec<Remark>,
}

/// What there is to say of a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// Its labels after the rules, but for those that begin with `__meta_`.
    pub labels: Labels,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub mend: String,
}

impl DeploymentSource {
    /// The deployments that `targets` come to. Their names are put among `taken`, and of two with one name the second
    /// is refused. Targets that the rules leave alike are one target.
    pub fn find(&self, targets: &BTreeSet<Labels>, taken: &mut BTreeSet<DeploymentName>) -> Found {
        let mut found = Found::default();
        let kept = targets
            .iter()
            .filter_map(|labels| relabel(as_prometheus_has(labels.clone()), &self.rules));
        let kept = kept.map(|mut labels| {
            labels.retain(|name, value| {
                let is_used = !name.starts_with("__meta_") && name != "__metrics_path__";
                is_used && (name.as_str(), value.as_str()) != SCHEME
            });
            labels
        });
        let kept: BTreeSet<Labels> = kept.collect();
        found.beyond = kept.len().saturating_sub(MOST_TARGETS);
        for labels in kept.into_iter().take(MOST_TARGETS) {
            let probed = self.deployment(&labels).and_then(|probed| {
                let name = &probed.deployment.name;
                if taken.insert(name.clone()) {
                    return Ok(probed);
                }
                Err(Fault::new(
                    format!("there is already a deployment `{name}`"),
                    "give each target a label `name` of its own, or drop one of the two by a rule",
                ))
            });
            match probed {
                Ok(probed) => {
                    let endpoint = &probed.deployment.endpoint;
                    let open = deployments::plaintext(endpoint.root(), &endpoint.auth);
                    found
                        .warnings
                        .extend(open.map(|fault| remark(&labels, fault)));
                    found.deployments.push(probed);
                }
                Err(fault) => found.refused.push(remark(&labels, fault)),
            }
        }
        found
    }

    fn deployment(&self, labels: &Labels) -> Result<ProbedDeployment, Fault> {
        let label = |name: &str| labels.get(name).map(String::as_str);
        let address = label("__param_target").or(label(ADDRESS)).ok_or_else(|| {
            Fault::new(
                "the target has no address",
                "keep the label `__address__` in `relabel_configs`",
            )
        })?;
        let base_url = base_url(label(SCHEME.0).unwrap_or(SCHEME.1), address)?;
        if let Some(ip) = &self.template.route.ip {
            allows(ip, &base_url)?;
        }
        let text = |name: &str| match label(name) {
            Some(text) => values::name(text).map(Some).map_err(|fault| {
                let message = format!("the label `{name}` cannot be used: {}", fault.message);
                Fault::new(message, fault.mend)
            }),
            None => Ok(None),
        };
        let name = match text("name")?.or(text("instance")?) {
            Some(name) => name,
            None => values::name(address)?,
        };
        let mut template = self.template.clone();
        template.model = text("model")?.or(text("__param_model")?).or(template.model);
        template.family = text("family")?.or(template.family);
        let precision = text("precision")?.map(|precision| precision.to_lowercase());
        template.precision = precision.or(template.precision);
        template.lane = text("lane")?.or(template.lane);
        if let Some(auth) = label("auth") {
            template.auth = self.auth(auth)?;
        }
        for (name, value) in labels {
            let declared = DECLARED.iter().find(|field| field.label() == name);
            let Ok(value) = values::name(value) else {
                continue;
            };
            if let Some(field) = declared {
                template.environment.declared.insert(*field, value);
            } else if !FIELDS.contains(&name.as_str()) && values::label_name(name).is_ok() {
                template.labels.insert(name.clone(), value);
            }
        }
        Ok(ProbedDeployment {
            probes: self.probes(&name, label("__param_workload"))?,
            deployment: Arc::new(template.deployment(&name, base_url)),
        })
    }

    fn auth(&self, name: &str) -> Result<Auth, Fault> {
        let known = || self.auths.keys().map(String::as_str);
        self.auths
            .get(name)
            .cloned()
            .ok_or_else(|| unknown("there is no auth", name, known()))
    }

    /// The probes of the deployment `name`, or that of one workload.
    fn probes(&self, name: &str, workload: Option<&str>) -> Result<Vec<Probe>, Fault> {
        let names = || self.probes.iter().map(|probe| probe.workload.name.as_str());
        if let Some(workload) = workload.filter(|workload| !names().any(|name| name == *workload)) {
            return Err(unknown("no probe has the workload", workload, names()));
        }
        let chosen = self
            .probes
            .iter()
            .filter(|probe| workload.is_none_or(|chosen| probe.workload.name.as_str() == chosen));
        let own = chosen.map(|probe| Probe {
            workload: Arc::clone(&probe.workload),
            schedule: probe
                .schedule
                .clone()
                .of(&format!("{name}/{}", probe.workload.name)),
        });
        Ok(own.collect())
    }
}

/// The labels with those that rules written for Prometheus may count on.
fn as_prometheus_has(mut labels: Labels) -> Labels {
    for (name, value) in [SCHEME, METRICS_PATH] {
        labels
            .entry(name.to_owned())
            .or_insert_with(|| value.to_owned());
    }
    labels
}

/// The root of the server at `address`, which is one with or without its port, or a URL.
fn base_url(scheme: &str, address: &str) -> Result<Url, Fault> {
    if address.contains("://") {
        return addresses::base_url(address);
    }
    if !["http", "https"].contains(&scheme) {
        return Err(Fault::new(
            format!("the scheme `{scheme}` is not spoken"),
            "let `__scheme__` be `http` or `https`",
        ));
    }
    if address.contains(['/', '?', '#', '@']) {
        return Err(Fault::new(
            format!("the address `{address}` is none of a server"),
            "write `host:port`, or a URL in full, as in `http://gateway/team-a`",
        ));
    }
    addresses::base_url(&format!("{scheme}://{address}"))
}

fn remark(labels: &Labels, fault: Fault) -> Remark {
    Remark {
        labels: labels.clone(),
        message: fault.message,
        mend: fault.mend,
    }
}

impl Remark {
    /// The labels in one line, as PromQL writes them.
    pub fn target(&self) -> String {
        let pairs = self.labels.iter().map(|(name, value)| {
            // With escapes for whatever would move a cursor.
            format!("{name}={value:?}")
        });
        format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.message)?;
        writeln!(f, "  --> {}", self.target())?;
        writeln!(f, "   = help: {}", self.mend)
    }
}

#[cfg(test)]
mod tests;
