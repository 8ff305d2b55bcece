//! What a simulated deployment is made of: how fast it decodes and prefills, how much it holds, and
//! what it calls itself.
//!
//! The three built-in profiles are solved from the figures that were published for Qwen3-32B on one
//! RTX Pro 6000 (vLLM 0.13.0, 64 requests of 110 prompt tokens, 16 in flight, 256 tokens each). One
//! concurrency cannot tell a fixed cost from one that grows with the batch, so that split and the
//! cost of prefill rest on the hardware's data sheet; their sum rests on the measurement.

use std::time::Duration;

/// Tokens in a block of the KV cache, vLLM's default on CUDA.
pub(super) const BLOCK_TOKENS: u32 = 16;

/// A simulated deployment. Times are engine time, before any speed-up.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// What the command line calls it.
    pub name: &'static str,
    /// The served model's name unless another is asked for, and the `root` of `/v1/models`.
    pub model: &'static str,
    /// The version that `/version` reports.
    pub version: &'static str,
    /// Seconds of any step, however few sequences run: reading the weights, launching kernels.
    pub step_seconds: f64,
    /// Seconds that each sequence in a step adds to it.
    pub sequence_seconds: f64,
    /// Seconds that each prompt token computed in a step adds to it; cached tokens cost nothing.
    pub prefill_seconds: f64,
    /// Seconds lost in all after idleness while the GPU's clocks ramp up.
    pub ramp_seconds: f64,
    /// How long the engine must have been idle for its clocks to fall.
    pub ramp_after: Duration,
    /// Sequences that may run at once; the others queue.
    pub max_num_seqs: usize,
    /// Tokens, of prompts and answers together, that one step may compute.
    pub max_num_batched_tokens: u32,
    /// Prompt and answer together may not be longer.
    pub max_model_len: u32,
    /// Blocks of 16 tokens in the KV cache.
    pub kv_blocks: u32,
}

/// How the lost time of [`Profile::ramp_seconds`] is spread: slowness decays with this time constant.
pub(super) const RAMP_TIME_CONSTANT: Duration = Duration::from_secs(2);

/// What was published for one precision, and what the data sheet says of it.
struct Reference {
    name: &'static str,
    model: &'static str,
    /// Requests a second over the run.
    qps: f64,
    /// Quantiles of the end-to-end latency in seconds.
    p50: f64,
    p95: f64,
    /// Dense peak of the tensor cores at this precision, in FLOP/s.
    peak_flops: f64,
    /// 31.2e9 weights of the linear layers at this precision, and 1.56e9 of the embeddings in BF16.
    weight_bytes: f64,
}

const REQUESTS: f64 = 64.0;
const CONCURRENCY: f64 = 16.0;
const ANSWER_TOKENS: f64 = 256.0;
const PROMPT_TOKENS: f64 = 110.0;
/// Whole blocks of the prompt but for its last token, which must always be computed.
const CACHED_TOKENS: f64 = 96.0;
/// Two FLOP for each of 32.8e9 weights.
const FLOP_PER_TOKEN: f64 = 65.6e9;
/// The part of the peak that a prefill reaches.
const PREFILL_UTILISATION: f64 = 0.6;
/// An assumption: with it, sixteen sequences cost 6 to 12 % of a step.
const SEQUENCE_SECONDS: f64 = 0.000_2;
/// 64 layers, 8 KV heads of 128 values, keys and values, in BF16.
const KV_BYTES_PER_TOKEN: f64 = 262_144.0;
/// 96 GiB at `--gpu-memory-utilization 0.95`, less 3 GiB for activations and CUDA graphs.
const CACHE_AND_WEIGHT_BYTES: f64 = (96.0 * 0.95 - 3.0) * 1_073_741_824.0;

