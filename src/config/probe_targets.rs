//! The `probe` section: which addresses `/probe` may be asked for beside the configured deployments.

use std::path::Path;

use super::field::Field;
use super::named::Named;
use super::routes::certificates;
use super::section::Section;
use super::source::Fault;
use super::values;
use crate::discovery::pattern::Pattern;
use crate::endpoint::Auth;
use crate::reach::AddressRange;
use crate::target::AllowedTargets;

pub(super) const FIELDS: &[&str] = &["targets"];
pub(super) const TARGET_FIELDS: &[&str] = &["url", "auth", "ca_file", "lane", "local_addresses"];

/// Addresses that nobody means to allow: a pattern that matches them matches everything.
const ANYONE: [&str; 2] = ["http://anyone.example", "https://anyone.example:8000"];

pub(super) fn read_probe(
    field: &Field<'_>,
    auths: &Named<Auth>,
    directory: &Path,
) -> Vec<AllowedTargets> {
    let section = Section::of(field, FIELDS);
    let Some(targets) = section.require("targets", "[{ url: 'http://gpu-[0-9]+:8000' }]") else {
        return Vec::new();
    };
    let entries = targets.items().into_iter();
    entries
        .filter_map(|field| read_target(&field, auths, directory))
        .collect()
}

fn read_target(field: &Field<'_>, auths: &Named<Auth>, directory: &Path) -> Option<AllowedTargets> {
    let section = Section::of(field, TARGET_FIELDS);
    let url = section
        .require("url", "'http://gpu-[0-9]+:8000'")
        .and_then(|field| Some((field.parsed(pattern)?, field)));
    let auth = section
        .get("auth")
        .and_then(|field| auths.resolve(&field, "auth").cloned());
    let ca_file = section
        .get("ca_file")
        .and_then(|field| field.parsed(|path| certificates(&directory.join(path))));
    let lane = section
        .get("lane")
        .and_then(|field| field.parsed(values::name));
    let local_addresses = section.get("local_addresses").map(|field| {
        let items = field.items().into_iter();
        items
            .filter_map(|item| item.parsed(address_range))
            .collect()
    });
    let (url, written) = url?;
    if ANYONE.iter().any(|anyone| url.matches(anyone)) {
        written.warning(
            "this allows every address: whoever reaches `/probe` can have requests sent anywhere",
            "name the hosts, as in `http://gpu-[0-9]+:8000`",
        );
    }
    let auth = auth.unwrap_or_default();
    let is_encrypted = written
        .text()
        .is_some_and(|text| text.starts_with("https://"));
    if auth.is_secret() && !is_encrypted {
        written.warning(
            "what `auth` names crosses the network unencrypted if the target is an `http` one",
            "begin the pattern with `https://`, or make sure that nobody else is on this network",
        );
    }
    Some(AllowedTargets {
        url,
        auth,
        ca_file,
        lane,
        local_addresses: local_addresses.unwrap_or_default(),
    })
}

/// A regular expression that a whole base URL has to match.
fn pattern(text: &str) -> Result<Pattern, Fault> {
    if text.is_empty() {
        return Err(Fault::new(
            "the pattern is empty, and matches nothing",
            "write a regular expression for base URLs, such as `http://gpu-[0-9]+:8000`",
        ));
    }
    Pattern::new(text).map_err(|problem| {
        Fault::new(
            format!("the regular expression cannot be read: {problem}"),
            "write one as Prometheus takes them, such as `http://gpu-[0-9]+:8000`",
        )
    })
}

fn address_range(text: &str) -> Result<AddressRange, Fault> {
    text.parse().map_err(|problem| {
        Fault::new(
            format!("`{text}` is no address or range: {problem}"),
            "write an address such as `127.0.0.1`, or a range such as `127.0.0.0/8`",
        )
    })
}
