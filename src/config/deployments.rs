//! The `deployments` section: whom we probe, and what is known of where they run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use url::Url;

use super::budgets::{ReadBudget, read_budget};
use super::environment::read_environment;
use super::field::Field;
use super::global::Defaults;
use super::guards::{read_guards, warn_if_blind};
use super::named::Named;
use super::probes::{ReadProbe, read_probes};
use super::section::Section;
use super::source::{Fault, read_text};
use super::tolerances::read_tolerances;
use super::{addresses, values};
use crate::deployment::{Deployment, Endpoint, Lane, MetricsSource, SecretSource};
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
    "proxy_url",
    "environment",
    "labels",
    "metrics_url",
    "guards",
    "budget",
    "tolerance",
    "probes",
];
/// The most bytes of a file of certificates: several times the system's own bundle.
const CERTIFICATE_BYTES: u64 = 4 << 20;

/// What deployments refer to.
pub(super) struct Definitions<'a> {
    pub(super) auths: &'a Named<SecretSource>,
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
        probes: probes?,
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
    let token = section
        .get("auth")
        .and_then(|field| definitions.auths.resolve(&field, "auth").cloned());
    let ca_file = section
        .get("ca_file")
        .and_then(|field| field.parsed(|path| certificates(&definitions.directory.join(path))));
    let proxy = section
        .get("proxy_url")
        .and_then(|field| field.parsed(addresses::proxy_url));
    let (url, field) = url?;
    warn_of_plaintext(&field, &url, token.is_some(), ca_file.is_some());
    let mut endpoint = Endpoint::new(url);
    endpoint.bearer_token = token;
    endpoint.ca_file = ca_file;
    endpoint.proxy = proxy;
    Some(endpoint)
}

fn warn_of_plaintext(field: &Field<'_>, url: &Url, has_token: bool, has_ca_file: bool) {
    if url.scheme() == "https" {
        return;
    }
    if has_token && !addresses::is_loopback(url) {
        field.warning(
            "the bearer token crosses the network unencrypted",
            "use `https://`, or make sure that nobody else is on this network",
        );
    }
    if has_ca_file {
        field.warning(
            "`ca_file` has no effect: this URL is not encrypted",
            "use `https://`, or delete `ca_file`",
        );
    }
}

fn certificates(path: &Path) -> Result<PathBuf, Fault> {
    let pem = read_text(path, CERTIFICATE_BYTES)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    if read.is_ok_and(|certificates| !certificates.is_empty()) {
        return Ok(path.to_owned());
    }
    Err(Fault::new(
        format!("`{}` holds no readable certificate", path.display()),
        "name a PEM file with `-----BEGIN CERTIFICATE-----` in it",
    ))
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
