//! What deployments have beside their names and addresses: written for one of them, or once for all that a source
//! lists.

use std::collections::BTreeMap;

use url::Url;

use super::addresses;
use super::budgets::{ReadBudget, read_budget};
use super::deployments::Definitions;
use super::environment::read_environment;
use super::field::Field;
use super::guards::{read_guards, warn_if_blind};
use super::probes::{ReadProbe, read_probes};
use super::routes::{certificates, read_route};
use super::section::Section;
use super::tolerances::read_tolerances;
use super::values;
use super::workloads::read_timeouts;
use crate::budget::Budget;
use crate::deployment::{Deployment, Endpoint, EnvironmentSources, Lane, MetricsSource};
use crate::endpoint::{Auth, Proxy, Route};
use crate::guard::Guards;
use crate::measure::Tolerances;

/// The fields of a section that makes deployments: its own, and those that every deployment has.
macro_rules! with_template_fields {
    ($($own:literal),*) => {
        &[
            $($own,)*
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
        ]
    };
}
pub(super) use with_template_fields;

/// A deployment without its name and its address.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) model: Option<String>,
    pub(super) family: Option<String>,
    pub(super) precision: Option<String>,
    pub(super) lane: Option<String>,
    pub(super) auth: Auth,
    pub(super) route: Route,
    pub(super) environment: EnvironmentSources,
    pub(super) labels: BTreeMap<String, String>,
    metrics: MetricsSource,
    guards: Guards,
    budget: Budget,
    tolerances: Tolerances,
}

impl Template {
    /// The deployment that has this name and answers at `base_url`; its lane is its own if none is written.
    pub(super) fn deployment(self, name: &str, base_url: Url) -> Deployment {
        let mut endpoint = Endpoint::new(base_url);
        (endpoint.auth, endpoint.route) = (self.auth, self.route);
        Deployment {
            lane: Lane::new(self.lane.unwrap_or_else(|| name.to_owned())),
            model: self.model,
            family: self.family,
            precision: self.precision,
            environment: self.environment,
            labels: self.labels,
            metrics: self.metrics,
            guards: self.guards,
            budget: self.budget,
            tolerances: self.tolerances,
            ..Deployment::new(name, endpoint)
        }
    }
}

/// Reads the fields of `section` that are about neither name nor address, and the budget with its places. `to` is
/// the address and where it stands, if it is known.
pub(super) fn read_template<'a>(
    section: &Section<'a>,
    to: Option<(&Field<'a>, &Url)>,
    definitions: &Definitions<'_>,
) -> (Template, ReadBudget<'a>) {
    let text = |name| section.get(name)?.parsed(values::name);
    let metrics = section
        .get("metrics_url")
        .and_then(|field| field.parsed(addresses::metrics_url))
        .unwrap_or_default();
    let budget = section
        .get("budget")
        .map(|field| read_budget(&field))
        .unwrap_or_default();
    let defaults = &definitions.defaults.tolerances;
    let template = Template {
        model: text("model"),
        family: text("family"),
        precision: text("precision").map(|precision| precision.to_lowercase()),
        lane: text("lane"),
        auth: section
            .get("auth")
            .and_then(|field| definitions.auths.resolve(&field, "auth").cloned())
            .unwrap_or_default(),
        route: read_own_route(section, to, definitions),
        environment: section
            .get("environment")
            .map(|field| read_environment(&field, definitions.directory))
            .unwrap_or_default(),
        labels: section
            .get("labels")
            .map(|field| read_labels(&field))
            .unwrap_or_default(),
        guards: read_own_guards(section, &metrics, definitions.defaults.guards),
        metrics,
        budget: budget.budget(),
        tolerances: section.get("tolerance").map_or_else(
            || defaults.clone(),
            |field| read_tolerances(&field, defaults),
        ),
    };
    (template, budget)
}

/// Reads the `probes` of the deployment `name`, with its own `timeouts` over those of the workloads.
pub(super) fn read_own_probes<'a>(
    section: &Section<'a>,
    name: &str,
    definitions: &Definitions<'_>,
) -> Option<Vec<ReadProbe<'a>>> {
    let timeouts = section.get("timeouts").map(|field| read_timeouts(&field));
    let field = section.require("probes", "[{ workload: reference, every: 15m }]")?;
    if field.is_empty() {
        field.mistake(
            "a deployment without probes is never measured",
            "add one, such as `- { workload: reference, every: 15m }`",
        );
    }
    let mut probes = read_probes(&field, name, definitions.workloads, definitions.defaults);
    if let Some(timeouts) = timeouts {
        // They move no figure, so it stays the same workload.
        for ReadProbe { probe, .. } in &mut probes {
            let workload = std::sync::Arc::make_mut(&mut probe.workload);
            workload.limits = timeouts.over(workload.limits);
        }
    }
    Some(probes)
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

fn read_own_route(
    section: &Section<'_>,
    to: Option<(&Field<'_>, &Url)>,
    definitions: &Definitions<'_>,
) -> Route {
    let mut route = read_route(section, to, definitions.directory);
    if let Some(ca_file) = section.get("ca_file") {
        let by_tls_to_proxy = route.proxy.as_ref().is_some_and(Proxy::is_encrypted);
        if let Some((place, url)) = to
            && !by_tls_to_proxy
        {
            warn_if_not_encrypted(place, url);
        }
        if route.tls.ca_file.is_some() {
            ca_file.mistake(
                "`ca_file` is given here and in `tls_config`",
                "keep the one in `tls_config`",
            );
        }
        route.tls.ca_file = ca_file.parsed(|path| certificates(&definitions.directory.join(path)));
    }
    route
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
