//! The `deployments` section: whom we probe, and what is known of where they run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use url::Url;

use super::budgets::{ReadBudget, read_budget};
use super::environment::read_environment;
use super::field::Field;
use super::global::Defaults;
use super::guards::{read_guards, warn_if_blind};
use super::named::Named;
use super::probes::{ReadProbe, read_probes};
use super::routes::{certificates, read_route};
use super::section::Section;
use super::tolerances::read_tolerances;
use super::workloads::read_timeouts;
use super::{addresses, values};
use crate::deployment::{Deployment, Endpoint, Lane, MetricsSource};
use crate::endpoint::{Auth, Scheme};
use crate::guard::Guards;
use crate::workload::Workload;

pub(super) const FIELDS: &[&str] = &[
    "name",
    "base_url",
    "model",
    "family",
    "precision",
    "lane",
    "auth",
    "ca_file",
    "tls_config",
    "proxy_url",
    "proxy_auth",
    "preferred_ip_protocol",
    "ip_protocol_fallback",
    "timeouts",
    "environment",
    "labels",
    "metrics_url",
    "guards",
    "budget",
    "tolerance",
    "probes",
];

/// What deployments refer to.
pub(super) struct Definitions<'a> {
    pub(super) auths: &'a Named<Auth>,
    pub(super) workloads: &'a Named<Arc<Workload>>,
    pub(super) defaults: &'a Defaults,
    pub(super) directory: &'a Path,
}

/// A deployment with what later checks need of where it came from.
pub(super) struct ReadDeployment<'a> {
    pub(super) deployment: Deployment,
    pub(super) probes: Vec<ReadProbe<'a>>,
    /// Its own budget, with its places.
    pub(super) budget: ReadBudget<'a>,
}

pub(super) fn read_deployments<'a>(
    field: &Field<'a>,
    definitions: &Definitions<'_>,
) -> Vec<ReadDeployment<'a>> {
    let mut lines = BTreeMap::new();
    let items = field.items();
    if items.is_empty() {
        field.mistake(
            "there is no deployment to probe",
            "add one: `- { name: …, base_url: …, probes: [{ workload: …, every: 15m }] }`",
        );
    }
    let read = items
        .iter()
        .filter_map(|field| read_deployment(field, definitions, &mut lines));
    read.collect()
}

fn read_deployment<'a>(
    field: &Field<'a>,
    definitions: &Definitions<'_>,
    lines: &mut BTreeMap<String, usize>,
) -> Option<ReadDeployment<'a>> {
    let section = Section::of(field, FIELDS);
    let name = read_name(&section, lines);
    let endpoint = read_endpoint(&section, definitions);
    let text = |name| section.get(name)?.parsed(values::name);
    let model = text("model");
    let family = text("family");
    let precision = text("precision").map(|precision| precision.to_lowercase());
    let lane = text("lane");
    let environment = section
        .get("environment")
        .map(|field| read_environment(&field, definitions.directory));
    let labels = section.get("labels").map(|field| read_labels(&field));
    let metrics = section
        .get("metrics_url")
        .and_then(|field| field.parsed(addresses::metrics_url))
        .unwrap_or_default();
    let guards = read_own_guards(&section, &metrics, definitions.defaults.guards);
    let budget = section
        .get("budget")
        .map(|field| read_budget(&field))
        .unwrap_or_default();
    let defaults = &definitions.defaults.tolerances;
    let tolerances = section.get("tolerance").map_or_else(
        || defaults.clone(),
        |field| read_tolerances(&field, defaults),
    );
    let probes = section
        .require("probes", "[{ workload: reference, every: 15m }]")
        .map(|field| {
            if field.is_empty() {
                field.mistake(
                    "a deployment without probes is never measured",
                    "add one, such as `- { workload: reference, every: 15m }`",
                );
            }
            let identity = name.as_deref().unwrap_or_default();
            read_probes(
                &field,
                identity,
                definitions.workloads,
                definitions.defaults,
            )
        });
    let timeouts = section.get("timeouts").map(|field| read_timeouts(&field));
    let mut probes = probes?;
    if let Some(timeouts) = timeouts {
        // They move no figure, so it stays the same workload.
        for ReadProbe { probe, .. } in &mut probes {
            let workload = Arc::make_mut(&mut probe.workload);
            workload.limits = timeouts.over(workload.limits);
        }
    }
    let name = name?;
    Some(ReadDeployment {
        deployment: Deployment {
            lane: Lane::new(lane.unwrap_or_else(|| name.clone())),
            model,
            family,
            precision,
            environment: environment.unwrap_or_default(),
            labels: labels.unwrap_or_default(),
            metrics,
            guards,
            budget: budget.budget(),
            tolerances,
            ..Deployment::new(&name, endpoint?)
        },
        probes,
        budget,
    })
}