const REFERENCES: [Reference; 3] = [
    Reference {
        name: "nvfp4",
        model: "RedHatAI/Qwen3-32B-NVFP4",
        qps: 2.3690,
        p50: 6.7577,
        p95: 6.7950,
        peak_flops: 1000e12,
        weight_bytes: 20.7e9,
    },
    Reference {
        name: "fp8",
        model: "Qwen/Qwen3-32B-FP8",
        qps: 1.4917,
        p50: 10.6898,
        p95: 10.8637,
        peak_flops: 500e12,
        weight_bytes: 34.3e9,
    },
    Reference {
        name: "bf16",
        model: "Qwen/Qwen3-32B",
        qps: 1.2582,
        p50: 12.7105,
        p95: 12.7653,
        peak_flops: 250e12,
        weight_bytes: 65.5e9,
    },
];

impl Profile {
    /// The names of the built-in profiles, fastest first.
    pub const NAMES: [&'static str; 3] = ["nvfp4", "fp8", "bf16"];

    /// The built-in profile of that name.
    pub fn named(name: &str) -> Option<Self> {
        REFERENCES
            .iter()
            .find(|reference| reference.name == name)
            .map(Self::calibrated)
    }

    /// Solves the reference's figures for the costs of a step.
    ///
    /// Sixteen requests in flight advance in four lock-step waves. The last three are steady; the first
    /// comes after idleness and is slower, so that p50 falls among the steady waves and p95, with 16
    /// of 64 values above the 75th percentile, in the first.
    fn calibrated(reference: &Reference) -> Self {
        let prefill_seconds = FLOP_PER_TOKEN / (reference.peak_flops * PREFILL_UTILISATION);
        // p50 and the run's length each say how long a steady wave takes; they differ by 0.3 % at most.
        let waves = REQUESTS / CONCURRENCY;
        let wave_by_length = (REQUESTS / reference.qps - reference.p95) / (waves - 1.0);
        let wave = f64::midpoint(reference.p50, wave_by_length);
        // A token a step, and one step more: the successor of a finished request arrives when the next
        // step has begun, and waits for its end.
        let steps = ANSWER_TOKENS + 1.0;
        let prefill = CONCURRENCY * (PROMPT_TOKENS - CACHED_TOKENS) * prefill_seconds;
        let sequences = CONCURRENCY * ANSWER_TOKENS * SEQUENCE_SECONDS;
        // It is not known whether the prompt was cached when the reference began, so half of a cold
        // prefill is allowed for. The other fifteen find the first one's blocks.
        let cold_prefill = CACHED_TOKENS * prefill_seconds;
        let kv_bytes = CACHE_AND_WEIGHT_BYTES - reference.weight_bytes;
        Self {
            name: reference.name,
            model: reference.model,
            version: "0.13.0",
            step_seconds: (wave - prefill - sequences) / steps,
            sequence_seconds: SEQUENCE_SECONDS,
            prefill_seconds,
            ramp_seconds: reference.p95 - wave - cold_prefill / 2.0,
            ramp_after: Duration::from_secs(1),
            max_num_seqs: 32,
            max_num_batched_tokens: 8192,
            max_model_len: 4096,
            kv_blocks: (kv_bytes / (KV_BYTES_PER_TOKEN * f64::from(BLOCK_TOKENS))) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_profile_that_is_physically_possible() {
        // What the card's memory can deliver; no step may read the weights faster than that.
        let bandwidth = 1.597e12;
        for (name, reference) in Profile::NAMES.into_iter().zip(&REFERENCES) {
            let profile = Profile::named(name).unwrap();
            assert_eq!(profile.name, name);
            assert!(
                profile.step_seconds > reference.weight_bytes / bandwidth,
                "{name} reads {} GB in {} s",
                reference.weight_bytes / 1e9,
                profile.step_seconds
            );
            assert!(profile.ramp_seconds > 0.0, "{name}");
            let longest = profile.max_model_len.div_ceil(BLOCK_TOKENS);
            assert!(profile.kv_blocks > 16 * longest, "{name}");
        }
        assert_eq!(Profile::named("int4"), None);
    }
}
