//! vLLM's `/metrics` page, from what a simulated engine counts.
//!
//! Names, help texts, labels, buckets and number formats are those of vLLM 0.13.0 under
//! `prometheus_client`; what is missing is Python's own (`python_*`) and the sizes and durations of
//! HTTP. Times are those that a client sees: with a speed-up of ten they are a tenth of the profile's.

use std::fmt::{Display, Write};

use super::driver::HttpRequests;
use super::engine::Snapshot;
use super::profile::{BLOCK_TOKENS, Profile};
use super::python::number;
use super::stats::{Histogram, Stats};

/// What the page says of the server itself.
#[derive(Debug)]
pub(super) struct Identity<'a> {
    pub(super) model: &'a str,
    pub(super) profile: &'a Profile,
    /// Seconds since the Unix epoch.
    pub(super) started: f64,
    pub(super) is_asleep: bool,
}

/// The page as text, with the series of each of the `engines`.
pub(super) fn render(identity: &Identity<'_>, engines: &[Snapshot], http: &HttpRequests) -> String {
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
    page.engine_state(engines, identity.is_asleep);
    page.engine_counters(engines);
    page.engine_histograms(engines);
    page.cache_config(identity.profile, engines.len());
    page.http(http);
    page.text
}

/// A family with a counter for each engine: name, help, and where its value lies.
type CounterFamily = (&'static str, &'static str, fn(&Stats) -> u64);

