//! A fleet as it may be met: slower after a driver, faster, disturbed, down, new, stale, and one whose every text is
//! hostile. Its verdicts are those of the product's own judges.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use vllm_prober::board::{DeploymentStatus, ProbeStatus, RecentRun, RecentRuns, Snapshot};
use vllm_prober::condition::{Condition, DeploymentState};
use vllm_prober::deployment::{Deployment, DeploymentName, Endpoint};
use vllm_prober::environment::{Environment, EnvironmentField, EnvironmentSource, Finding};
use vllm_prober::judges::{Act, Intervention, JudgedFigures, Judges};
use vllm_prober::measure::{Measure, Tolerances};
use vllm_prober::measurement::{
    Arrivals, Completion, Connections, FailureReason, FinishReason, RequestError, RequestRecord,
    Run, RunId,
};
use vllm_prober::report::RunJson;
use vllm_prober::statistics::{InvalidReason, Summary, summarize};
use vllm_prober::verdict::Settlement;
use vllm_prober::workload::Workload;

/// What no page may take for its own.
pub(crate) const HOSTILE: &str = "<script>alert('1')</script>\"&";

const EVERY: i64 = 900;

/// What becomes of one run.
#[derive(Clone, Copy)]
enum Came {
    /// To so many decode tokens a second.
    To(f64),
    /// It was disturbed.
    Contaminated,
    /// Requests failed.
    Failed,
}

/// A deployment in the making: fed with runs, judged by the product.
struct Story {
    status: ProbeStatus,
    known: DeploymentStatus,
    judges: Judges,
    environment: BTreeMap<EnvironmentField, String>,
    runs: u32,
    /// When the next run ends.
    at: Timestamp,
}

impl Story {
    /// One of `runs` runs, of which the last ends `ago` seconds before `now`.
    fn new(deployment: Deployment, runs: i64, ago: i64, now: Timestamp) -> Self {
        let mut status = ProbeStatus::new(
            Arc::new(deployment),
            Arc::new(Workload::reference("p")),
            &None,
        );
        status.interval = Some(Duration::from_secs(900));
        status.next_run = Some(now + SignedDuration::from_secs(EVERY - ago.min(EVERY - 60)));
        let mut story = Self {
            status,
            known: DeploymentStatus::unknown(now - SignedDuration::from_secs(ago)),
            judges: Judges::new(&Tolerances::default()),
            environment: BTreeMap::new(),
            runs: 0,
            at: now - SignedDuration::from_secs(ago + EVERY * (runs - 1)),
        };
        story.set(EnvironmentField::VllmVersion, "0.13.0");
        story.set(EnvironmentField::Driver, "580.95.05");
        story
    }

    fn set(&mut self, field: EnvironmentField, value: &str) {
        self.environment.insert(field, value.to_owned());
    }

    /// Runs `count` times about `level`.
    fn runs(mut self, count: u32, level: f64) -> Self {
        for _ in 0..count {
            let n = f64::from(self.runs);
            let wobble = 1.0 + 0.004 * ((n * 2.4).sin() + (n * 0.7).cos()) / 2.0;
            self.run(Came::To(level * wobble));
        }
        self
    }

    fn one(mut self, came: Came) -> Self {
        self.run(came);
        self
    }

    fn changed(mut self, field: EnvironmentField, value: &str) -> Self {
        self.set(field, value);
        self
    }

    fn run(&mut self, came: Came) {
        let findings = self.environment.iter().filter_map(|(field, value)| {
            Finding::new(*field, value, EnvironmentSource::ServerInfo)
        });
        let environment = Environment::of(findings);
        let run = run(
            self.runs,
            came,
            self.status.deployment.model.as_deref(),
            self.at,
        );
        let mut summary: Summary = summarize(&run, &self.status.workload);
        if matches!(came, Came::Contaminated) {
            summary.invalid_reasons = vec![InvalidReason::Contaminated];
            summary.figures = None;
        }
        self.known.saw_environment(&environment, self.at);
        self.known.seen_at = self.at;
        self.known.condition = match came {
            Came::To(_) | Came::Contaminated => {
                condition(DeploymentState::Ok, "64 of 64 requests completed")
            }
            Came::Failed => condition(
                DeploymentState::Down,
                "connect: connection refused; /health does not answer",
            ),
        };
        let generation = self.known.generation.as_ref();
        let mut values = BTreeMap::new();
        if let Some(figures) = &summary.figures {
            values.insert(Measure::DecodeTokensRate, figures.decode_tps);
            values.insert(Measure::E2eP50, figures.latency.p50);
        }
        self.judges.feed(&JudgedFigures {
            ended_at: self.at,
            values,
            completion_tokens_mean: summary.figures.as_ref().map(|_| 256.0),
            contaminated: matches!(came, Came::Contaminated),
            contention_observable: true,
            fingerprint: generation
                .map_or_else(String::new, |generation| generation.fingerprint.clone()),
            restarted: false,
        });
        self.status.ran(&run, Arc::new(summary), self.at);
        self.runs += 1;
        self.at += SignedDuration::from_secs(EVERY);
    }

