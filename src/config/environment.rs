//! The `environment` of a deployment: what the operator knows of where it runs, and where more is learnt.

use std::collections::BTreeMap;
use std::path::Path;

use super::field::Field;
use super::section::Section;
use super::source::Fault;
use super::{addresses, values};
use crate::deployment::{EnvironmentSources, ExporterPage};
use crate::environment::EnvironmentField;

/// What may be declared, and may be taken from elsewhere. Precision is a field of the deployment itself, and what
/// the server alone can know is not declared.
pub(super) const DECLARED: &[EnvironmentField] = &[
    EnvironmentField::Quantization,
    EnvironmentField::ModelRevision,
    EnvironmentField::VllmVersion,
    EnvironmentField::Gpu,
    EnvironmentField::GpuCount,
    EnvironmentField::MigProfile,
    EnvironmentField::Driver,
    EnvironmentField::Cuda,
];

pub(super) const FIELDS: &[&str] = &[
    "quantization",
    "model_revision",
    "vllm_version",
    "gpu",
    "gpu_count",
    "mig_profile",
    "driver",
    "cuda",
    "from_server",
    "from_metrics",
    "from_file",
    "from_command",
    "nvml",
];
pub(super) const METRICS_FIELDS: &[&str] = &["url", "metric", "match", "take"];

pub(super) fn read_environment(field: &Field<'_>, directory: &Path) -> EnvironmentSources {
    let section = Section::of(field, FIELDS);
    let declared = DECLARED.iter().filter_map(|name| {
        let value = section.get(name.label())?.parsed(values::name)?;
        Some((*name, value))
    });
    EnvironmentSources {
        declared: declared.collect(),
        from_server: section
            .get("from_server")
            .and_then(|field| field.flag())
            .unwrap_or(true),
        from_metrics: section
            .get("from_metrics")
            .map(|field| read_pages(&field))
            .unwrap_or_default(),
        from_file: section
            .get("from_file")
            .and_then(|field| Some(directory.join(field.text()?))),
        from_command: section
            .get("from_command")
            .and_then(|field| read_command(&field)),
        nvml: section.get("nvml").and_then(|field| field.whole(0..=63)),
    }
}

fn read_pages(field: &Field<'_>) -> Vec<ExporterPage> {
    field.items().iter().filter_map(read_page).collect()
}

fn read_page(field: &Field<'_>) -> Option<ExporterPage> {
    let section = Section::of(field, METRICS_FIELDS);
    let url = section
        .require("url", "http://gpu-host:9400/metrics")
        .and_then(|field| field.parsed(addresses::page_url));
    let metric = section
        .require("metric", "DCGM_FI_DEV_SM_CLOCK")
        .and_then(|field| field.parsed(values::name));
    let matching = section.get("match").map(|field| read_match(&field));
    let take = section
        .require("take", "{ driver: DCGM_FI_DRIVER_VERSION }")
        .map(|field| read_take(&field));
    Some(ExporterPage {
        url: url?,
        metric: metric?,
        matching: matching.unwrap_or_default(),
        take: take?,
    })
}

fn read_match(field: &Field<'_>) -> BTreeMap<String, String> {
    let entries = field.entries().into_iter();
    entries
        .filter_map(|(key, value)| Some((key.name.to_owned(), value.text()?.to_owned())))
        .collect()
}

/// Which label tells which field.
fn read_take(field: &Field<'_>) -> BTreeMap<EnvironmentField, String> {
    let mut take = BTreeMap::new();
    for (key, value) in field.entries() {
        let named = DECLARED.iter().find(|field| field.label() == key.name);
        let label = value.parsed(values::name);
        match (named, label) {
            (Some(named), Some(label)) => _ = take.insert(*named, label),
            (None, _) => key.fault(Fault::new(
                format!(
                    "`{}` is no field of an environment that a page can tell",
                    key.name
                ),
                format!(
                    "write one of {}",
                    DECLARED
                        .iter()
                        .map(|field| field.label())
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            )),
            (_, None) => {}
        }
    }
    if take.is_empty() && field.entries().is_empty() {
        field.mistake(
            "nothing is taken from this page",
            "name a field and the label that tells it, as in `{ driver: DCGM_FI_DRIVER_VERSION }`",
        );
    }
    take
}

fn read_command(field: &Field<'_>) -> Option<Vec<String>> {
    let items = field.items();
    let words: Vec<String> = items
        .iter()
        .filter_map(|word| Some(word.text()?.to_owned()))
        .collect();
    if field.is_empty() {
        field.mistake(
            "the command is empty",
            "write a program and its arguments, as in `[/usr/local/bin/gpu-facts, --gpu, \"0\"]`",
        );
    }
    (!words.is_empty() && words.len() == items.len()).then_some(words)
}
