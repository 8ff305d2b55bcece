//! Turns a configuration file into domain values, or into the full list of its mistakes.
//!
//! Reading goes in two steps. The text becomes a tree that knows where everything stands
//! (`document`); then each section takes its fields out of the tree and goes on after a
//! mistake (`field`), so that one start shows all of them. What is returned holds no string that still
//! needs interpreting.

use std::path::Path;
use std::sync::Arc;

use crate::deployment::Deployment;
use crate::discovery::source::Source;
use crate::target::Targets;
use crate::workload::Workload;

pub use self::contents::Contents;
pub use self::discovered::{DeploymentSource, Found, MOST_TARGETS, Remark};
pub use self::finding::{Finding, Mistakes, Severity};
pub use self::global::{Buckets, Global};
pub use self::probes::Probe;
pub use self::target_files::TargetFiles;
pub use self::web::WebConfig;

use self::deployments::{Definitions, ReadDeployment, read_deployments};
use self::document::Node;
use self::field::Field;
use self::global::{ReadGlobal, read_global};
use self::named::Named;
use self::notes::Notes;
use self::section::Section;
use self::sources::read_sources;

mod addresses;
mod auths;
mod budgets;
mod contents;
mod deployments;
mod discovered;
mod document;
mod environment;
mod extra_body;
mod feasibility;
mod field;
pub(crate) mod finding;
mod global;
mod guards;
pub(crate) mod likeness;
mod named;
mod notes;
mod probe_targets;
mod probes;
mod relabelling;
mod routes;
mod secrets;
mod section;
pub(crate) mod source;
mod sources;
mod target_files;
pub mod targets;
mod template;
mod tolerances;
mod validity;
mod values;
mod web;
mod web_tls;
mod workloads;

const FIELDS: &[&str] = &[
    "global",
    "auths",
    "workloads",
    "probe",
    "deployments",
    "deployments_from",
];

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Config {
    /// What holds for the whole process.
    pub global: Global,
    /// Every defined workload, probed or not, in the order of the file.
    pub workloads: Vec<Arc<Workload>>,
    /// Whom to probe, in the order of the file, each with at least one probe. There is at least one, or a list that may
    /// tell of some.
    pub deployments: Vec<ProbedDeployment>,
    /// Which lists tell whom else to probe, in the order of the file.
    pub sources: Vec<DeploymentSource>,
    /// What `/probe` may use beside them.
    pub targets: Targets,
    /// What can be used and is unlikely to be meant, in the order of the file.
    pub warnings: Vec<Finding>,
    /// The file as written, fit to be shown: whatever looks like a secret is starred out.
    pub text: String,
    /// What was in the file, and in the prompts that it names: with other contents it is another configuration. Secrets and
    /// certificates are read anew for every run, and are not among them.
    pub contents: Contents,
}

/// A deployment and its probes.
#[derive(Clone, Debug)]
pub struct ProbedDeployment {
    /// Whom to probe.
    pub deployment: Arc<Deployment>,
    /// With what and when; no workload twice.
    pub probes: Vec<Probe>,
}

impl Config {
    /// Reads the file at `path`, and the prompts, tokens and certificates that it names; their relative
    /// paths start at the file's directory.
    ///
    /// # Errors
    ///
    /// Returns every mistake in the file, each with its place and its mend, together with the warnings.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        let source = source::Source::read(path)
            .map_err(|fault| Mistakes::only(&source::Source::unread(path), None, fault))?;
        let root = document::parse(&source.text)
            .map_err(|(place, fault)| Mistakes::only(&source, place, fault))?;
        let notes = Notes::new(&source);
        let directory = path.parent().unwrap_or(Path::new(""));
        let Read {
            global,
            workloads,
            targets,
            deployments,
            sources,
        } = read(&notes, &root, directory);
        notes.read(path, &source.text);
        let contents = notes.contents();
        let findings = notes.into_findings();
        if findings
            .iter()
            .any(|found| found.severity() == Severity::Mistake)
        {
            return Err(Mistakes(findings));
        }
        Ok(Self {
            global,
            workloads,
            deployments,
            targets,
            sources,
            warnings: findings,
            text: source.masked(),
            contents,
        })
    }
}

/// A list in files, as the files are now.
#[derive(Debug)]
pub struct Listed<'a> {
    /// Which list.
    pub list: &'a DeploymentSource,
    /// What is in its files, and what is wrong with them.
    pub files: TargetFiles,
    /// What its targets come to.
    pub found: Found,
}

impl Config {
    /// Reads the lists that are in files, for those who cannot ask servers for theirs or wait for them to change.
    pub fn listed_in_files(&self) -> Vec<Listed<'_>> {
        let written = self.deployments.iter();
        let mut taken = written
            .map(|probed| probed.deployment.name.clone())
            .collect();
        let listed = self.sources.iter().filter_map(|list| {
            let Source::Files(source) = &list.source else {
                return None;
            };
            let files = TargetFiles::read(&source.patterns, &TargetFiles::default());
            let found = list.find(&files.targets(), &mut taken);
            Some(Listed { list, files, found })
        });
        listed.collect()
    }
}

