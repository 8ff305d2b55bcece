//! The `workloads` section: what is replayed. Numbers that are left out are the reference benchmark's.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::extra_body::read_extra_body;
use super::field::Field;
use super::named::Named;
use super::section::Section;
use super::source::{Fault, read_text};
use super::validity::read_validity;
use super::values;
use crate::validity::Validity;
use crate::workload::{Expectation, Limits, PrefixCache, Workload, WorkloadName};

pub(super) const FIELDS: &[&str] = &[
    "requests",
    "concurrency",
    "max_tokens",
    "min_tokens",
    "temperature",
    "prompt",
    "prompt_file",
    "warmup",
    "stream",
    "ignore_eos",
    "prefix_cache",
    "chat_template_kwargs",
    "priority",
    "extra_body",
    "expect",
    "validity",
    "timeouts",
    "max_body",
];
pub(super) const TIMEOUT_FIELDS: &[&str] = &["connect", "first_token", "stall", "total", "run"];

/// The most bytes of a prompt: about a quarter of a million tokens.
const PROMPT_BYTES: u64 = 1 << 20;

pub(super) fn read_workloads(field: &Field<'_>, directory: &Path) -> Named<Arc<Workload>> {
    Named::read(field, |name, field| {
        read_workload(name, field, directory).map(Arc::new)
    })
}

fn read_workload(name: &str, field: &Field<'_>, directory: &Path) -> Option<Workload> {
    let section = Section::of(field, FIELDS);
    let mut workload = Workload::reference("");
    workload.name = WorkloadName::new(name);
    read_numbers(&section, &mut workload);
    if let Some(stream) = section.get("stream").and_then(|field| field.flag()) {
        workload.stream = stream;
    }
    if let Some(ignore) = section.get("ignore_eos").and_then(|field| field.flag()) {
        workload.ignore_eos = ignore;
    }
    if let Some(cache) = section.get("prefix_cache").and_then(|field| {
        let modes = [PrefixCache::Warm, PrefixCache::Cold, PrefixCache::PerRun];
        field.choice(&modes.map(|mode| (mode.label(), mode)))
    }) {
        workload.prefix_cache = cache;
    }
    if let Some(expect) = section.get("expect").and_then(|field| {
        field.choice(&[
            ("full_length", Expectation::FullLength),
            ("any_length", Expectation::AnyLength),
        ])
    }) {
        workload.expect = expect;
    }
    if let Some(field) = section.get("chat_template_kwargs") {
        let variables = field.entries().into_iter();
        let variables = variables.map(|(key, value)| (key.name.to_owned(), value.json()));
        workload.chat_template_kwargs = Some(variables.collect());
    }
    workload.priority = section
        .get("priority")
        .and_then(|field| field.whole(i32::MIN.into()..=i32::MAX.into()));
    if let Some(field) = section.get("extra_body") {
        workload.extra_body = read_extra_body(&field);
    }
    // Which defaults hold depends on how heavy the run is, so the numbers come first.
    workload.validity = if workload.is_light() {
        Validity::of_light_run()
    } else {
        Validity::default()
    };
    if let Some(field) = section.get("validity") {
        workload.validity = read_validity(&field, workload.validity);
    }
    workload.limits = read_limits(&section);
    workload.prompt = read_prompt(&section, directory)?.into();
    Some(workload)
}

