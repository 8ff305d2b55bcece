//! What a scrape costs: the exposition of a fleet, each deployment with two probes that have run.
//!
//! `cargo bench --bench scrape`

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use vllm_prober::board::{Board, ProbeStatus, Snapshot};
use vllm_prober::deployment::{Deployment, Endpoint};
use vllm_prober::measurement::{
    Arrivals, Completion, Connections, FinishReason, RequestRecord, Run, RunId,
};
use vllm_prober::server::metrics::Exposition;
use vllm_prober::statistics::summarize;
use vllm_prober::totals::{Buckets, HistogramBounds};
use vllm_prober::workload::{Workload, WorkloadName};

const SCRAPES: usize = 15;

fn main() {
    println!(
        "{:<14}{:>12}{:>12}{:>16}",
        "deployments", "series", "MB", "median of 15"
    );
    for deployments in [1, 10, 100, 1000] {
        let now = now();
        let exposition = Exposition::new(Arc::new(board(deployments, now)), Arc::default(), now);
        let mut times: Vec<Duration> = Vec::new();
        let mut text = Vec::new();
        for _ in 0..SCRAPES {
            let start = Instant::now();
            text = exposition.text();
            times.push(start.elapsed());
        }
        times.sort_unstable();
        let series = text
            .split(|byte| *byte == b'\n')
            .filter(|line| line.starts_with(b"vllm"))
            .count();
        let milliseconds = times[SCRAPES / 2].as_secs_f64() * 1e3;
        println!(
            "{deployments:<14}{series:>12}{:>12.2}{milliseconds:>13.2} ms",
            text.len() as f64 / 1e6
        );
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a result must be fresh when it is scraped"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

fn board(deployments: usize, now: Timestamp) -> Board {
    let bounds: HistogramBounds = Some(Arc::new(Buckets {
        e2e_latency: (1..=20).map(f64::from).collect(),
        time_to_first_token: (1..=12).map(f64::from).collect(),
        time_per_output_token: (1..=12).map(f64::from).collect(),
    }));
    let workloads = ["reference", "second"].map(|name| {
        Arc::new(Workload {
            name: WorkloadName::new(name),
            ..Workload::reference("p")
        })
    });
    let run = run(now);
    let summary = Arc::new(summarize(&run, &workloads[0]));
    let probes = (0..deployments).flat_map(|n| {
        let deployment = Arc::new(deployment(n));
        let status = |workload: &Arc<Workload>| {
            let mut status =
                ProbeStatus::new(Arc::clone(&deployment), Arc::clone(workload), &bounds);
            status.interval = Some(Duration::from_secs(900));
            status.ran(&run, Arc::clone(&summary), now);
            Arc::new(status)
        };
        workloads.iter().map(status).collect::<Vec<_>>()
    });
    Board::new(Snapshot {
        stale_after: 3,
        probes: probes.collect(),
        deployments: Default::default(),
    })
}

fn deployment(n: usize) -> Deployment {
    Deployment {
        family: Some("qwen3-32b".to_owned()),
        precision: Some("nvfp4".to_owned()),
        ..Deployment::new(
            &format!("qwen3-32b-nvfp4-{n}"),
            Endpoint::new("http://127.0.0.1:8000".parse().expect("a URL")),
        )
    }
}

fn run(now: Timestamp) -> Run {
    let second = Duration::from_secs;
    let completion = Completion {
        prompt_tokens: 110,
        completion_tokens: 256,
        cached_tokens: None,
        finish_reason: FinishReason::Length,
        arrivals: Some(Arrivals {
            first: second(1),
            first_content: None,
            last: second(7),
            gaps: vec![second(6)],
        }),
        system_fingerprint: None,
    };
    let record = RequestRecord {
        sent: second(0),
        ended: second(7),
        outcome: Ok(completion),
    };
    Run {
        id: RunId("1".to_owned()),
        started_at: now,
        model: "RedHatAI/Qwen3-32B-NVFP4".to_owned(),
        server_version: Some("0.13.0".to_owned()),
        planned: 64,
        concurrency: 16,
        records: vec![record; 64],
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