    fn intervene(mut self, by: &str, why: &str, act: Act, at: Timestamp) -> Self {
        let intervention = Intervention {
            at,
            by: by.to_owned(),
            why: why.to_owned(),
            measure: None,
            act,
        };
        self.judges
            .intervene(&intervention)
            .expect("a verdict stands");
        self
    }

    fn end(mut self, snapshot: &mut Snapshot) {
        self.status.opinion = Some(Arc::new(self.judges.opinion()));
        let name = self.status.deployment.name.clone();
        snapshot.deployments.insert(name, Arc::new(self.known));
        snapshot.probes.push(Arc::new(self.status));
    }
}

fn condition(state: DeploymentState, evidence: &str) -> Condition {
    Condition {
        state,
        evidence: evidence.to_owned(),
    }
}

fn deployment(name: &str, family: &str, precision: &str, model: &str) -> Deployment {
    Deployment {
        family: Some(family.to_owned()),
        precision: Some(precision.to_owned()),
        model: Some(model.to_owned()),
        ..Deployment::new(
            name,
            Endpoint::new("http://127.0.0.1:8000".parse().expect("a URL")),
        )
    }
}

/// A fleet of nine as it is at `now`.
pub(crate) fn fleet(now: Timestamp) -> Snapshot {
    let mut snapshot = empty();
    let story = |name: &str, precision: &str, model: &str, runs: i64, ago: i64| {
        Story::new(
            deployment(name, "qwen3-32b", precision, model),
            runs,
            ago,
            now,
        )
    };
    story("qwen3-32b-bf16", "bf16", "Qwen/Qwen3-32B", 130, 200)
        .runs(130, 322.0)
        .end(&mut snapshot);
    story("qwen3-32b-fp8", "fp8", "Qwen/Qwen3-32B-FP8", 120, 320)
        .runs(80, 381.9)
        .one(Came::Contaminated)
        .runs(20, 381.9)
        .one(Came::Contaminated)
        .one(Came::Contaminated)
        .runs(17, 381.9)
        .end(&mut snapshot);
    story(
        "qwen3-32b-nvfp4",
        "nvfp4",
        "RedHatAI/Qwen3-32B-NVFP4",
        134,
        140,
    )
    .runs(110, 606.5)
    .one(Came::Contaminated)
    .runs(6, 606.5)
    .changed(EnvironmentField::Driver, "590.12")
    .runs(17, 575.6)
    .end(&mut snapshot);
    Story::new(
        deployment(
            "llama-3.3-70b-fp8",
            "llama-3.3-70b",
            "fp8",
            "meta-llama/Llama-3.3-70B-Instruct-FP8",
        ),
        150,
        620,
        now,
    )
    .runs(110, 241.0)
    .runs(40, 226.0)
    .intervene(
        "on-call",
        "guided decoding is on since Monday",
        Act::Acknowledge(Settlement::Until(now + SignedDuration::from_hours(30))),
        now - SignedDuration::from_hours(2),
    )
    .end(&mut snapshot);
    Story::new(
        deployment(
            "gemma-3-27b-int4",
            "gemma-3-27b",
            "int4",
            "google/gemma-3-27b-it-qat",
        ),
        120,
        80,
        now,
    )
    .runs(100, 512.0)
    .changed(EnvironmentField::VllmVersion, "0.14.1")
    .runs(20, 548.0)
    .end(&mut snapshot);
    Story::new(
        deployment(
            "mistral-small-24b",
            "mistral-small",
            "bf16",
            "mistralai/Mistral-Small-3.2-24B-Instruct-2506",
        ),
        60,
        400,
        now,
    )
    .runs(57, 410.0)
    .one(Came::Failed)
    .one(Came::Failed)
    .one(Came::Failed)
    .end(&mut snapshot);
    Story::new(
        deployment("phi-4-new", "phi-4", "bf16", "microsoft/phi-4"),
        4,
        500,
        now,
    )
    .runs(4, 705.0)
    .end(&mut snapshot);
    Story::new(
        deployment("qwen3-8b-edge", "qwen3-8b", "fp8", "Qwen/Qwen3-8B-FP8"),
        40,
        9_000,
        now,
    )
    .runs(40, 1_310.0)
    .end(&mut snapshot);
    let never = deployment("qwen3-8b-spare", "qwen3-8b", "fp8", "Qwen/Qwen3-8B-FP8");
    let mut never = ProbeStatus::new(Arc::new(never), Arc::new(Workload::reference("p")), &None);
    never.interval = Some(Duration::from_secs(900));
    never.next_run = Some(now + SignedDuration::from_secs(75));
    snapshot.probes.push(Arc::new(never));
    snapshot
}

