//! One look at a server's own metrics: what it has counted so far, and what it is doing now.
//!
//! Names differ between vLLM's versions; here they have become meanings. Readings are told apart by model
//! and engine, since one server may serve several models, and one model may run on several engines.

use std::collections::BTreeMap;

/// What a server said of itself at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// What each engine said of each model.
    pub engines: BTreeMap<EngineKey, EngineReading>,
    /// When the server's process started, in seconds since the Unix epoch; absent where several processes
    /// share the page.
    pub process_start: Option<f64>,
    /// How its KV cache is configured.
    pub cache_config: CacheConfig,
}

/// A server's KV cache, in its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheConfig {
    /// The number format; `auto` follows the weights.
    pub dtype: Option<String>,
    /// Tokens in a block.
    pub block_size: Option<String>,
    /// Blocks there are.
    pub blocks: Option<String>,
}

/// The labels by which vLLM tells its series apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineKey {
    /// `model_name`: the first name under which the model is served.
    pub model: String,
    /// `engine`: the rank among data-parallel engines.
    pub engine: String,
}

/// What one engine said of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineReading {
    /// What it has counted since its process started; absent ones were not on the page.
    pub counters: BTreeMap<Counter, f64>,
    /// What holds now; absent ones were not on the page.
    pub gauges: BTreeMap<Gauge, f64>,
}

/// What only grows until the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are vLLM's own")]
pub enum Counter {
    GenerationTokens,
    PromptTokens,
    /// Prompt tokens that were looked up in the prefix cache.
    PrefixCacheQueries,
    /// Those of them that were found.
    PrefixCacheHits,
    Preemptions,
    /// Requests that ended, however they did.
    Requests,
    DraftTokens,
    AcceptedDraftTokens,
    /// Seconds, summed over requests; the other sums likewise.
    TimeToFirstTokenSum,
    TimeToFirstTokenCount,
    QueueTimeSum,
    QueueTimeCount,
    E2eLatencySum,
    E2eLatencyCount,
}

/// What goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gauge {
    /// Requests in the running batch.
    Running,
    /// Requests in the queue.
    Waiting,
    /// Share of the KV cache's blocks in use, from 0 to 1.
    KvCacheUsage,
    /// 1 while the engine is awake, 0 while it sleeps.
    Awake,
}

impl Reading {
    /// A counter summed over all engines and models; absent when no engine has it.
    pub fn total(&self, counter: Counter) -> Option<f64> {
        sum(self
            .engines
            .values()
            .filter_map(|engine| engine.counters.get(&counter)))
    }

    /// A gauge summed over all engines and models; absent when no engine has it.
    pub fn sum(&self, gauge: Gauge) -> Option<f64> {
        sum(self.of_each(gauge))
    }

    /// The largest value of a gauge among the engines; absent when no engine has it.
    pub fn max(&self, gauge: Gauge) -> Option<f64> {
        self.of_each(gauge).copied().max_by(f64::total_cmp)
    }

    /// Requests that the server works at or holds in its queue; absent when it does not tell.
    pub fn in_flight(&self) -> Option<f64> {
        Some(self.sum(Gauge::Running)? + self.sum(Gauge::Waiting).unwrap_or(0.0))
    }

    /// Whether an engine sleeps. A server that does not tell is awake.
    pub fn is_asleep(&self) -> bool {
        self.of_each(Gauge::Awake).any(|awake| *awake == 0.0)
    }

    fn of_each(&self, gauge: Gauge) -> impl Iterator<Item = &f64> {
        self.engines
            .values()
            .filter_map(move |engine| engine.gauges.get(&gauge))
    }

    /// Whether the server has started anew between `self` and `later`: its process is a younger one, or a
    /// counter has fallen, or an engine is gone.
    pub fn is_before_a_restart(&self, later: &Self) -> bool {
        if let (Some(then), Some(now)) = (self.process_start, later.process_start)
            && then != now
        {
            return true;
        }
        self.engines.iter().any(|(key, then)| {
            later.engines.get(key).is_none_or(|now| {
                then.counters
                    .iter()
                    .any(|(counter, value)| now.counters.get(counter).is_some_and(|n| n < value))
            })
        })
    }
}

fn sum<'a>(values: impl Iterator<Item = &'a f64>) -> Option<f64> {
    values.copied().reduce(|sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(start: Option<f64>, tokens: &[(&str, f64)]) -> Reading {
        let engines = tokens.iter().map(|(engine, tokens)| {
            let key = EngineKey {
                model: "m".to_owned(),
                engine: (*engine).to_owned(),
            };
            let engine = EngineReading {
                counters: BTreeMap::from([(Counter::GenerationTokens, *tokens)]),
                gauges: BTreeMap::from([(Gauge::Running, 1.0), (Gauge::Awake, 1.0)]),
            };
            (key, engine)
        });
        Reading {
            engines: engines.collect(),
            process_start: start,
            cache_config: CacheConfig::default(),
        }
    }

    #[test]
    fn a_restart_shows_in_the_process_in_a_counter_or_in_a_missing_engine() {
        let before = reading(Some(10.0), &[("0", 100.0), ("1", 50.0)]);
        let later =
            |start, tokens: &[(&str, f64)]| before.is_before_a_restart(&reading(start, tokens));
        assert!(!later(Some(10.0), &[("0", 100.0), ("1", 60.0)]));
        assert!(!later(None, &[("0", 100.0), ("1", 60.0)]));
        assert!(!later(Some(10.0), &[("0", 100.0), ("1", 60.0), ("2", 0.0)]));
        assert!(later(Some(99.0), &[("0", 100.0), ("1", 60.0)]));
        // One engine's fall is not made up for by the growth of another.
        assert!(later(Some(10.0), &[("0", 900.0), ("1", 0.0)]));
        assert!(later(None, &[("0", 900.0)]));
    }

    #[test]
    fn sums_are_over_the_engines_and_absent_without_any() {
        let two = reading(None, &[("0", 100.0), ("1", 50.0)]);
        assert_eq!(two.total(Counter::GenerationTokens), Some(150.0));
        assert_eq!(two.in_flight(), Some(2.0));
        assert_eq!(two.total(Counter::PromptTokens), None);
        assert_eq!(Reading::default().in_flight(), None);
        assert!(!Reading::default().is_asleep());
        let mut asleep = two;
        for engine in asleep.engines.values_mut() {
            engine.gauges.insert(Gauge::Awake, 0.0);
        }
        assert!(asleep.is_asleep());
    }
}