/// The configuration as far as it can be read.
#[derive(Default)]
struct Read {
    global: Global,
    workloads: Vec<Arc<Workload>>,
    targets: Targets,
    deployments: Vec<ProbedDeployment>,
    sources: Vec<DeploymentSource>,
}

/// Reads it; it is complete if `notes` has no mistake in the end.
fn read(notes: &Notes<'_>, root: &Node, directory: &Path) -> Read {
    let root = Field::root(notes, root);
    if root.is_empty() {
        notes.add_whole(
            "the configuration is empty",
            "begin with `workloads:` and `deployments:`; `config/minimal.yaml` is the least that works",
        );
        return Read::default();
    }
    let section = Section::of(&root, FIELDS);
    let ReadGlobal {
        global,
        defaults,
        budget,
    } = section
        .get("global")
        .map(|field| read_global(&field))
        .unwrap_or_default();
    let auths = section
        .get("auths")
        .map_or_else(Named::default, |field| auths::read_auths(&field, directory));
    let workloads = section
        .require(
            "workloads",
            "{ reference: { prompt_file: prompts/reference.txt } }",
        )
        .map_or_else(Named::default, |field| {
            workloads::read_workloads(&field, directory)
        });
    let allowed = section
        .get("probe")
        .map(|field| probe_targets::read_probe(&field, &auths, directory));
    let definitions = Definitions {
        auths: &auths,
        workloads: &workloads,
        defaults: &defaults,
        directory,
    };
    let lists = section.get("deployments_from");
    let written = match lists {
        Some(_) => section.get("deployments"),
        None => section.require(
            "deployments",
            "[{ name: …, base_url: …, probes: [{ workload: reference, every: 15m }] }]",
        ),
    };
    let deployments = written
        .map(|field| read_deployments(&field, &definitions, lists.is_some()))
        .unwrap_or_default();
    let sources = lists
        .map(|field| read_sources(&field, &definitions))
        .unwrap_or_default();
    feasibility::warn_if_overcommitted(&deployments, &global);
    feasibility::warn_if_over_budget(&deployments, &budget);
    let deployments = deployments
        .into_iter()
        .map(ProbedDeployment::from)
        .collect();
    let workloads: Vec<_> = workloads.into_values().collect();
    Read {
        global,
        targets: Targets {
            workloads: workloads.clone(),
            allowed: allowed.unwrap_or_default(),
        },
        workloads,
        deployments,
        sources,
    }
}

impl From<ReadDeployment<'_>> for ProbedDeployment {
    fn from(read: ReadDeployment<'_>) -> Self {
        Self {
            deployment: Arc::new(read.deployment),
            probes: read.probes.into_iter().map(|read| read.probe).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_names_every_field() {
        let documentation = include_str!("../docs/configuration.md");
        let sections = [
            FIELDS,
            global::FIELDS,
            global::BUCKET_FIELDS,
            auths::FIELDS,
            auths::OAUTH2_FIELDS,
            auths::HEADER_FIELDS,
            secrets::LOGIN_FIELDS,
            routes::TLS_FIELDS,
            workloads::FIELDS,
            workloads::TIMEOUT_FIELDS,
            validity::FIELDS,
            guards::FIELDS,
            budgets::FIELDS,
            tolerances::FIELDS,
            deployments::FIELDS,
            sources::FIELDS,
            sources::FILE_FIELDS,
            sources::HTTP_FIELDS,
            relabelling::FIELDS,
            environment::FIELDS,
            environment::METRICS_FIELDS,
            probe_targets::FIELDS,
            probe_targets::TARGET_FIELDS,
            probes::FIELDS,
            probes::BLACKOUT_FIELDS,
        ];
        for field in sections.concat() {
            // Those of the way to a token endpoint stand in one row.
            let rows = [
                format!("| `{field}` |"),
                format!("| `{field}`, "),
                format!(", `{field}`, "),
            ];
            assert!(
                rows.iter().any(|row| documentation.contains(row)),
                "{field}"
            );
        }
    }
    #[test]
    fn the_documentation_gives_the_default_buckets() {
        let documentation = include_str!("../docs/configuration.md");
        let Buckets { e2e, ttft, tpot } = Buckets::default();
        for (name, bounds) in [("e2e", e2e), ("ttft", ttft), ("tpot", tpot)] {
            let bounds: Vec<_> = bounds.iter().map(f64::to_string).collect();
            let row = format!("| `{name}` | `[{}]` |", bounds.join(", "));
            assert!(documentation.contains(&row), "{row}");
        }
    }
}