/// A fleet of one, which is slower after a change, is acknowledged and then fails, and whose every text is hostile.
pub(crate) fn hostile(now: Timestamp) -> Snapshot {
    hostile_by(HOSTILE, now)
}

/// The same, whose every text is `text`.
pub(crate) fn hostile_by(text: &str, now: Timestamp) -> Snapshot {
    let mut snapshot = empty();
    let deployment = Deployment {
        labels: BTreeMap::from([("team".to_owned(), text.to_owned())]),
        ..deployment(text, text, text, text)
    };
    let mut story = Story::new(deployment, 60, 60, now);
    for field in EnvironmentField::ALL {
        story.set(*field, text);
    }
    let mut story = story
        .runs(40, 600.0)
        .changed(EnvironmentField::Driver, &format!("{text}2"))
        .runs(20, 540.0)
        .intervene(
            text,
            text,
            Act::Acknowledge(Settlement::Until(now + SignedDuration::from_hours(1))),
            now,
        );
    let id = RunId("019c1e5a-8f00-7a3e-b1d2-000000000999".to_owned());
    story.status.did_not_run(Some(id), text.to_owned(), now);
    story.known.condition = condition(DeploymentState::Down, text);
    story.end(&mut snapshot);
    snapshot
}

/// `run` under an id of its own.
pub(crate) fn numbered(run: RunJson, number: u32) -> RunJson {
    RunJson {
        run_id: format!("019c1e5a-8f00-7a3e-b1d2-{number:012}"),
        ..run
    }
}

/// As many deployments as that, like those of [`fleet`].
pub(crate) fn large(deployments: usize, now: Timestamp) -> Snapshot {
    let few = fleet(now);
    let mut many = empty();
    for (n, probe) in few.probes.iter().cycle().take(deployments).enumerate() {
        let mut status = ProbeStatus::clone(probe);
        let known = few.deployments.get(&status.deployment.name).cloned();
        let deployment = Deployment {
            name: DeploymentName::new(format!("{}-{n}", status.deployment.name)),
            ..Deployment::clone(&status.deployment)
        };
        if let Some(known) = known {
            many.deployments.insert(deployment.name.clone(), known);
        }
        status.deployment = Arc::new(deployment);
        many.probes.push(Arc::new(status));
    }
    many
}

/// The same with more than a hundred runs of each deployment on average, none of them held twice.
pub(crate) fn long_lived(deployments: usize, now: Timestamp) -> Snapshot {
    let mut fleet = large(deployments, now);
    for probe in &mut fleet.probes {
        let probe = Arc::make_mut(probe);
        let mut recent = RecentRuns::clone(&probe.recent);
        let first = recent.iter().next().cloned();
        let before = (1..=25).rev().filter_map(|n| {
            let first = first.clone()?;
            Some(RecentRun {
                ended_at: first.ended_at - SignedDuration::from_mins(15 * n),
                ..first
            })
        });
        recent.recall(before.collect());
        probe.recent = Arc::new(recent);
    }
    fleet
}

/// A run as the history has it, with its requests.
pub(crate) fn stored_run(name: &str, now: Timestamp) -> RunJson {
    stored(name, Came::To(381.9), now)
}

/// One whose every request failed.
pub(crate) fn stored_failed_run(name: &str, now: Timestamp) -> RunJson {
    stored(name, Came::Failed, now)
}

