//! Whom `/probe` may probe, and with what: a configured deployment by its name or its address, or an address that the
//! configuration allows. It is no open relay.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use url::{Host, Url};

use crate::deployment::{Deployment, Lane};
use crate::discovery::pattern::Pattern;
use crate::endpoint::{Auth, Endpoint};
use crate::reach::{AddressRange, Reach};
use crate::workload::Workload;

#[cfg(test)]
mod tests;

/// Names that a refusal lists at most.
const LISTED: usize = 20;

/// What `/probe` may use beside the configured deployments.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// Every defined workload, probed or not.
    pub workloads: Vec<Arc<Workload>>,
    /// Which other addresses may be probed. The first that matches counts.
    pub allowed: Vec<AllowedTargets>,
}

/// Addresses that may be probed although they are no deployment's, and what they get.
#[derive(Clone, Debug)]
pub struct AllowedTargets {
    /// Their base URLs, as a whole: without a trailing `/v1` or `/`.
    pub url: Pattern,
    /// What lets us in there.
    pub auth: Auth,
    /// Certificates that are trusted there instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What they occupy; a lane of its own for each, without it.
    pub lane: Option<String>,
    /// Addresses of this machine, its link or a metadata service that they may lead to all the same.
    pub local_addresses: Vec<AddressRange>,
}

/// Why nothing is probed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetRefusal {
    /// It is no address, and no deployment's name.
    #[error("`target` is neither the name of a deployment nor a base URL such as `http://gpu-host:8000`{}", listed(.0))]
    Unknown(Vec<String>),
    /// It is an address as no server has one.
    #[error("`target` is no base URL: {0}")]
    NoBaseUrl(String),
    /// Several deployments answer there.
    #[error("several deployments answer at this address, so one has to be named as `target`: {}", .0.join(", "))]
    Ambiguous(Vec<String>),
    /// Nothing allows it.
    #[error(
        "this address is no configured deployment's, and no entry of `probe.targets` in the configuration allows it"
    )]
    NotAllowed,
    /// It leads where no target may lead.
    #[error(
        "the address {address} is {what}, and the entry of `probe.targets` that allows the target does not name it in \
         `local_addresses`"
    )]
    Local {
        /// The address.
        address: String,
        /// What it is.
        what: &'static str,
    },
    /// There is no such workload.
    #[error("there is no workload of that name{}", listed(.0))]
    UnknownWorkload(Vec<String>),
    /// None was named, and it is not clear which is meant.
    #[error("`workload` is missing, and there is not exactly one light workload that could be meant{}", listed(.0))]
    WhichWorkload(Vec<String>),
    /// It is too heavy.
    #[error(
        "the workload `{0}` is not light: while a scrape waits only one request at a time and 256 tokens in all are \
         sent; name a light workload, or let the schedule replay this one"
    )]
    NotLight(String),
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "; there is none".to_owned();
    }
    let more = if names.len() > LISTED { ", …" } else { "" };
    let shown: Vec<_> = names
        .iter()
        .take(LISTED)
        .map(|name| format!("`{name}`"))
        .collect();
    format!("; there is {}{more}", shown.join(", "))
}

