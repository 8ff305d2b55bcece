//! A deployment as other programs see it: how it is, what it runs on, and what is judged of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{EnvironmentJson, RunJson};
use crate::verdict::{Acknowledgement, Comparison, Judgement, Settlement};

/// Every deployment, in the order of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentsJson {
    /// Each of them.
    pub deployments: Vec<DeploymentJson>,
}

/// Stored runs of a deployment, newest first, each as it was stored.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RunsJson {
    /// Each of them, without its requests.
    #[schema(value_type = Vec<RunJson>)]
    pub runs: Vec<Box<RawValue>>,
    /// What to give as `before` for the next page; `null` on the last one.
    pub next: Option<String>,
}

/// Where the logs of the last runs are, the latest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunLogsJson {
    /// Each of them.
    pub logs: Vec<RunLogJson>,
}

/// The log of one run that is still kept. A run that came to nothing has an id too, and is in no history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunLogJson {
    /// The run's id.
    pub run_id: String,
    /// The deployment's name, or the address of a target that is none.
    pub deployment: String,
    /// The workload's name.
    pub workload: String,
    /// Why it was started: `schedule`, `order` or `probe`.
    pub cause: String,
    /// When.
    pub begun_at: Timestamp,
    /// How it ended: `valid`, `invalid`, `failed`, `held` or `cut`.
    pub ending: String,
    /// Where its log is, below `/api/v1/`.
    pub log: String,
}

/// One deployment. What is not known is `null`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentJson {
    /// The deployment's name.
    pub name: String,
    /// What precisions are compared within.
    pub family: Option<String>,
    /// The weights' number format.
    pub precision: Option<String>,
    /// The model that was last asked for, or is configured to be.
    pub model: Option<String>,
    /// Deployments of one lane are never probed at once.
    pub lane: String,
    /// The user's own labels.
    pub labels: BTreeMap<String, String>,
    /// How it is: `ok`, `saturated`, `wedged`, `asleep`, `down` or `unknown`.
    pub state: String,
    /// What spoke for that.
    pub evidence: Option<String>,
    /// When it was last seen.
    pub seen_at: Option<Timestamp>,
    /// What it runs on.
    pub environment: EnvironmentJson,
    /// When that last changed.
    pub environment_changed_at: Option<Timestamp>,
    /// What is to be said of it in one line.
    pub overview: OverviewJson,
    /// What is probed, in the order of the configuration.
    pub probes: Vec<ProbeJson>,
}

/// A deployment in one line, in the words of the Fleet page: of its probes the one that matters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OverviewJson {
    /// Where it stands among the others: what wants attention has the lower rank, from 0.
    pub rank: u8,
    /// The workload that this is said of.
    pub workload: String,
    /// Whether there are others that are judged.
    pub has_several: bool,
    /// Where the judging stands: `slower`, `faster`, `unchanged`, `not sure yet`, `too few runs`, `reading history` or
    /// `not judged`.
    pub stand: String,
    /// The same with its size, such as `5.1 % slower`.
    pub verdict: String,
    /// Since when that stands, or what is missing; empty if there is nothing to add.
    pub qualified: String,
    /// Who has seen the verdict, as long as it is silent.
    pub acknowledged: Option<String>,
    /// What the verdict is about, by its measure's name.
    pub measure: String,
    /// The present level of that measure divided by what it is compared with.
    pub comparison: Option<ComparisonJson>,
    /// Completion tokens per second in the last run; like the other figures `null` when the run does not count or is too
    /// old.
    pub decode_tps: Option<f64>,
    /// Median of the baseline of that.
    pub baseline_decode_tps: Option<f64>,
    /// Median end-to-end latency.
    pub latency_p50_seconds: Option<f64>,
    /// Its 95th percentile.
    pub latency_p95_seconds: Option<f64>,
    /// Median time to first token.
    pub ttft_p50_seconds: Option<f64>,
    /// vLLM's version.
    pub vllm_version: Option<String>,
    /// The version of the graphics driver.
    pub driver: Option<String>,
    /// What the last run came to: `ok`, why it does not count, `stale`, `first run` or `none yet`.
    pub last_run: String,
    /// When that ended.
    pub last_run_at: Option<Timestamp>,
    /// Whether a run is going on.
    pub in_progress: bool,
    /// The slot of the next run.
    pub next_run_at: Option<Timestamp>,
}

/// One workload on a deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProbeJson {
    /// The workload's name.
    pub workload: String,
    /// What exactly is replayed: only runs of one id are compared.
    pub workload_id: String,
    /// Seconds between two slots.
    pub interval_seconds: Option<f64>,
    /// The slot of the next run.
    pub next_run_at: Option<Timestamp>,
    /// Whether a run is going on.
    pub in_progress: bool,
    /// The last finished run, or the last attempt at one.
    pub last_run: Option<LastRunJson>,
    /// The end of the last valid run.
    pub last_valid_at: Option<Timestamp>,
    /// By measure; empty for a workload that is not judged, and until the history has been read.
    pub judgements: BTreeMap<String, JudgementJson>,
}

