//! The `deployments_from` section: lists that tell whom to probe, and what every deployment of a list has.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::addresses;
use super::deployments::{Definitions, plaintext};
use super::discovered::DeploymentSource;
use super::field::Field;
use super::relabelling::read_rules;
use super::routes::read_route;
use super::section::Section;
use super::source::Fault;
use super::template::{read_own_probes, read_template, with_template_fields};
use super::values;
use crate::discovery::source::{FilePattern, FileSource, HttpSource, Source};

pub(super) const FIELDS: &[&str] = with_template_fields!["file_sd", "http_sd", "relabel_configs"];
pub(super) const FILE_FIELDS: &[&str] = &["files", "refresh_interval"];
pub(super) const HTTP_FIELDS: &[&str] = &[
    "url",
    "refresh_interval",
    "auth",
    "tls_config",
    "proxy_url",
    "proxy_auth",
    "preferred_ip_protocol",
    "ip_protocol_fallback",
];

/// The intervals that Prometheus has for these.
const FILE_REFRESH: Duration = Duration::from_secs(5 * 60);
const HTTP_REFRESH: Duration = Duration::from_secs(60);

/// Reads the section.
pub(super) fn read_sources(
    field: &Field<'_>,
    definitions: &Definitions<'_>,
) -> Vec<DeploymentSource> {
    let auths = definitions.auths.entries();
    let auths: Arc<BTreeMap<_, _>> = Arc::new(
        auths
            .map(|(name, auth)| (name.to_owned(), auth.clone()))
            .collect(),
    );
    let items = field.items();
    if items.is_empty() {
        field.mistake(
            "there is no list to read",
            "add one, as in `- { file_sd: { files: [targets/*.yml] }, probes: [{ workload: …, every: 15m }] }`, \
             or delete `deployments_from`",
        );
    }
    let mut names = BTreeSet::new();
    let read = items.iter().filter_map(|field| {
        let section = Section::of(field, FIELDS);
        let source = read_source(&section, definitions);
        let rules = section
            .get("relabel_configs")
            .map(|field| read_rules(&field));
        let (template, _) = read_template(&section, None, definitions);
        let probes = read_own_probes(&section, "", definitions)?;
        let source = source?;
        Some(DeploymentSource {
            name: name_of_its_own(&source, &mut names),
            source,
            rules: rules.unwrap_or_default(),
            template,
            probes: probes.into_iter().map(|read| read.probe).collect(),
            auths: Arc::clone(&auths),
        })
    });
    read.collect()
}

/// The name of `source`, with a number behind it if another one has that name.
fn name_of_its_own(source: &Source, names: &mut BTreeSet<String>) -> String {
    let name = source.name();
    let numbered = |n: usize| match n {
        1 => name.clone(),
        n => format!("{name} #{n}"),
    };
    let free = (1..).map(numbered).find(|name| !names.contains(name));
    let free = free.unwrap_or_else(|| name.clone());
    names.insert(free.clone());
    free
}

fn read_source(section: &Section<'_>, definitions: &Definitions<'_>) -> Option<Source> {
    let (name, field) = section.exactly_one(
        &["file_sd", "http_sd"],
        "file_sd: { files: [targets/*.yml] }",
    )?;
    if name == "file_sd" {
        read_files(&field, definitions.directory).map(Source::Files)
    } else {
        read_http(&field, definitions).map(|http| Source::Http(Box::new(http)))
    }
}

fn read_files(field: &Field<'_>, directory: &Path) -> Option<FileSource> {
    let section = Section::of(field, FILE_FIELDS);
    let refresh_interval = read_refresh(&section, FILE_REFRESH);
    let files = section.require("files", "[targets/*.yml]")?;
    let items = files.items();
    if files.is_empty() {
        files.mistake(
            "there is no file to read",
            "name one, as in `[targets/*.yml]`",
        );
    }
    let patterns: Vec<FilePattern> = items
        .iter()
        .filter_map(|field| field.parsed(|text| pattern(directory, text)))
        .collect();
    (!patterns.is_empty() && patterns.len() == items.len()).then_some(FileSource {
        patterns,
        refresh_interval,
    })
}

/// A path whose last part may have wildcards in it.
fn pattern(directory: &Path, text: &str) -> Result<FilePattern, Fault> {
    let example = "write a path such as `targets/vllm.yml` or `targets/*.json`";
    let path = directory.join(text);
    let name = path.file_name().and_then(|name| name.to_str());
    let extension = path.extension().and_then(|end| end.to_str());
    let is_list = |end: &str| ["json", "yml", "yaml"].contains(&end.to_lowercase().as_str());
    let Some(name) = name.filter(|_| extension.is_some_and(is_list)) else {
        return Err(Fault::new(
            format!("`{text}` does not end in `.json`, `.yml` or `.yaml`"),
            example,
        ));
    };
    let directory = path.parent().unwrap_or(Path::new(""));
    if directory.to_string_lossy().contains('*') {
        return Err(Fault::new(
            format!("`{text}` has a `*` in the name of a directory"),
            "write it in the name of the file only, as in `targets/*.json`",
        ));
    }
    // Two stars mean what one means.
    let mut name = name.to_owned();
    while name.contains("**") {
        name = name.replace("**", "*");
    }
    glob::Pattern::new(&name).map_err(|error| {
        let message = format!("`{text}` is no pattern: {}", error.msg);
        Fault::new(message, example)
    })?;
    Ok(FilePattern {
        written: text.to_owned(),
        directory: directory.to_owned(),
        name,
    })
}

fn read_http(field: &Field<'_>, definitions: &Definitions<'_>) -> Option<HttpSource> {
    let section = Section::of(field, HTTP_FIELDS);
    let refresh_interval = read_refresh(&section, HTTP_REFRESH);
    let address = section
        .require("url", "https://inventory/vllm-targets")
        .and_then(|field| Some((field.parsed(addresses::list_url)?, field)));
    let to = address.as_ref().map(|(url, field)| (field, url));
    let route = read_route(&section, to, definitions.directory);
    let auth = section
        .get("auth")
        .and_then(|field| definitions.auths.resolve(&field, "auth").cloned())
        .unwrap_or_default();
    let (url, place) = address?;
    if let Some(fault) = plaintext(&url, &auth) {
        place.warning(fault.message, fault.mend);
    }
    Some(HttpSource {
        url,
        refresh_interval,
        auth,
        route,
    })
}

fn read_refresh(section: &Section<'_>, default: Duration) -> Duration {
    let refresh = |text: &str| match values::duration(text)? {
        short if short < Duration::from_secs(1) => Err(Fault::new(
            format!("`{text}` is shorter than a second"),
            "write a longer interval, such as `1m`",
        )),
        refresh => Ok(refresh),
    };
    section
        .get("refresh_interval")
        .and_then(|field| field.parsed(refresh))
        .unwrap_or(default)
}
