//! vLLM's `/metrics` page, from what a simulated engine counts.
//!
//! Names, help texts, labels, buckets and number formats are those of vLLM 0.13.0 under
//! `prometheus_client`; what is missing is Python's own (`python_*`) and the sizes and durations of
//! HTTP. Times are those that a client sees: with a speed-up of ten they are a tenth of the profile's.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use super::engine::Snapshot;
use super::profile::{BLOCK_TOKENS, Profile};
use super::python::number;
use super::stats::Histogram;

/// What the page says of the server itself.
#[derive(Debug)]
pub(super) struct Identity<'a> {
    pub(super) model: &'a str,
    pub(super) profile: &'a Profile,
    /// Seconds since the Unix epoch.
    pub(super) started: f64,
    pub(super) is_asleep: bool,
}

/// Answered requests by handler, method and class of status, such as `2xx`.
pub(super) type HttpRequests = BTreeMap<(&'static str, &'static str, &'static str), u64>;

/// The page as text.
pub(super) fn render(identity: &Identity<'_>, engine: &Snapshot, http: &HttpRequests) -> String {
    let model = identity
        .model
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    let mut page = Page {
        text: String::with_capacity(40_000),
        model,
        started: identity.started,
    };
    page.process();
    page.engine_state(engine, identity.is_asleep);
    page.engine_counters(engine);
    page.engine_histograms(engine);
    page.cache_config(identity.profile);
    page.http(http);
    page.text
}

struct Page {
    text: String,
    model: String,
    started: f64,
}

impl Page {
    fn process(&mut self) {
        if let Some(bytes) = resident_bytes() {
            self.family(
                "process_resident_memory_bytes",
                "gauge",
                "Resident memory size in bytes.",
            );
            self.sample("process_resident_memory_bytes", "", bytes);
        }
        let name = "process_start_time_seconds";
        self.family(
            name,
            "gauge",
            "Start time of the process since unix epoch in seconds.",
        );
        self.sample(name, "", self.started);
    }

    fn engine_state(&mut self, engine: &Snapshot, is_asleep: bool) {
        let labels = self.labels("");
        let mut gauge = |name: &str, help: &str, value: f64| {
            self.family(name, "gauge", help);
            self.sample(name, &labels, value);
        };
        gauge(
            "vllm:num_requests_running",
            "Number of requests in model execution batches.",
            engine.running as f64,
        );
        gauge(
            "vllm:num_requests_waiting",
            "Number of requests waiting to be processed.",
            engine.waiting as f64,
        );
        gauge(
            "vllm:kv_cache_usage_perc",
            "KV-cache usage. 1 means 100 percent usage.",
            engine.kv_cache_usage,
        );
        let name = "vllm:engine_sleep_state";
        self.family(
            name,
            "gauge",
            "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; \
             weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.",
        );
        let states = [
            ("awake", !is_asleep),
            ("weights_offloaded", is_asleep),
            ("discard_all", false),
        ];
        for (state, is_so) in states {
            let labels = format!("{},sleep_state=\"{state}\"", self.labels(""));
            self.sample(name, &labels, f64::from(u8::from(is_so)));
        }
    }

    fn engine_counters(&mut self, engine: &Snapshot) {
        let stats = &engine.stats;
        let no_labels = "";
        for (name, help, value) in [
            (
                "vllm:prefix_cache_queries",
                "Prefix cache queries, in terms of number of queried tokens.",
                stats.prefix_cache_queries,
            ),
            (
                "vllm:prefix_cache_hits",
                "Prefix cache hits, in terms of number of cached tokens.",
                stats.prefix_cache_hits,
            ),
            (
                "vllm:external_prefix_cache_queries",
                "External prefix cache queries from KV connector cross-instance cache sharing, in terms of \
                 number of queried tokens.",
                0,
            ),
            (
                "vllm:external_prefix_cache_hits",
                "External prefix cache hits from KV connector cross-instance cache sharing, in terms of \
                 number of cached tokens.",
                0,
            ),
            (
                "vllm:mm_cache_queries",
                "Multi-modal cache queries, in terms of number of queried items.",
                0,
            ),
            (
                "vllm:mm_cache_hits",
                "Multi-modal cache hits, in terms of number of cached items.",
                0,
            ),
            (
                "vllm:num_preemptions",
                "Cumulative number of preemption from the engine.",
                stats.preemptions,
            ),
            (
                "vllm:prompt_tokens",
                "Number of prefill tokens processed.",
                stats.prompt_tokens,
            ),
            (
                "vllm:generation_tokens",
                "Number of generation tokens processed.",
                stats.generation_tokens,
            ),
        ] {
            self.counter(name, help, &[(self.labels(no_labels), value)]);
        }
        let finishes = [
            ("stop", stats.stopped),
            ("length", stats.reached_length),
            ("abort", stats.aborted),
            ("error", 0),
        ];
        let samples = finishes.map(|(reason, count)| {
            (
                self.labels(&format!("finished_reason=\"{reason}\",")),
                count,
            )
        });
        self.counter(
            "vllm:request_success",
            "Count of successfully processed requests.",
            &samples,
        );
    }

    fn engine_histograms(&mut self, engine: &Snapshot) {
        let stats = &engine.stats;
        for (name, help, histogram) in [
            (
                "request_prompt_tokens",
                "Number of prefill tokens processed.",
                &stats.request_prompt_tokens,
            ),
            (
                "request_generation_tokens",
                "Number of generation tokens processed.",
                &stats.request_generation_tokens,
            ),
            (
                "iteration_tokens_total",
                "Histogram of number of tokens per engine_step.",
                &stats.iteration_tokens,
            ),
            (
                "request_max_num_generation_tokens",
                "Histogram of maximum number of requested generation tokens.",
                &stats.request_max_num_generation_tokens,
            ),
            (
                "request_params_n",
                "Histogram of the n request parameter.",
                &stats.request_params_n,
            ),
            (
                "request_params_max_tokens",
                "Histogram of the max_tokens request parameter.",
                &stats.request_params_max_tokens,
            ),
            (
                "time_to_first_token_seconds",
                "Histogram of time to first token in seconds.",
                &stats.time_to_first_token,
            ),
            (
                "inter_token_latency_seconds",
                "Histogram of inter-token latency in seconds.",
                &stats.inter_token_latency,
            ),
            (
                "request_time_per_output_token_seconds",
                "Histogram of time_per_output_token_seconds per request.",
                &stats.time_per_output_token,
            ),
            (
                "e2e_request_latency_seconds",
                "Histogram of e2e request latency in seconds.",
                &stats.e2e_request_latency,
            ),
            (
                "request_queue_time_seconds",
                "Histogram of time spent in WAITING phase for request.",
                &stats.queue_time,
            ),
            (
                "request_inference_time_seconds",
                "Histogram of time spent in RUNNING phase for request.",
                &stats.inference_time,
            ),
            (
                "request_prefill_time_seconds",
                "Histogram of time spent in PREFILL phase for request.",
                &stats.prefill_time,
            ),
            (
                "request_decode_time_seconds",
                "Histogram of time spent in DECODE phase for request.",
                &stats.decode_time,
            ),
            (
                "request_prefill_kv_computed_tokens",
                "Histogram of new KV tokens computed during prefill (excluding cached tokens).",
                &stats.prefill_kv_computed_tokens,
            ),
        ] {
            self.histogram(&format!("vllm:{name}"), help, histogram);
        }
    }

    fn cache_config(&mut self, profile: &Profile) {
        let name = "vllm:cache_config_info";
        self.family(name, "gauge", "Information of the LLMEngine CacheConfig");
        let blocks = profile.kv_blocks;
        let labels = format!(
            "block_size=\"{BLOCK_TOKENS}\",cache_dtype=\"auto\",calculate_kv_scales=\"False\",\
             cpu_kvcache_space_bytes=\"None\",cpu_offload_gb=\"0.0\",enable_prefix_caching=\"True\",\
             engine=\"0\",gpu_memory_utilization=\"0.95\",is_attention_free=\"False\",\
             kv_cache_memory_bytes=\"None\",kv_offloading_backend=\"None\",kv_offloading_size=\"None\",\
             kv_sharing_fast_prefill=\"False\",mamba_block_size=\"None\",mamba_cache_dtype=\"auto\",\
             mamba_page_size_padded=\"None\",mamba_ssm_cache_dtype=\"auto\",num_cpu_blocks=\"None\",\
             num_gpu_blocks=\"{blocks}\",num_gpu_blocks_override=\"None\",\
             prefix_caching_hash_algo=\"sha256\",sliding_window=\"None\",swap_space=\"4.0\""
        );
        self.sample(name, &labels, 1.0);
    }

    fn http(&mut self, requests: &HttpRequests) {
        let samples: Vec<(String, u64)> = requests
            .iter()
            .map(|((handler, method, status), count)| {
                let labels =
                    format!("handler=\"{handler}\",method=\"{method}\",status=\"{status}\"");
                (labels, *count)
            })
            .collect();
        self.counter(
            "http_requests",
            "Total number of requests by method, status and handler.",
            &samples,
        );
    }

    fn counter(&mut self, name: &str, help: &str, samples: &[(String, u64)]) {
        let (total, created) = (format!("{name}_total"), format!("{name}_created"));
        self.family(&total, "counter", help);
        for (labels, count) in samples {
            self.sample(&total, labels, *count as f64);
        }
        self.family(&created, "gauge", help);
        for (labels, _) in samples {
            self.sample(&created, labels, self.started);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let bounds = histogram.bounds.iter().copied().chain([f64::INFINITY]);
        let mut count = 0;
        for (bound, within) in bounds.zip(&histogram.counts) {
            count += within;
            let labels = format!(
                "engine=\"0\",le=\"{}\",model_name=\"{}\"",
                number(bound),
                self.model
            );
            self.sample(&bucket, &labels, count as f64);
        }
        let labels = self.labels("");
        self.sample(&format!("{name}_count"), &labels, count as f64);
        self.sample(&format!("{name}_sum"), &labels, histogram.sum);
        let created = format!("{name}_created");
        self.family(&created, "gauge", help);
        self.sample(&created, &labels, self.started);
    }

    /// The labels of vLLM's own series, with one more between them.
    fn labels(&self, between: &str) -> String {
        format!("engine=\"0\",{between}model_name=\"{}\"", self.model)
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let value = number(value);
        match labels {
            "" => self.line(format_args!("{name} {value}")),
            labels => self.line(format_args!("{name}{{{labels}}} {value}")),
        }
    }

    fn line(&mut self, line: impl Display) {
        writeln!(self.text, "{line}").expect("a string takes all that is written");
    }
}

/// The memory of the whole process; absent where the system has no `/proc`.
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}