/// As [`CounterFamily`], of histograms.
type HistogramFamily = (&'static str, &'static str, fn(&Stats) -> &Histogram);

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

    fn engine_state(&mut self, engines: &[Snapshot], is_asleep: bool) {
        let mut gauge = |name: &str, help: &str, value: fn(&Snapshot) -> f64| {
            self.family(name, "gauge", help);
            for (index, engine) in engines.iter().enumerate() {
                self.sample(name, &self.labels(index, ""), value(engine));
            }
        };
        gauge(
            "vllm:num_requests_running",
            "Number of requests in model execution batches.",
            |engine| engine.running as f64,
        );
        gauge(
            "vllm:num_requests_waiting",
            "Number of requests waiting to be processed.",
            |engine| engine.waiting as f64,
        );
        gauge(
            "vllm:kv_cache_usage_perc",
            "KV-cache usage. 1 means 100 percent usage.",
            |engine| engine.kv_cache_usage,
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
        for index in 0..engines.len() {
            for (state, is_so) in states {
                let labels = format!("{},sleep_state=\"{state}\"", self.labels(index, ""));
                self.sample(name, &labels, f64::from(u8::from(is_so)));
            }
        }
    }

    fn engine_counters(&mut self, engines: &[Snapshot]) {
        let counters: [CounterFamily; _] = [
            (
                "vllm:prefix_cache_queries",
                "Prefix cache queries, in terms of number of queried tokens.",
                |stats| stats.prefix_cache_queries,
            ),
            (
                "vllm:prefix_cache_hits",
                "Prefix cache hits, in terms of number of cached tokens.",
                |stats| stats.prefix_cache_hits,
            ),
            (
                "vllm:external_prefix_cache_queries",
                "External prefix cache queries from KV connector cross-instance cache sharing, in terms of \
                 number of queried tokens.",
                |_| 0,
            ),
            (
                "vllm:external_prefix_cache_hits",
                "External prefix cache hits from KV connector cross-instance cache sharing, in terms of \
                 number of cached tokens.",
                |_| 0,
            ),
            (
                "vllm:mm_cache_queries",
                "Multi-modal cache queries, in terms of number of queried items.",
                |_| 0,
            ),
            (
                "vllm:mm_cache_hits",
                "Multi-modal cache hits, in terms of number of cached items.",
                |_| 0,
            ),
            (
                "vllm:num_preemptions",
                "Cumulative number of preemption from the engine.",
                |stats| stats.preemptions,
            ),
            (
                "vllm:prompt_tokens",
                "Number of prefill tokens processed.",
                |stats| stats.prompt_tokens,
            ),
            (
                "vllm:generation_tokens",
                "Number of generation tokens processed.",
                |stats| stats.generation_tokens,
            ),
        ];
        for (name, help, value) in counters {
            let samples: Vec<(String, u64)> = engines
                .iter()
                .enumerate()
                .map(|(index, engine)| (self.labels(index, ""), value(&engine.stats)))
                .collect();
            self.counter(name, help, &samples);
        }
        let mut samples = Vec::new();
        for (index, engine) in engines.iter().enumerate() {
            let stats = &engine.stats;
            for (reason, count) in [
                ("stop", stats.stopped),
                ("length", stats.reached_length),
                ("abort", stats.aborted),
                ("error", 0),
            ] {
                let reason = format!("finished_reason=\"{reason}\",");
                samples.push((self.labels(index, &reason), count));
            }
        }
        self.counter(
            "vllm:request_success",
            "Count of successfully processed requests.",
            &samples,
        );
    }

    fn engine_histograms(&mut self, engines: &[Snapshot]) {
        let histograms: [HistogramFamily; _] = [
            (
                "request_prompt_tokens",
                "Number of prefill tokens processed.",
                |stats| &stats.request_prompt_tokens,
            ),
            (
                "request_generation_tokens",
                "Number of generation tokens processed.",
                |stats| &stats.request_generation_tokens,
            ),
            (
                "iteration_tokens_total",
                "Histogram of number of tokens per engine_step.",
                |stats| &stats.iteration_tokens,
            ),
            (
                "request_max_num_generation_tokens",
                "Histogram of maximum number of requested generation tokens.",
                |stats| &stats.request_max_num_generation_tokens,
            ),
            (
                "request_params_n",
                "Histogram of the n request parameter.",
                |stats| &stats.request_params_n,
            ),
            (
                "request_params_max_tokens",
                "Histogram of the max_tokens request parameter.",
                |stats| &stats.request_params_max_tokens,
            ),
            (
                "time_to_first_token_seconds",
                "Histogram of time to first token in seconds.",
                |stats| &stats.time_to_first_token,
            ),
            (
                "inter_token_latency_seconds",
                "Histogram of inter-token latency in seconds.",
                |stats| &stats.inter_token_latency,
            ),
            (
                "request_time_per_output_token_seconds",
                "Histogram of time_per_output_token_seconds per request.",
                |stats| &stats.time_per_output_token,
            ),
            (
                "e2e_request_latency_seconds",
                "Histogram of e2e request latency in seconds.",
                |stats| &stats.e2e_request_latency,
            ),
            (
                "request_queue_time_seconds",
                "Histogram of time spent in WAITING phase for request.",
                |stats| &stats.queue_time,
            ),
            (
                "request_inference_time_seconds",
                "Histogram of time spent in RUNNING phase for request.",
                |stats| &stats.inference_time,
            ),
            (
                "request_prefill_time_seconds",
                "Histogram of time spent in PREFILL phase for request.",
                |stats| &stats.prefill_time,
            ),
            (
                "request_decode_time_seconds",
                "Histogram of time spent in DECODE phase for request.",
                |stats| &stats.decode_time,
            ),
            (
                "request_prefill_kv_computed_tokens",
                "Histogram of new KV tokens computed during prefill (excluding cached tokens).",
                |stats| &stats.prefill_kv_computed_tokens,
            ),
        ];
        for (name, help, histogram) in histograms {
            let of_each: Vec<&Histogram> = engines
                .iter()
                .map(|engine| histogram(&engine.stats))
                .collect();
            self.histogram(&format!("vllm:{name}"), help, &of_each);
        }
    }

    fn cache_config(&mut self, profile: &Profile, engines: usize) {
        let name = "vllm:cache_config_info";
        self.family(name, "gauge", "Information of the LLMEngine CacheConfig");
        let blocks = profile.kv_blocks;
        for index in 0..engines {
            let labels = format!(
                "block_size=\"{BLOCK_TOKENS}\",cache_dtype=\"auto\",calculate_kv_scales=\"False\",\
             cpu_kvcache_space_bytes=\"None\",cpu_offload_gb=\"0.0\",enable_prefix_caching=\"True\",\
             engine=\"{index}\",gpu_memory_utilization=\"0.95\",is_attention_free=\"False\",\
             kv_cache_memory_bytes=\"None\",kv_offloading_backend=\"None\",kv_offloading_size=\"None\",\
             kv_sharing_fast_prefill=\"False\",mamba_block_size=\"None\",mamba_cache_dtype=\"auto\",\
             mamba_page_size_padded=\"None\",mamba_ssm_cache_dtype=\"auto\",num_cpu_blocks=\"None\",\
             num_gpu_blocks=\"{blocks}\",num_gpu_blocks_override=\"None\",\
             prefix_caching_hash_algo=\"sha256\",sliding_window=\"None\",swap_space=\"4.0\""
            );
            self.sample(name, &labels, 1.0);
        }
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

    /// One histogram for each engine.
    fn histogram(&mut self, name: &str, help: &str, engines: &[&Histogram]) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for (index, histogram) in engines.iter().enumerate() {
            let bounds = histogram.bounds.iter().copied().chain([f64::INFINITY]);
            let mut count = 0;
            for (bound, within) in bounds.zip(&histogram.counts) {
                count += within;
                let bound = format!("le=\"{}\",", number(bound));
                self.sample(&bucket, &self.labels(index, &bound), count as f64);
            }
            let labels = self.labels(index, "");
            self.sample(&format!("{name}_count"), &labels, count as f64);
            self.sample(&format!("{name}_sum"), &labels, histogram.sum);
        }
        let created = format!("{name}_created");
        self.family(&created, "gauge", help);
        for index in 0..engines.len() {
            self.sample(&created, &self.labels(index, ""), self.started);
        }
    }

    /// The labels of vLLM's own series, with one more between them.
    fn labels(&self, engine: usize, between: &str) -> String {
        format!("engine=\"{engine}\",{between}model_name=\"{}\"", self.model)
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