/// The last finished run of a probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LastRunJson {
    /// Which; `null` when an attempt came to no run.
    pub run_id: Option<String>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Whether it counts.
    pub valid: bool,
    /// Why it does not.
    pub invalid_reasons: Vec<String>,
    /// Why there was no run.
    pub not_run: Option<String>,
    /// Where the log of it is, below `/api/v1/`, while it is kept; also that of an attempt that came to no run.
    pub log: Option<String>,
    /// Completed requests per second.
    pub qps: Option<f64>,
    /// Prompt tokens per second.
    pub prompt_tps: Option<f64>,
    /// Completion tokens per second.
    pub decode_tps: Option<f64>,
    /// Median end-to-end latency.
    pub latency_p50_seconds: Option<f64>,
    /// Its 95th percentile.
    pub latency_p95_seconds: Option<f64>,
    /// Median time to first token.
    pub ttft_p50_seconds: Option<f64>,
    /// Median time per output token.
    pub tpot_p50_seconds: Option<f64>,
}

/// What is judged of one measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JudgementJson {
    /// Against the environment before the last change of it.
    pub previous: Option<ComparisonJson>,
    /// Against the pinned baseline.
    pub baseline: Option<ComparisonJson>,
    /// Median of the baseline, in the measure's own unit.
    pub baseline_median: Option<f64>,
    /// Clean runs in it, at most 96; it is used from 10.
    pub baseline_runs: usize,
    /// End of the latest run in it.
    pub baseline_at: Option<Timestamp>,
    /// How much single runs differ from their level, as a share.
    pub noise_ratio: Option<f64>,
    /// The least worsening that would be found in nine cases of ten within 24 runs, as a share.
    pub minimum_detectable_change_ratio: Option<f64>,
    /// The verdict that stands: `regressed` or `improved`.
    pub verdict: Option<String>,
    /// The end of the run with which it began.
    pub verdict_since: Option<Timestamp>,
    /// Who has seen it.
    pub acknowledgement: Option<AcknowledgementJson>,
}

/// The present level divided by another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparisonJson {
    /// After divided by before, of the measure itself.
    pub ratio: f64,
    /// Lower end of its 95 % interval.
    pub lower: f64,
    /// Upper end of it.
    pub upper: f64,
    /// What these runs say: `regressed`, `improved`, `unchanged` or `inconclusive`.
    pub decision: String,
    /// Clean runs after.
    pub runs_after: usize,
    /// Clean runs before.
    pub runs_before: usize,
}

/// Who has seen a verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AcknowledgementJson {
    /// Who it was.
    pub by: String,
    /// When it was said.
    pub at: Timestamp,
    /// The reason.
    pub why: String,
    /// Until when the verdict is silent.
    pub until: Option<Timestamp>,
}

impl From<&Comparison> for ComparisonJson {
    fn from(comparison: &Comparison) -> Self {
        let Comparison {
            ratio,
            lower,
            upper,
            verdict: _,
            decision,
            runs_after,
            runs_before,
        } = *comparison;
        Self {
            ratio,
            lower,
            upper,
            decision: decision.label().to_owned(),
            runs_after,
            runs_before,
        }
    }
}

impl From<&Acknowledgement> for AcknowledgementJson {
    fn from(acknowledgement: &Acknowledgement) -> Self {
        let until = match acknowledgement.settlement {
            Settlement::Until(end) => Some(end),
            Settlement::Rebaseline => None,
        };
        Self {
            by: acknowledgement.by.clone(),
            at: acknowledgement.at,
            why: acknowledgement.why.clone(),
            until,
        }
    }
}

impl From<&Judgement> for JudgementJson {
    fn from(judgement: &Judgement) -> Self {
        let standing = judgement.standing.as_ref();
        let acknowledgement = standing.and_then(|standing| standing.acknowledgement.as_ref());
        Self {
            previous: judgement.previous.as_ref().map(ComparisonJson::from),
            baseline: judgement.baseline.as_ref().map(ComparisonJson::from),
            baseline_median: judgement.baseline_median,
            baseline_runs: judgement.baseline_runs,
            baseline_at: judgement.baseline_at,
            noise_ratio: judgement.noise_ratio,
            minimum_detectable_change_ratio: judgement.minimum_detectable_change,
            verdict: standing.map(|standing| standing.verdict.label().to_owned()),
            verdict_since: standing.map(|standing| standing.since),
            acknowledgement: acknowledgement.map(AcknowledgementJson::from),
        }
    }
}
