//! What a history of 1,000,000 runs costs: to start with, to ask, to judge from, and to write to.
//!
//! 26 deployments that were probed every 15 minutes for 400 days. It writes about 4 GB into a temporary directory,
//! or keeps and uses the one that is named:
//!
//! `cargo bench --bench history -- /tmp/history`

use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use vllm_prober::deployment::{Deployment, Endpoint};
use vllm_prober::history::{
    Entry, History, Kept, Order, Page, Reader, Series, SeriesPoint, judge_again,
};
use vllm_prober::judges::JudgedFigures;
use vllm_prober::measure::{Measure, Tolerances};
use vllm_prober::measurement::{
    Arrivals, Completion, Connections, FinishReason, RequestRecord, Run, RunId,
};
use vllm_prober::report::{RunJson, Source};
use vllm_prober::statistics::summarize;
use vllm_prober::workload::Workload;

const DEPLOYMENTS: i64 = 26;
const RUNS: i64 = 1_000_000;
const BATCH: i64 = 1_000;
/// Requests are kept for two weeks of the 400 days.
const WITH_REQUESTS: i64 = RUNS * 14 / 400;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let named = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let directory = named.map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let history = History::open(&directory).await.expect("it opens");
    let mut reader = history.reader().await.expect("it can be read");
    if reader.all_series().await.expect("series").is_empty() {
        let start = Instant::now();
        fill(&history).await;
        say(
            "written, in batches of 1,000",
            start.elapsed() / 1_000_000,
            "a run",
        );
    }
    history.close().await;
    drop((history, reader));
    println!("{:<46}{:>10.2} GB", "size", size(&directory) as f64 / 1e9);

    let start = Instant::now();
    let history = History::open(&directory).await.expect("it opens");
    let mut reader = history.reader().await.expect("it can be read");
    let latest = reader.latest().await.expect("the latest runs");
    for latest in &latest {
        latest
            .run
            .read()
            .and_then(|run| run.summary())
            .expect("a readable run");
    }
    say(
        "start: open, latest of each series, read them",
        start.elapsed(),
        "",
    );
    assert_eq!(latest.len() as i64, DEPLOYMENTS);

    let series = &latest[7].series;
    let start = Instant::now();
    let points = reader.series(series, Timestamp::MIN).await.expect("points");
    say(
        &format!("a whole series, {} points", points.len()),
        start.elapsed(),
        "",
    );
    judging(&points);
    let all: Vec<Series> = reader.all_series().await.expect("series");
    let start = Instant::now();
    let mut count = 0;
    for series in &all {
        count += reader
            .series(series, Timestamp::MIN)
            .await
            .expect("points")
            .len();
    }
    say(
        &format!("every series, {count} points"),
        start.elapsed(),
        "",
    );
    pages(&mut reader, &series.deployment).await;
    writing(&history).await;
}

/// What a start and a run cost the judges of one probe.
fn judging(points: &[SeriesPoint]) {
    let start = Instant::now();
    let mut judges = judge_again(points, &[], &Tolerances::default(), |_, _| {});
    say("its verdicts made again", start.elapsed(), "");
    let last = JudgedFigures::from(points.last().expect("a point"));
    let start = Instant::now();
    judges.feed(&last);
    say("one more run judged, six measures", start.elapsed(), "");
    let start = Instant::now();
    let opinion = judges.opinion();
    say("what the judges say of it", start.elapsed(), "");
    assert_eq!(opinion.judgements.len(), Measure::ALL.len());
}

async fn pages(reader: &mut Reader, deployment: &str) {
    let mut page = Page {
        deployment: None,
        workload: None,
        order: Order::NewestFirst,
        after: None,
        limit: 20,
    };
    let start = Instant::now();
    let runs = reader.page(&page).await.expect("a page");
    say("the newest 20 runs", start.elapsed(), "");
    let start = Instant::now();
    reader
        .run(&runs[3].id)
        .await
        .expect("a run")
        .expect("it is there");
    say("one run with its requests", start.elapsed(), "");
    page.deployment = Some(deployment.to_owned());
    let start = Instant::now();
    let runs = reader.page(&page).await.expect("a page");
    say("the newest 20 runs of a deployment", start.elapsed(), "");
    page.after = Some(runs[19].id.clone());
    page.order = Order::OldestFirst;
    let start = Instant::now();
    let rest = reader.page(&page).await.expect("a page");
    say(
        &format!("the {} that are newer than one", rest.len()),
        start.elapsed(),
        "",
    );
}

