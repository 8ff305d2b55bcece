//! A server's `/metrics` page, from bytes to a [`Reading`], without a socket.
//!
//! The page is taken as it arrives, line by line, and forgotten line by line: a page of any size costs one
//! line of memory. Only the few names of the table below are read; what a line may else hold, and whatever a
//! server makes of the format, is passed over. An ill-formed line is no reason to give up the others.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Add;

use super::text_format::Sample;
use crate::reading::{CacheConfig, Counter, EngineKey, EngineReading, Gauge, Reading};

/// The longest line that is read; vLLM's longest, the one with its cache configuration, has about 2 KiB.
const MAX_LINE_BYTES: usize = 64 << 10;

/// The most pairs of model and engine that are told apart.
const MAX_ENGINES: usize = 1024;

/// When the process started, in seconds since the Unix epoch.
const PROCESS_START: &[u8] = b"process_start_time_seconds";

/// The prefix of every other name that is read.
const PREFIX: &[u8] = b"vllm:";

/// What a name of vLLM's stands for.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    Counter(Counter),
    Gauge(Gauge),
    /// One series for each state, 1 for the one that holds.
    SleepState,
    /// Always 1; what counts are its labels.
    CacheConfig,
}

/// vLLM's names, without the prefix. Where a meaning has had several names, a page that shows them all, as
/// one with `--show-hidden-metrics-for-version` does, is read by the first.
const NAMES: &[(&str, Meaning)] = &[
    ("num_requests_running", Meaning::Gauge(Gauge::Running)),
    ("num_requests_waiting", Meaning::Gauge(Gauge::Waiting)),
    ("kv_cache_usage_perc", Meaning::Gauge(Gauge::KvCacheUsage)),
    // Up to 0.10.
    ("gpu_cache_usage_perc", Meaning::Gauge(Gauge::KvCacheUsage)),
    ("engine_sleep_state", Meaning::SleepState),
    ("cache_config_info", Meaning::CacheConfig),
    (
        "generation_tokens_total",
        Meaning::Counter(Counter::GenerationTokens),
    ),
    (
        "prompt_tokens_total",
        Meaning::Counter(Counter::PromptTokens),
    ),
    (
        "prefix_cache_queries_total",
        Meaning::Counter(Counter::PrefixCacheQueries),
    ),
    // Up to 0.10.
    (
        "gpu_prefix_cache_queries_total",
        Meaning::Counter(Counter::PrefixCacheQueries),
    ),
    (
        "prefix_cache_hits_total",
        Meaning::Counter(Counter::PrefixCacheHits),
    ),
    // Up to 0.10.
    (
        "gpu_prefix_cache_hits_total",
        Meaning::Counter(Counter::PrefixCacheHits),
    ),
    (
        "num_preemptions_total",
        Meaning::Counter(Counter::Preemptions),
    ),
    ("request_success_total", Meaning::Counter(Counter::Requests)),
    (
        "spec_decode_num_draft_tokens_total",
        Meaning::Counter(Counter::DraftTokens),
    ),
    (
        "spec_decode_num_accepted_tokens_total",
        Meaning::Counter(Counter::AcceptedDraftTokens),
    ),
    (
        "time_to_first_token_seconds_sum",
        Meaning::Counter(Counter::TimeToFirstTokenSum),
    ),
    (
        "time_to_first_token_seconds_count",
        Meaning::Counter(Counter::TimeToFirstTokenCount),
    ),
    (
        "request_queue_time_seconds_sum",
        Meaning::Counter(Counter::QueueTimeSum),
    ),
    (
        "request_queue_time_seconds_count",
        Meaning::Counter(Counter::QueueTimeCount),
    ),
    (
        "e2e_request_latency_seconds_sum",
        Meaning::Counter(Counter::E2eLatencySum),
    ),
    (
        "e2e_request_latency_seconds_count",
        Meaning::Counter(Counter::E2eLatencyCount),
    ),
];

