//! Whom we probe: a served model behind an OpenAI-compatible endpoint, and what is known of where it runs.
//!
//! A [`Deployment`] holds no string that still needs interpreting; the configuration layer turns what a
//! user wrote into these values or into a list of mistakes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use crate::budget::Budget;
use crate::environment::EnvironmentField;
use crate::guard::Guards;
use crate::measure::Tolerances;

pub use crate::endpoint::{Endpoint, SecretSource};

/// The name of a deployment: the `deployment` label of every series about it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeploymentName(Arc<str>);

impl DeploymentName {
    /// Takes a name as it stands in the configuration.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeploymentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What may run only one at a time: the deployments that share a GPU share a lane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(Arc<str>);

impl Lane {
    /// Takes a lane's name as it stands in the configuration.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One configured vLLM deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// Unique among the deployments of a configuration.
    pub name: DeploymentName,
    /// Where it answers, and how to reach it.
    pub endpoint: Endpoint,
    /// The served model's name; `None` when the server serves exactly one and is asked for it.
    pub model: Option<String>,
    /// What precisions are compared within, such as `qwen3-32b`.
    pub family: Option<String>,
    /// The weights' number format, such as `nvfp4`, `fp8` or `bf16`.
    pub precision: Option<String>,
    /// Deployments of one lane are never probed at once; by default a deployment has a lane of its own.
    pub lane: Lane,
    /// What is known of where it runs, and where more is learnt.
    pub environment: EnvironmentSources,
    /// The user's own labels, shown on `vllm_probe_deployment_info` only.
    pub labels: BTreeMap<String, String>,
    /// Where its own metrics are read, for what else it was doing while it was probed.
    pub metrics: MetricsSource,
    /// What keeps bursts from it.
    pub guards: Guards,
    /// What probing it may cost.
    pub budget: Budget,
    /// How much of a change is borne before it is a verdict.
    pub tolerances: Tolerances,
}

impl Deployment {
    /// A deployment of which nothing is known but where it is, in a lane of its own.
    pub fn new(name: &str, endpoint: Endpoint) -> Self {
        Self {
            name: DeploymentName::new(name),
            endpoint,
            model: None,
            family: None,
            precision: None,
            lane: Lane::new(name),
            environment: EnvironmentSources::default(),
            labels: BTreeMap::new(),
            metrics: MetricsSource::default(),
            guards: Guards::default(),
            budget: Budget::default(),
            tolerances: Tolerances::default(),
        }
    }
}

/// Where it is learnt what a deployment runs on, beside what its server tells by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentSources {
    /// The operator's own words.
    pub declared: BTreeMap<EnvironmentField, String>,
    /// Whether the server is asked for `/v1/models` and `/server_info` at every run.
    pub from_server: bool,
    /// Labels on other Prometheus pages.
    pub from_metrics: Vec<ExporterPage>,
    /// A file with a `field: value` in each line.
    pub from_file: Option<PathBuf>,
    /// A program and its arguments, whose output is such a file.
    pub from_command: Option<Vec<String>>,
    /// The index of the GPU on this machine, as NVIDIA's management library counts.
    pub nvml: Option<u32>,
}

impl Default for EnvironmentSources {
    fn default() -> Self {
        Self {
            declared: BTreeMap::new(),
            from_server: true,
            from_metrics: Vec::new(),
            from_file: None,
            from_command: None,
            nvml: None,
        }
    }
}

/// A series on a Prometheus page, such as a DCGM exporter's, whose labels tell of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterPage {
    /// Where the page is.
    pub url: Url,
    /// The name of the series.
    pub metric: String,
    /// What its labels must be, to find the one of this GPU.
    pub matching: BTreeMap<String, String>,
    /// Which label tells which field.
    pub take: BTreeMap<EnvironmentField, String>,
}

/// Where a server's own metrics are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MetricsSource {
    /// At `/metrics` below the server's root.
    #[default]
    Own,
    /// At another address, without anything that lets us in at the server.
    At(Url),
    /// Nowhere: behind the base URL there are several servers, or it shows no metrics.
    Off,
}
