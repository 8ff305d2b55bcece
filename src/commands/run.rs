//! `run`: one run now, with the flags of the reference benchmark's script.

mod progress;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use url::Url;

use super::signal;
use crate::deployment::Deployment;
use crate::endpoint::{Auth, Endpoint, SecretSource};
use crate::guard::Guards;
use crate::measurement::Run;
use crate::report::{RunJson, table, vllm_bench};
use crate::runner::{Attempt, Progress, measure};
use crate::statistics::{Summary, summarize};
use crate::workload::{Expectation, Limits, PrefixCache, Workload};

/// The run counts.
const VALID: u8 = 0;
/// The run does not count; its reasons are in the table and in the JSON.
const INVALID: u8 = 1;
/// No run came about.
const COULD_NOT_RUN: u8 = 2;

/// The prompt that is used when no other is given.
const REFERENCE_PROMPT: &str = include_str!("../../config/prompts/reference.txt");

/// The reference's prompt, without the newline at the end of its file.
pub(super) fn reference_prompt() -> &'static str {
    REFERENCE_PROMPT
        .strip_suffix('\n')
        .unwrap_or(REFERENCE_PROMPT)
}

/// What the `run` command is told.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  vllm-prober run --base-url http://127.0.0.1:8000 --out result.json\n\n\
    Exit status: 0 the run is valid, 1 it is invalid, 2 there was no run."
)]
pub struct RunArgs {
    /// The server's root, with or without /v1
    // Read by `base_url` rather than by the parser of flags, which repeats what it refuses, password and all.
    #[arg(long, value_name = "URL")]
    base_url: String,
    /// The served model's name [default: the one model that the server serves]
    #[arg(long)]
    model: Option<String>,
    /// Requests kept in flight
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: u32,
    /// Requests measured
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// Requests sent beforehand and left out of every figure
    #[arg(long, default_value_t = 0)]
    warmup: u32,
    /// Upper bound of each answer, in tokens
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: u32,
    /// Sampling temperature
    #[arg(long, default_value_t = 0.0, value_parser = temperature)]
    temperature: f64,
    /// Seconds that a request may take
    #[arg(long, default_value_t = 1200.0, value_parser = seconds)]
    timeout: f64,
    /// A file with the prompt [default: a built-in prompt of 110 tokens]
    #[arg(long)]
    prompt_file: Option<PathBuf>,
    /// Ask for whole answers instead of streams; then only the end-to-end latency is known
    #[arg(long)]
    no_stream: bool,
    /// Keep the model from ending its answer early (a vLLM extension)
    #[arg(long)]
    ignore_eos: bool,
    /// Accept answers that end before --max-tokens; by default they make the run invalid
    #[arg(long)]
    any_length: bool,
    /// How the server's prefix cache is met
    #[arg(long, value_enum, default_value_t = Cache::Warm)]
    prefix_cache: Cache,
    /// A file that holds the API key
    #[arg(long)]
    api_key_file: Option<PathBuf>,
    /// A PEM file whose certificates are trusted instead of the system's
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// Write the result as JSON to this file; - is standard output, and then nothing else goes there
    #[arg(long)]
    out: Option<PathBuf>,
    /// The schema of that JSON
    #[arg(long, value_enum, default_value_t = Format::Prober)]
    format: Format,
    /// Add every single request to that JSON
    #[arg(long)]
    save_detailed: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// This program's own schema
    Prober,
    /// The result file of `vllm bench serve`
    VllmBench,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Cache {
    /// Use whatever the cache holds
    Warm,
    /// A unique salt with each request: nothing matches
    Cold,
    /// One salt for the run
    PerRun,
}

/// Runs once and says how it went.
pub async fn run(args: RunArgs) -> ExitCode {
    match try_run(args).await {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("vllm-prober: {message}");
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

async fn try_run(args: RunArgs) -> Result<u8, String> {
    let base_url = base_url(&args.base_url).map_err(|why| format!("--base-url: {why}"))?;
    let deployment = Arc::new(args.deployment(&base_url));
    let workload = Arc::new(args.workload()?);
    let progress = Arc::new(Progress::default());
    let stop = signal::stop_token();

    let shown = progress::show(&progress, workload.requests, stop.clone());
    let attempt = Attempt::new(Arc::clone(&deployment), Arc::clone(&workload));
    let run = measure(attempt, progress, stop.clone()).await;
    stop.cancel();
    let _ = shown.await;
    let run = run.map_err(|error| error.to_string())?;

    let summary = summarize(&run, &workload);
    args.show(&deployment, &workload, &run, &summary)?;
    Ok(if summary.is_valid() { VALID } else { INVALID })
}

impl RunArgs {
    fn deployment(&self, base_url: &Url) -> Deployment {
        let mut endpoint = Endpoint::new(base_url.clone());
        if let Some(file) = &self.api_key_file {
            endpoint.auth = Auth::bearer(SecretSource::File(file.clone()));
        }
        endpoint.route.tls.ca_file = self.ca_file.clone();
        Deployment {
            model: self.model.clone(),
            // Someone asks for a run now, and is told afterwards what else the server did.
            guards: Guards::off(),
            ..Deployment::new(base_url.authority(), endpoint)
        }
    }

    fn workload(&self) -> Result<Workload, String> {
        if self.concurrency > self.requests {
            return Err(format!(
                "--concurrency {} is more than --requests {}; there would never be that many in flight",
                self.concurrency, self.requests
            ));
        }
        let total = Duration::from_secs_f64(self.timeout);
        let limits = Limits::default();
        Ok(Workload {
            concurrency: self.concurrency,
            requests: self.requests,
            warmup: self.warmup,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            stream: !self.no_stream,
            ignore_eos: self.ignore_eos,
            prefix_cache: match self.prefix_cache {
                Cache::Warm => PrefixCache::Warm,
                Cache::Cold => PrefixCache::Cold,
                Cache::PerRun => PrefixCache::PerRun,
            },
            expect: if self.any_length {
                Expectation::AnyLength
            } else {
                Expectation::FullLength
            },
            // Someone is waiting: a run takes as long as its requests may.
            limits: Limits {
                total,
                run: total * self.requests.div_ceil(self.concurrency),
                ..limits
            },
            ..Workload::reference(self.prompt()?)
        })
    }

    fn prompt(&self) -> Result<String, String> {
        let Some(path) = &self.prompt_file else {
            return Ok(reference_prompt().to_owned());
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("--prompt-file {}: {error}", path.display()))?;
        let prompt = text.strip_suffix('\n').unwrap_or(&text);
        if prompt.trim().is_empty() {
            return Err(format!(
                "--prompt-file {}: the file is empty; write the prompt into it",
                path.display()
            ));
        }
        Ok(prompt.to_owned())
    }

    fn show(
        &self,
        deployment: &Deployment,
        workload: &Workload,
        run: &Run,
        summary: &Summary,
    ) -> Result<(), String> {
        let detailed = RunJson::new(deployment, workload, run, summary, true);
        let text = table::text(&detailed);
        let json = match self.format {
            Format::Prober => serde_json::to_string_pretty(&RunJson {
                request_records: detailed.request_records.filter(|_| self.save_detailed),
                ..detailed
            }),
            Format::VllmBench => serde_json::to_string_pretty(&vllm_bench::json(
                workload,
                run,
                summary,
                self.save_detailed,
            )),
        };
        let json = json.expect("strings and finite numbers are always JSON") + "\n";
        let mut stdout = std::io::stdout().lock();
        let written = match &self.out {
            Some(path) if path.as_os_str() == "-" => stdout.write_all(json.as_bytes()),
            Some(path) => {
                // The figures are on the screen even if the file cannot be written.
                let shown = stdout.write_all(text.as_bytes());
                std::fs::write(path, json)
                    .map_err(|error| format!("--out {}: {error}", path.display()))?;
                shown
            }
            None => stdout.write_all(text.as_bytes()),
        };
        written.map_err(|error| format!("standard output: {error}"))
    }
}

fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|error| format!("{error}; write it like http://127.0.0.1:8000"))?;
    match url.scheme() {
        "http" | "https"
            if url.query().is_none() && url.username().is_empty() && url.password().is_none() =>
        {
            Ok(url)
        }
        "http" | "https" => Err(
            "a base URL has neither credentials nor a query; a key belongs in --api-key-file"
                .into(),
        ),
        other => Err(format!(
            "{other} is not http or https; write it like http://127.0.0.1:8000"
        )),
    }
}

fn temperature(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value| (0.0..=2.0).contains(value))
        .ok_or_else(|| "a number from 0 to 2".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|value| (0.001..=1e6).contains(value));
    seconds.ok_or_else(|| "a number of seconds from 0.001 to 1000000".to_owned())
}