async fn writing(history: &History) {
    let mut times = Vec::new();
    for n in 0..50 {
        let start = Instant::now();
        history
            .append(&[entry(RUNS + n)])
            .await
            .expect("it is stored");
        times.push(start.elapsed());
    }
    times.sort_unstable();
    say("append one run, median of 50", times[25], "");
    say("append one run, the slowest of 50", times[49], "");
    let before = began() + SignedDuration::from_hours(48);
    let kept = Kept {
        runs: before,
        light_runs: before,
        requests: before,
    };
    let mut times = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        history.prune(kept, 200).await.expect("it is pruned");
        times.push(start.elapsed());
    }
    times.sort_unstable();
    say("prune a batch of 200 runs, median of 20", times[10], "");
    say(
        "prune a batch of 200 runs, the slowest of 20",
        times[19],
        "",
    );
}

fn say(what: &str, took: Duration, per: &str) {
    println!("{what:<46}{:>10.3} ms {per}", took.as_secs_f64() * 1e3);
}

fn size(directory: &std::path::Path) -> u64 {
    std::fs::metadata(directory.join("history.db")).map_or(0, |file| file.len())
}

async fn fill(history: &History) {
    for batch in 0..RUNS / BATCH {
        let entries: Vec<Entry> = (batch * BATCH..(batch + 1) * BATCH).map(entry).collect();
        history.append(&entries).await.expect("it is stored");
    }
}

fn began() -> Timestamp {
    "2025-03-01T12:00:00Z".parse().expect("a time")
}

/// The `n`th run of all: each deployment has its turn in every quarter of an hour.
fn entry(n: i64) -> Entry {
    let ended_at = began()
        + SignedDuration::from_mins(15 * (n / DEPLOYMENTS))
        + SignedDuration::from_secs(n % DEPLOYMENTS);
    let mut run = run(n, ended_at - SignedDuration::from_secs(27));
    let workload = Workload::reference("p");
    let endpoint = Endpoint::new("http://127.0.0.1:8000".parse().expect("a URL"));
    let deployment = Deployment::new(&format!("qwen3-32b-nvfp4-{}", n % DEPLOYMENTS), endpoint);
    run.client_delays = vec![Duration::from_micros(20)];
    let summary = summarize(&run, &workload);
    let with_requests = n >= RUNS - WITH_REQUESTS;
    let json = RunJson::new(&deployment, &workload, &run, &summary, with_requests);
    Entry::new(json, Source::Prober, ended_at).expect("a run that can be stored")
}

fn run(n: i64, started_at: Timestamp) -> Run {
    let second = |s: f64| Duration::from_secs_f64(s);
    let step = 6.757 * (1.0 + 0.01 * (n as f64).sin());
    let record = |request: u32| {
        let sent = f64::from(request / 16) * step + f64::from(request) * 1.3e-4;
        RequestRecord {
            sent: second(sent),
            ended: second(sent + step),
            outcome: Ok(Completion {
                prompt_tokens: 110,
                completion_tokens: 256,
                cached_tokens: None,
                finish_reason: FinishReason::Length,
                arrivals: Some(Arrivals {
                    first: second(sent + 0.171),
                    first_content: None,
                    last: second(sent + step),
                    gaps: vec![second(step - 0.171)],
                }),
                system_fingerprint: None,
            }),
        }
    };
    let milliseconds = u128::from(started_at.as_millisecond().unsigned_abs());
    let id = uuid::Uuid::from_u128(
        milliseconds << 80 | 7 << 76 | 2 << 62 | u128::from(n.unsigned_abs()),
    );
    Run {
        id: RunId(id.to_string()),
        started_at,
        model: "RedHatAI/Qwen3-32B-NVFP4".to_owned(),
        server_version: Some("0.13.0".to_owned()),
        planned: 64,
        concurrency: 16,
        records: (0..64).map(record).collect(),
        deadline_passed: false,
        connections: Connections::default(),
        client_delays: Vec::new(),
        client_cpu: None,
        warmup: Default::default(),
        environment: Default::default(),
        observation: Default::default(),
        given_up: None,
    }
}