fn read_numbers(section: &Section<'_>, workload: &mut Workload) {
    // `None` is a number that had a mistake of its own, and is compared with nothing.
    let whole = |name, default, range| -> Option<u32> {
        section
            .get(name)
            .map_or(Some(default), |field| field.whole(range))
    };
    let requests = whole("requests", workload.requests, 1..=100_000);
    let concurrency = whole("concurrency", workload.concurrency, 1..=4096);
    let max_tokens = whole("max_tokens", workload.max_tokens, 1..=1_000_000);
    let min_tokens = section
        .get("min_tokens")
        .and_then(|field| field.whole(1..=1_000_000));
    let warmup = whole("warmup", workload.warmup, 0..=100_000);
    let temperature = section
        .get("temperature")
        .and_then(|field| field.number(0.0..=2.0));

    if let (Some(concurrency), Some(requests)) = (concurrency, requests)
        && concurrency > requests
    {
        let (given, other) = (section.get("concurrency"), section.get("requests"));
        let default = |field: &Option<_>| if field.is_none() { "the default " } else { "" };
        let message = format!(
            "{}concurrency {concurrency} is larger than {}requests {requests}",
            default(&given),
            default(&other)
        );
        given
            .or(other)
            .unwrap_or_else(|| section.whole.clone())
            .mistake(
                message,
                format!(
                    "write `concurrency: {requests}` or less, or `requests: {concurrency}` or more"
                ),
            );
    }
    if let (Some(min_tokens), Some(max_tokens)) = (min_tokens, max_tokens)
        && let Some(field) = section.get("min_tokens")
        && min_tokens > max_tokens
    {
        field.mistake(
            format!("min_tokens {min_tokens} is larger than max_tokens {max_tokens}"),
            format!("write `min_tokens: {max_tokens}` or less"),
        );
    }
    workload.requests = requests.unwrap_or(workload.requests);
    workload.concurrency = concurrency.unwrap_or(workload.concurrency);
    workload.max_tokens = max_tokens.unwrap_or(workload.max_tokens);
    workload.min_tokens = min_tokens;
    workload.warmup = warmup.unwrap_or(workload.warmup);
    workload.temperature = temperature.unwrap_or(workload.temperature);
}

fn read_limits(section: &Section<'_>) -> Limits {
    let mut limits = Limits::default();
    if let Some(size) = section
        .get("max_body")
        .and_then(|field| field.parsed(values::bytes))
    {
        limits.body_bytes = size;
    }
    match section.get("timeouts") {
        Some(field) => read_timeouts(&field).over(limits),
        None => limits,
    }
}

/// Timeouts as far as they are given.
#[derive(Clone, Copy)]
pub(super) struct Timeouts {
    connect: Option<Duration>,
    first_token: Option<Duration>,
    stall: Option<Duration>,
    total: Option<Duration>,
    run: Option<Duration>,
}

impl Timeouts {
    /// `limits` with these in their places.
    pub(super) fn over(self, limits: Limits) -> Limits {
        Limits {
            connect: self.connect.unwrap_or(limits.connect),
            first_token: self.first_token.unwrap_or(limits.first_token),
            stall: self.stall.unwrap_or(limits.stall),
            total: self.total.unwrap_or(limits.total),
            run: self.run.unwrap_or(limits.run),
            ..limits
        }
    }
}

/// The `timeouts` of a workload, or of a deployment.
pub(super) fn read_timeouts(field: &Field<'_>) -> Timeouts {
    let section = Section::of(field, TIMEOUT_FIELDS);
    let time = |name| section.get(name)?.parsed(values::some_time);
    Timeouts {
        connect: time("connect"),
        first_token: time("first_token"),
        stall: time("stall"),
        total: time("total"),
        run: time("run"),
    }
}

fn read_prompt(section: &Section<'_>, directory: &Path) -> Option<String> {
    let (name, field) = section.exactly_one(
        &["prompt", "prompt_file"],
        "prompt_file: prompts/reference.txt",
    )?;
    field.parsed(|text| {
        if name == "prompt" {
            return not_blank(text, "the prompt");
        }
        let file = directory.join(text);
        let prompt = read_text(&file, PROMPT_BYTES)?;
        field.is_also_in(&file, &prompt);
        not_blank(
            without_last_newline(&prompt),
            &format!("the prompt file `{}`", file.display()),
        )
    })
}

/// Editors end a file with a newline that is no part of the prompt: one is taken off, and no more.
fn without_last_newline(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn not_blank(prompt: &str, what: &str) -> Result<String, Fault> {
    if prompt.trim().is_empty() {
        return Err(Fault::new(
            format!("{what} is empty"),
            "write what the model is asked into it",
        ));
    }
    Ok(prompt.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_newline_is_taken_off() {
        for (file, prompt) in [
            ("a", "a"),
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("a \n", "a "),
        ] {
            assert_eq!(without_last_newline(file), prompt);
        }
    }
}
