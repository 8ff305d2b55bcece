//! The `deployments` section: whom we probe, and what is known of where they run.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use url::Url;

use super::addresses;
use super::budgets::ReadBudget;
use super::field::Field;
use super::global::Defaults;
use super::named::Named;
use super::probes::ReadProbe;
use super::section::Section;
use super::source::Fault;
use super::template::{read_own_probes, read_template, with_template_fields};
use super::values;
use crate::deployment::Deployment;
use crate::endpoint::{Auth, Scheme};
use crate::workload::Workload;

pub(super) const FIELDS: &[&str] = with_template_fields!["name", "base_url"];

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

/// Reads the section. It may be empty if `there_are_others`, from elsewhere.
pub(super) fn read_deployments<'a>(
    field: &Field<'a>,
    definitions: &Definitions<'_>,
    there_are_others: bool,
) -> Vec<ReadDeployment<'a>> {
    let mut lines = BTreeMap::new();
    let items = field.items();
    if items.is_empty() && !there_are_others {
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
    let address = section
        .require("base_url", "http://gpu-host:8000")
        .and_then(|field| Some((field.parsed(addresses::base_url)?, field)));
    let to = address.as_ref().map(|(url, field)| (field, url));
    let (template, budget) = read_template(&section, to, definitions);
    let identity = name.as_deref().unwrap_or_default();
    let probes = read_own_probes(&section, identity, definitions);
    let (url, place) = address?;
    if let Some(fault) = plaintext(&url, &template.auth) {
        place.warning(fault.message, fault.mend);
    }
    Some(ReadDeployment {
        deployment: template.deployment(&name?, url),
        probes: probes?,
        budget,
    })
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

/// What is wrong with sending what `auth` holds to `url`: others may read it on the way.
pub(super) fn plaintext(url: &Url, auth: &Auth) -> Option<Fault> {
    if url.scheme() == "https" || addresses::is_loopback(url) || !auth.is_secret() {
        return None;
    }
    let what = match &auth.scheme {
        Some(Scheme::Bearer(_) | Scheme::ClientCredentials(_)) => "the bearer token",
        Some(Scheme::Basic(_)) => "the password",
        None => "a secret header",
    };
    Some(Fault::new(
        format!("{what} crosses the network unencrypted"),
        "use `https://`, or make sure that nobody else is on this network",
    ))
}