/// A page in the making.
#[derive(Debug, Default)]
pub struct PageReader {
    line: Vec<u8>,
    /// Whether the line under way is too long, so that the rest of it is passed over.
    overlong: bool,
    process_start: Option<f64>,
    cache_config: CacheConfig,
    counters: BTreeMap<(EngineKey, Counter), Named>,
    gauges: BTreeMap<(EngineKey, Gauge), Named>,
}

/// A value, and the place in [`NAMES`] of the name that it was read by.
#[derive(Clone, Copy, Debug)]
struct Named {
    rank: usize,
    value: f64,
}

impl PageReader {
    /// Takes the bytes that come next.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (head, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.line.is_empty() && !self.overlong {
                self.read_line(head);
            } else {
                self.keep(head);
                self.end_line();
            }
            bytes = rest;
        }
        self.keep(bytes);
    }

    /// The reading, once the page has ended; `None` when there was nothing of vLLM's on it.
    pub fn finish(mut self) -> Option<Reading> {
        self.end_line();
        let mut engines: BTreeMap<EngineKey, EngineReading> = BTreeMap::new();
        for ((key, counter), Named { value, .. }) in self.counters {
            engines
                .entry(key)
                .or_default()
                .counters
                .insert(counter, value);
        }
        for ((key, gauge), Named { value, .. }) in self.gauges {
            engines.entry(key).or_default().gauges.insert(gauge, value);
        }
        (!engines.is_empty()).then_some(Reading {
            engines,
            process_start: self.process_start,
            cache_config: self.cache_config,
        })
    }

    fn keep(&mut self, part: &[u8]) {
        self.overlong |= self.line.len() + part.len() > MAX_LINE_BYTES;
        if self.overlong {
            self.line.clear();
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn end_line(&mut self) {
        if !std::mem::take(&mut self.overlong) {
            let line = std::mem::take(&mut self.line);
            self.read_line(&line);
            // The room is kept for the next line that is cut in two.
            self.line = line;
        }
        self.line.clear();
    }

    fn read_line(&mut self, line: &[u8]) {
        // Almost every line is a comment, a bucket or somebody else's.
        if !(line.starts_with(PREFIX) || line.starts_with(PROCESS_START))
            || line.len() > MAX_LINE_BYTES
        {
            return;
        }
        let Some(sample) = std::str::from_utf8(line).ok().and_then(Sample::parse) else {
            return;
        };
        if sample.name.as_bytes() == PROCESS_START {
            self.process_start = Some(sample.value);
            return;
        }
        let Some((rank, meaning)) = sample.name.strip_prefix("vllm:").and_then(meaning_of) else {
            return;
        };
        let key = EngineKey {
            model: sample.label("model_name").unwrap_or_default().into_owned(),
            engine: sample.label("engine").unwrap_or_default().into_owned(),
        };
        let named = Named {
            rank,
            value: sample.value,
        };
        match meaning {
            // Series that differ in other labels, such as the reason for which requests ended, add up.
            Meaning::Counter(counter) => take(&mut self.counters, (key, counter), named, f64::add),
            Meaning::Gauge(gauge @ Gauge::KvCacheUsage) => {
                take(&mut self.gauges, (key, gauge), named, f64::max);
            }
            Meaning::Gauge(gauge) => take(&mut self.gauges, (key, gauge), named, f64::add),
            Meaning::CacheConfig => {
                let text = |name| sample.label(name).map(Cow::into_owned);
                // Engines of one server are configured alike.
                self.cache_config = CacheConfig {
                    dtype: text("cache_dtype"),
                    block_size: text("block_size"),
                    blocks: text("num_gpu_blocks"),
                };
            }
            Meaning::SleepState => {
                if sample.label("sleep_state").as_deref() == Some("awake") {
                    take(&mut self.gauges, (key, Gauge::Awake), named, f64::max);
                }
            }
        }
    }
}

/// Puts a value in its place. One by an earlier name replaces one by a later name; two by the same name are
/// put together.
fn take<K: Ord>(
    values: &mut BTreeMap<K, Named>,
    key: K,
    named: Named,
    together: fn(f64, f64) -> f64,
) {
    let is_full = values.len() >= MAX_ENGINES * NAMES.len();
    match values.get_mut(&key) {
        Some(there) if there.rank == named.rank => there.value = together(there.value, named.value),
        Some(there) if there.rank < named.rank => {}
        Some(there) => *there = named,
        None if is_full => {}
        None => _ = values.insert(key, named),
    }
}

fn meaning_of(name: &str) -> Option<(usize, Meaning)> {
    let rank = NAMES.iter().position(|(known, _)| *known == name)?;
    Some((rank, NAMES[rank].1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(page: &[u8]) -> Option<Reading> {
        let mut reader = PageReader::default();
        reader.feed(page);
        reader.finish()
    }

    fn recorded() -> Vec<u8> {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/testdata/vllm-0.13.0/metrics_after.txt"
        );
        std::fs::read(path).unwrap()
    }

    fn only(reading: &Reading) -> (&EngineKey, &EngineReading) {
        assert_eq!(reading.engines.len(), 1, "{reading:?}");
        reading.engines.iter().next().unwrap()
    }

    #[test]
    fn a_recorded_page_reads_as_what_it_says() {
        let reading = read(&recorded()).unwrap();
        let (key, engine) = only(&reading);
        assert_eq!(
            (key.model.as_str(), key.engine.as_str()),
            ("Qwen/Qwen3-32B", "0")
        );
        assert_eq!(reading.process_start, Some(1_795_489_570.53));
        let config = CacheConfig {
            dtype: Some("auto".to_owned()),
            block_size: Some("16".to_owned()),
            blocks: Some("512".to_owned()),
        };
        assert_eq!(reading.cache_config, config);
        assert_eq!(reading.in_flight(), Some(0.0));
        assert!(!reading.is_asleep());
        let expected = [
            (Counter::GenerationTokens, 98_816.0),
            (Counter::PromptTokens, 46_073.0),
            (Counter::PrefixCacheQueries, 46_073.0),
            (Counter::PrefixCacheHits, 36_144.0),
            (Counter::Preemptions, 0.0),
            (Counter::Requests, 386.0),
            (Counter::TimeToFirstTokenCount, 386.0),
            (Counter::E2eLatencyCount, 386.0),
            (Counter::QueueTimeCount, 386.0),
        ];
        for (counter, value) in expected {
            assert_eq!(engine.counters[&counter], value, "{counter:?}");
        }
        assert!((engine.counters[&Counter::E2eLatencySum] - 804.894_500_7).abs() < 1e-6);
        assert!(
            !engine.counters.contains_key(&Counter::DraftTokens),
            "not on the page"
        );
    }

    #[test]
    fn old_names_mean_the_same_and_new_ones_go_before_them() {
        let old = b"vllm:gpu_cache_usage_perc{model_name=\"m\"} 0.25\n\
            vllm:gpu_prefix_cache_hits_total{model_name=\"m\"} 7.0\n";
        let reading = read(old).unwrap();
        assert_eq!(reading.max(Gauge::KvCacheUsage), Some(0.25));
        assert_eq!(reading.total(Counter::PrefixCacheHits), Some(7.0));
        for both in [
            "vllm:gpu_prefix_cache_hits_total 7\nvllm:prefix_cache_hits_total 9\n",
            "vllm:prefix_cache_hits_total 9\nvllm:gpu_prefix_cache_hits_total 7\n",
        ] {
            let reading = read(both.as_bytes()).unwrap();
            assert_eq!(reading.total(Counter::PrefixCacheHits), Some(9.0), "{both}");
        }
    }

    #[test]
    fn engines_and_models_are_told_apart() {
        let page = br#"
vllm:generation_tokens_total{model_name="a",engine="0"} 1
vllm:generation_tokens_total{engine="1",model_name="a"} 2.5e+01
vllm:generation_tokens_total{engine="0",model_name="b \"x\" {\\}"} 4 1700000000000
vllm:request_success_total{engine="0",model_name="a",finished_reason="stop"} 3
vllm:request_success_total{engine="0",model_name="a",finished_reason="length"} 4
vllm:kv_cache_usage_perc{engine="0",model_name="a",pid="7"} 0.1
vllm:kv_cache_usage_perc{engine="0",model_name="a",pid="8"} 0.3
vllm:engine_sleep_state{engine="0",model_name="a",sleep_state="awake"} 0.0
vllm:engine_sleep_state{engine="0",model_name="a",sleep_state="discard_all"} 1.0"#;
        let reading = read(page).unwrap();
        let of = |model: &str, engine: &str| {
            let key = EngineKey {
                model: model.to_owned(),
                engine: engine.to_owned(),
            };
            &reading.engines[&key]
        };
        assert_eq!(of("a", "0").counters[&Counter::GenerationTokens], 1.0);
        assert_eq!(of("a", "0").counters[&Counter::Requests], 7.0);
        assert_eq!(of("a", "0").gauges[&Gauge::KvCacheUsage], 0.3);
        assert_eq!(of("a", "1").counters[&Counter::GenerationTokens], 25.0);
        let b = of("b \"x\" {\\}", "0");
        assert_eq!(b.counters[&Counter::GenerationTokens], 4.0);
        assert!(reading.is_asleep());
    }

    #[test]
    fn what_is_no_page_of_vllms_is_none() {
        for page in [
            "",
            "<!DOCTYPE html>\n<html><body>not found</body></html>\n",
            "up 1\nprocess_start_time_seconds 1.7e9\n",
            "vllm:num_requests_running NaN\nvllm:num_requests_waiting -1\n",
            "vllm:num_requests_running\nvllm:num_requests_running{ 3\nvllm:num_requests_running{} x\n",
            "vllm:num_requests_running{model_name=\"m} 3\n",
            "vllm:nobody_knows 3\n",
        ] {
            assert_eq!(read(page.as_bytes()), None, "{page}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_costs_no_memory() {
        let mut reader = PageReader::default();
        reader.feed(b"vllm:num_requests_waiting{x=\"");
        for _ in 0..1000 {
            reader.feed(&[b'x'; 1000]);
            assert!(reader.line.capacity() <= 2 * MAX_LINE_BYTES);
        }
        reader.feed(b"\"} 5\nvllm:num_requests_running 2");
        let reading = reader.finish().unwrap();
        assert_eq!(reading.sum(Gauge::Running), Some(2.0));
        assert_eq!(reading.sum(Gauge::Waiting), None);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_bytes_are_cut(cuts in prop::collection::vec(1_usize..3000, 0..40)) {
            let page = recorded();
            let mut reader = PageReader::default();
            let mut rest = page.as_slice();
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                reader.feed(head);
                rest = tail;
            }
            reader.feed(rest);
            prop_assert_eq!(reader.finish(), read(&page));
        }

        #[test]
        fn no_bytes_make_it_panic_and_no_value_is_out_of_range(
            at in 0_usize..40_000,
            noise in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut page = recorded();
            let at = at.min(page.len());
            let end = (at + noise.len()).min(page.len());
            page.splice(at..end, noise);
            let reading = read(&page);
            for engine in reading.iter().flat_map(|reading| reading.engines.values()) {
                for value in engine.counters.values().chain(engine.gauges.values()) {
                    prop_assert!(value.is_finite() && *value >= 0.0);
                }
            }
        }

        #[test]
        fn lines_in_the_shape_of_samples_make_no_panic(
            line in "vllm:num_requests_running[{}\",=\\\\a-z_0-9 é]{0,60}",
        ) {
            read(line.as_bytes());
        }

        #[test]
        fn a_label_is_read_as_it_was_written(model in any::<String>(), value in 0_u32..1_000_000) {
            let written = model.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            prop_assume!(!model.contains('\r') || !model.ends_with('\r'));
            let line = format!("vllm:num_requests_running{{engine=\"0\",model_name=\"{written}\"}} {value}\n");
            let reading = read(line.as_bytes()).unwrap();
            prop_assert_eq!(&only(&reading).0.model, &model);
            prop_assert_eq!(reading.sum(Gauge::Running), Some(f64::from(value)));
        }
    }
}
