//! Whom `compare` and `report` tell of: the deployments of a family with their runs from the history, or the runs of
//! files.

mod files;
mod stored;

use std::path::{Path, PathBuf};

use clap::Args;

pub(super) use self::files::LabelledFile;
use crate::comparison::{NotCompared, SideBySide};
use crate::history::Subject;

/// Where `serve` looks for its configuration too.
const DEFAULT_CONFIG: &str = "config/prober.yaml";

/// What `compare` and `report` are told alike.
#[derive(Args, Debug)]
pub(super) struct FamilyArgs {
    /// Compare the runs of these files, not those of the history: this program's JSON, results of `vllm bench
    /// serve` and of the reference's script. Several of one precision and model make one row. The precision may
    /// stand before a file, as in fp8=result.json
    #[arg(value_name = "[PRECISION=]FILE")]
    files: Vec<LabelledFile>,
    /// The directory of the history, as `serve` has it
    #[arg(
        long = "storage.path",
        default_value = "data",
        value_name = "DIRECTORY"
    )]
    storage_path: PathBuf,
    /// The configuration that says which deployments are a family [default: config/prober.yaml, if there is one]
    #[arg(long = "config.file", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Compare the deployments of this family; may be left out when there is one
    #[arg(long, value_name = "NAME", conflicts_with_all = ["deployment", "files"])]
    family: Option<String>,
    /// Compare these deployments, whatever their family
    #[arg(long, value_name = "NAME", conflicts_with = "files")]
    deployment: Vec<String>,
    /// Compare by this workload; may be left out when there is one beside light ones
    #[arg(long, value_name = "NAME", conflicts_with = "files")]
    workload: Option<String>,
    /// The precision, deployment or model that others are compared with [default: the widest precision]
    #[arg(long, value_name = "NAME")]
    reference: Option<String>,
}

/// Everyone there is to compare.
#[derive(Debug)]
pub(super) struct Gathered {
    /// Of whom: the family's name, or else words that stand for it.
    pub(super) title: String,
    /// The workload's name; absent for files.
    pub(super) workload: Option<String>,
    /// Each with at least one run.
    pub(super) subjects: Vec<Subject>,
    /// What is to be said beside the figures.
    pub(super) notes: Vec<String>,
}

impl FamilyArgs {
    /// Reads the runs.
    ///
    /// # Errors
    /// With the place and the mend, when there are none or they cannot be read.
    pub(super) async fn gather(&self) -> Result<Gathered, String> {
        if self.files.is_empty() {
            self.gather_stored().await
        } else {
            files::gather(&self.files)
        }
    }

    /// Where the configuration is, if there is one.
    fn config(&self) -> Option<&Path> {
        let usual = Path::new(DEFAULT_CONFIG);
        self.config_file
            .as_deref()
            .or_else(|| usual.exists().then_some(usual))
    }
}

impl Gathered {
    /// Compares them.
    ///
    /// # Errors
    /// When there is none that is called as the reference is to be.
    pub(super) fn compare(&self, args: &FamilyArgs) -> Result<SideBySide, String> {
        let contestants = self
            .subjects
            .iter()
            .map(|subject| subject.contestant.clone());
        let compared = SideBySide::of(contestants.collect(), args.reference.as_deref());
        let mut table = compared.map_err(|error| match error {
            NotCompared::Reference { .. } => format!("--reference: {error}"),
            NotCompared::Empty => error.to_string(),
        })?;
        table.notes.extend(self.notes.iter().cloned());
        Ok(table)
    }
}