fn read_own_guards(section: &Section<'_>, metrics: &MetricsSource, defaults: Guards) -> Guards {
    let Some(field) = section.get("guards") else {
        return defaults;
    };
    let guards = read_guards(&field, defaults);
    if *metrics == MetricsSource::Off {
        warn_if_blind(&field, &guards);
    }
    guards
}

fn read_name(section: &Section<'_>, lines: &mut BTreeMap<String, usize>) -> Option<String> {
    let field = section.require("name", "qwen3-32b-nvfp4")?;
    let name = field.parsed(values::name)?;
    match lines.get(&name) {
        Some(line) => field.mistake(
            format!("there is already a deployment `{name}` in line {line}"),
            "give each deployment a name of its own: series are told apart by it",
        ),
        None => _ = lines.insert(name.clone(), field.line()),
    }
    Some(name)
}

fn read_endpoint(section: &Section<'_>, definitions: &Definitions<'_>) -> Option<Endpoint> {
    let field = section.require("base_url", "http://gpu-host:8000");
    let url = field.and_then(|field| Some((field.parsed(addresses::base_url)?, field)));
    let auth = section
        .get("auth")
        .and_then(|field| definitions.auths.resolve(&field, "auth").cloned());
    let ca_file = section.get("ca_file");
    let (url, field) = url?;
    let mut endpoint = Endpoint::new(url.clone());
    endpoint.route = read_route(section, &field, &url, definitions.directory);
    if let Some(ca_file) = ca_file {
        warn_if_not_encrypted(&field, &url);
        if endpoint.route.tls.ca_file.is_some() {
            ca_file.mistake(
                "`ca_file` is given here and in `tls_config`",
                "keep the one in `tls_config`",
            );
        }
        endpoint.route.tls.ca_file =
            ca_file.parsed(|path| certificates(&definitions.directory.join(path)));
    }
    endpoint.auth = auth.unwrap_or_default();
    warn_of_plaintext(&field, &url, &endpoint.auth);
    Some(endpoint)
}

fn warn_of_plaintext(field: &Field<'_>, url: &Url, auth: &Auth) {
    if url.scheme() == "https" || addresses::is_loopback(url) || !auth.is_secret() {
        return;
    }
    let what = match &auth.scheme {
        Some(Scheme::Bearer(_) | Scheme::ClientCredentials(_)) => "the bearer token",
        Some(Scheme::Basic(_)) => "the password",
        None => "a secret header",
    };
    field.warning(
        format!("{what} crosses the network unencrypted"),
        "use `https://`, or make sure that nobody else is on this network",
    );
}

fn warn_if_not_encrypted(field: &Field<'_>, url: &Url) {
    if url.scheme() != "https" {
        field.warning(
            "`ca_file` has no effect: this URL is not encrypted",
            "use `https://`, or delete `ca_file`",
        );
    }
}

fn read_labels(field: &Field<'_>) -> BTreeMap<String, String> {
    let entries = field.entries().into_iter();
    let labels = entries.filter_map(|(key, field)| {
        if let Err(fault) = values::label_name(key.name) {
            key.fault(fault);
        }
        Some((key.name.to_owned(), field.parsed(values::name)?))
    });
    labels.collect()
}