fn stored(name: &str, came: Came, now: Timestamp) -> RunJson {
    let deployment = deployment(name, "qwen3-32b", "fp8", "Qwen/Qwen3-32B-FP8");
    let workload = Workload::reference("p");
    let mut run = run(7, came, deployment.model.as_deref(), now);
    let findings = [
        (EnvironmentField::VllmVersion, "0.13.0"),
        (EnvironmentField::Driver, "580.95.05"),
    ];
    run.environment =
        Environment::of(findings.into_iter().filter_map(|(field, value)| {
            Finding::new(field, value, EnvironmentSource::ServerInfo)
        }));
    let summary = summarize(&run, &workload);
    let mut run = RunJson::new(&deployment, &workload, &run, &summary, true);
    // What the reader of these pages is to see, and not this program's own version.
    run.client.version = Some("0.1.0".to_owned());
    run.server.ttft_seconds_mean = run.valid.then_some(0.281);
    run.server.kv_cache_usage_peak = Some(0.31);
    run
}

/// One whose every text is hostile.
pub(crate) fn hostile_run(now: Timestamp) -> RunJson {
    hostile_run_by(HOSTILE, now)
}

/// The same, whose every text is `text`.
pub(crate) fn hostile_run_by(text: &str, now: Timestamp) -> RunJson {
    let hostile = text.to_owned();
    let mut run = stored(text, Came::Failed, now);
    run.model.clone_from(&hostile);
    run.workload = Some(hostile.clone());
    run.invalid_reasons.push(hostile.clone());
    run.failures.insert(hostile.clone(), 3);
    run.server.version = Some(hostile.clone());
    run.server.unobservable = Some(hostile.clone());
    run.client.version = Some(hostile.clone());
    for field in run.environment.fields.values_mut() {
        field.value.clone_from(&hostile);
        field.source.clone_from(&hostile);
    }
    for record in run.request_records.iter_mut().flatten() {
        record.failure_reason = Some(hostile.clone());
        record.failure = Some(hostile.clone());
    }
    run
}

/// What a page says, a row in a line.
pub(crate) fn text(page: &str) -> String {
    let body = page.split("<main").nth(1).expect("a page");
    let mut text = String::new();
    let mut is_tag = true;
    for character in body.replace("</tr>", "\n").replace("</li>", "\n").chars() {
        match character {
            '<' => {
                is_tag = true;
                text.push(' ');
            }
            '>' if is_tag => is_tag = false,
            _ if !is_tag => text.push(character),
            _ => {}
        }
    }
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

fn empty() -> Snapshot {
    Snapshot {
        stale_after: 3,
        probes: Vec::new(),
        deployments: BTreeMap::new(),
    }
}

/// 64 requests in four waves of 16.
fn run(n: u32, came: Came, model: Option<&str>, ended_at: Timestamp) -> Run {
    let decode_tps = match came {
        Came::To(decode_tps) => decode_tps,
        Came::Contaminated | Came::Failed => 500.0,
    };
    let wall = 64.0 * 256.0 / decode_tps;
    let seconds = Duration::from_secs_f64;
    let record = |place: u32| {
        let (wave, within) = (f64::from(place / 16), f64::from(place % 16));
        let (sent, length) = (wall / 4.0 * wave, wall / 4.0 * (1.0 - 0.002 * within));
        let first = sent + 0.22 + 0.01 * within;
        let completion = Completion {
            prompt_tokens: 110,
            completion_tokens: 256,
            cached_tokens: None,
            finish_reason: FinishReason::Length,
            arrivals: Some(Arrivals {
                first: seconds(first),
                first_content: None,
                last: seconds(sent + length),
                gaps: vec![seconds(sent + length - first)],
            }),
            system_fingerprint: None,
        };
        let failed = RequestError {
            reason: FailureReason::Connect,
            detail: "connection refused".to_owned(),
        };
        RequestRecord {
            sent: seconds(sent),
            ended: seconds(sent + length),
            outcome: if matches!(came, Came::Failed) {
                Err(failed)
            } else {
                Ok(completion)
            },
        }
    };
    Run {
        id: RunId(format!("019c1e5a-8f00-7a3e-b1d2-{n:012}")),
        started_at: ended_at - SignedDuration::from_secs_f64(wall),
        model: model.unwrap_or_default().to_owned(),
        server_version: Some("0.13.0".to_owned()),
        planned: 64,
        concurrency: 16,
        records: (0..64).map(record).collect(),
        deadline_passed: false,
        connections: Connections::default(),
        client_delays: vec![Duration::from_micros(20)],
        client_cpu: None,
        warmup: Default::default(),
        environment: Default::default(),
        observation: Default::default(),
        given_up: None,
    }
}