impl Targets {
    /// Whom `target` and which workload `workload` mean, among the `configured` probes.
    ///
    /// # Errors
    /// When there is no such target or workload, or it is not to be probed so.
    pub fn resolve<'a>(
        &self,
        configured: impl Iterator<Item = (&'a Arc<Deployment>, &'a Arc<Workload>)> + Clone,
        target: &str,
        workload: Option<&str>,
    ) -> Result<(Arc<Deployment>, Arc<Workload>), TargetRefusal> {
        let workload = self.workload(workload)?;
        let deployment =
            self.deployment(configured.clone().map(|(deployment, _)| deployment), target)?;
        // The deployment may have timeouts of its own.
        let own = configured
            .filter(|(of, _)| of.name == deployment.name)
            .find(|(_, own)| own.name == workload.name)
            .map(|(_, own)| Arc::clone(own));
        Ok((deployment, own.unwrap_or(workload)))
    }

    fn workload(&self, name: Option<&str>) -> Result<Arc<Workload>, TargetRefusal> {
        let names = |workloads: &[&Arc<Workload>]| {
            let names = workloads.iter().map(|workload| workload.name.to_string());
            names.collect()
        };
        let light: Vec<_> = self.workloads.iter().filter(|one| one.is_light()).collect();
        let Some(name) = name else {
            return match light.as_slice() {
                [only] => Ok(Arc::clone(only)),
                _ => Err(TargetRefusal::WhichWorkload(names(&light))),
            };
        };
        let mut all = self.workloads.iter();
        let found = all.find(|workload| workload.name.as_str() == name);
        let found = found.ok_or_else(|| TargetRefusal::UnknownWorkload(names(&light)))?;
        if found.is_light() {
            Ok(Arc::clone(found))
        } else {
            Err(TargetRefusal::NotLight(name.to_owned()))
        }
    }

    fn deployment<'a>(
        &self,
        mut configured: impl Iterator<Item = &'a Arc<Deployment>> + Clone,
        target: &str,
    ) -> Result<Arc<Deployment>, TargetRefusal> {
        if let Some(named) = configured.clone().find(|one| one.name.as_str() == target) {
            return Ok(Arc::clone(named));
        }
        if !target.contains("://") {
            let mut names: Vec<_> = configured.map(|one| one.name.to_string()).collect();
            names.dedup();
            return Err(TargetRefusal::Unknown(names));
        }
        let endpoint = base_url(target)?;
        let mut there: Vec<&Arc<Deployment>> = Vec::new();
        for one in configured.by_ref() {
            let is_known = there.iter().any(|known| known.name == one.name);
            if one.endpoint.base_url() == endpoint.base_url() && !is_known {
                there.push(one);
            }
        }
        match there.as_slice() {
            [] => self.allowed(endpoint).map(Arc::new),
            [only] => Ok(Arc::clone(only)),
            several => {
                let names = several.iter().map(|one| one.name.to_string());
                Err(TargetRefusal::Ambiguous(names.collect()))
            }
        }
    }

    /// A deployment that is none of the configured ones: only what its entry gives it goes there.
    fn allowed(&self, mut endpoint: Endpoint) -> Result<Deployment, TargetRefusal> {
        let mut entries = self.allowed.iter();
        let entry = entries.find(|entry| entry.url.matches(endpoint.base_url()));
        let entry = entry.ok_or(TargetRefusal::NotAllowed)?;
        let reach = Reach::Elsewhere(entry.local_addresses.clone());
        let address = match endpoint.root().host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            // A name is looked at when it is resolved, which is not yet.
            Some(Host::Domain(_)) | None => None,
        };
        if let Some(address) = address
            && let Some(what) = reach.refusal(address)
        {
            let address = address.to_string();
            return Err(TargetRefusal::Local { address, what });
        }
        endpoint.auth = entry.auth.clone();
        endpoint.route.tls.ca_file.clone_from(&entry.ca_file);
        endpoint.route.reach = reach;
        let name = endpoint.base_url().to_owned();
        let lane = entry.lane.clone().unwrap_or_else(|| name.clone());
        Ok(Deployment {
            lane: Lane::new(lane),
            ..Deployment::new(&name, endpoint)
        })
    }
}

/// An endpoint at what someone wrote, which is never repeated: it may hold a password.
fn base_url(text: &str) -> Result<Endpoint, TargetRefusal> {
    let wrong = |why: &str| TargetRefusal::NoBaseUrl(why.to_owned());
    let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(wrong("it does not begin with `http://` or `https://`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "it has a name or a password in it; an entry of `probe.targets` names an `auth` instead",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has a `?` or a `#`; end it before that"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("it has no host"));
    }
    Ok(Endpoint::new(url))
}

/// How long a probe may take in all if whoever asks does not say how long it waits: as blackbox_exporter has it.
///
/// A run of the schedule may take much longer, but nobody is to hold a lane that long by a plain request.
pub const USUAL_LIMIT: Duration = Duration::from_secs(120);

/// How long a probe may take in all.
///
/// That is what the scraper waits, less `offset` for the way of the answer, or [`USUAL_LIMIT`] if it does not say; or as
/// long as a run of the workload may take if that is less. What the scraper waits is not reduced if nothing would be
/// left of it.
pub fn time_limit(
    scrape_timeout: Option<Duration>,
    offset: Duration,
    workload: &Workload,
) -> Duration {
    let run = workload.limits.run;
    match scrape_timeout {
        Some(timeout) if timeout > offset => run.min(timeout - offset),
        Some(timeout) => run.min(timeout),
        None => run.min(USUAL_LIMIT),
    }
}
