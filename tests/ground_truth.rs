//! What the product measures, held against what the server knows: a server in a process of its own streams
//! at a set pace and logs when it did, and the run's figures are computed a second time from that log.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use vllm_prober::statistics::{Figures, summarize};
use vllm_prober::workload::Workload;

#[path = "common/paced.rs"]
mod paced;
#[path = "common/replay.rs"]
mod replay;
#[path = "common/scripted.rs"]
mod scripted;

use paced::{Pace, PacedServer, Served};

/// By how much a rate or a latency may differ from the truth.
const TOLERANCE: f64 = 0.005;

struct Case {
    concurrency: u32,
    requests: u32,
    first_ms: u64,
    gap_ms: u64,
    tokens: u32,
    /// By how much the time to first token may differ, in seconds.
    ttft_tolerance: f64,
}

const CASES: [Case; 2] = [
    Case {
        concurrency: 16,
        requests: 64,
        first_ms: 100,
        gap_ms: 10,
        tokens: 256,
        ttft_tolerance: 0.001,
    },
    Case {
        concurrency: 256,
        requests: 512,
        first_ms: 200,
        gap_ms: 40,
        tokens: 64,
        ttft_tolerance: 0.002,
    },
];

const ATTEMPTS: usize = 4;

#[test]
#[ignore = "needs a quiet machine"]
fn figures_agree_with_the_servers_own_log() {
    for case in &CASES {
        // What else the machine does can only move figures apart, never together.
        let mut beyond = Vec::new();
        for _ in 0..ATTEMPTS {
            beyond = apart(case);
            if beyond.is_empty() {
                break;
            }
        }
        assert!(
            beyond.is_empty(),
            "further apart than allowed, {ATTEMPTS} times: {beyond:?}"
        );
    }
}

/// Measures one case, and names the figures that are further apart than allowed.
fn apart(case: &Case) -> Vec<String> {
    let workload = Workload {
        concurrency: case.concurrency,
        requests: case.requests,
        max_tokens: case.tokens,
        ..Workload::reference("Hello ".repeat(80))
    };
    let server = ServerProcess::start(case);
    let run = replay::measure(replay::endpoint(&server.base_url), workload.clone()).unwrap();
    let truth = Truth::of(&server.log(), case.tokens);
    let summary = summarize(&run, &workload);
    let figures = summary.figures.unwrap();
    println!(
        "{} in flight, {:.4} of the time",
        case.concurrency,
        summary.concurrency_utilization.unwrap()
    );
    println!("{:<12}{:>14}{:>14}{:>12}", "", "server", "prober", "apart");
    let mut beyond = Vec::new();
    for (name, truth, found, bound) in pairs(&truth, &figures, case) {
        let apart = (found - truth).abs();
        println!("{name:<12}{truth:>14.6}{found:>14.6}{apart:>12.6}  of {bound:.6}");
        if apart > bound {
            beyond.push(format!("{name} at {} in flight", case.concurrency));
        }
    }
    beyond
}

/// Each figure: its name, the truth, what was found, and how far they may be apart.
fn pairs(truth: &Truth, found: &Figures, case: &Case) -> [(&'static str, f64, f64, f64); 5] {
    let relative = |name, truth, found| (name, truth, found, truth * TOLERANCE);
    [
        relative("qps", truth.qps, found.qps),
        relative("decode_tps", truth.decode_tps, found.decode_tps),
        relative("latency p50", truth.p50, found.latency.p50),
        relative("latency p95", truth.p95, found.latency.p95),
        (
            "ttft p50",
            truth.ttft_p50,
            found.ttft.unwrap().p50,
            case.ttft_tolerance,
        ),
    ]
}

/// The figures of a run as its server would have them.
struct Truth {
    qps: f64,
    decode_tps: f64,
    p50: f64,
    p95: f64,
    ttft_p50: f64,
}

impl Truth {
    fn of(log: &[Served], tokens: u32) -> Self {
        let started = log.iter().map(|served| served.arrived).min().unwrap();
        let ended = log.iter().map(|served| served.ended).max().unwrap();
        let wall = (ended - started).as_secs_f64();
        let served = log.len() as f64;
        let latencies = sorted(log, |served| served.last - served.arrived);
        let ttfts = sorted(log, |served| served.first - served.arrived);
        Self {
            qps: served / wall,
            decode_tps: served * f64::from(tokens) / wall,
            p50: quantile(&latencies, 0.5),
            p95: quantile(&latencies, 0.95),
            ttft_p50: quantile(&ttfts, 0.5),
        }
    }
}

fn sorted(log: &[Served], of: impl Fn(&Served) -> Duration) -> Vec<f64> {
    let mut seconds: Vec<f64> = log.iter().map(|served| of(served).as_secs_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    seconds
}

/// Linear between the neighbours of rank `(n - 1) q`.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (sorted.len() - 1) as f64 * q;
    let (below, above) = (rank.floor() as usize, rank.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (rank - rank.floor())
}

/// What the server is told, and what makes this program the server.
const PACE: &str = "GROUND_TRUTH_PACE";

/// Begins the lines that are meant for the other process: the test harness writes there too.
const MARK: &str = "@ ";

/// The server, which is this program again.
struct ServerProcess {
    child: Child,
    output: BufReader<ChildStdout>,
    base_url: String,
}

impl ServerProcess {
    fn start(case: &Case) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["the_other_process", "--exact", "--ignored", "--nocapture"])
            .env(
                PACE,
                format!("{} {} {}", case.first_ms, case.gap_ms, case.tokens),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let base_url = marked(&mut output).next().unwrap();
        Self {
            child,
            output,
            base_url,
        }
    }

    /// Ends the server and takes its log.
    fn log(mut self) -> Vec<Served> {
        drop(self.child.stdin.take());
        let log = marked(&mut self.output).map(|line| {
            let times = line
                .split(' ')
                .map(|nanoseconds| Duration::from_nanos(nanoseconds.parse().unwrap()));
            let [arrived, first, last, ended] = times.collect::<Vec<_>>().try_into().unwrap();
            Served {
                arrived,
                first,
                last,
                ended,
            }
        });
        let log = log.collect();
        assert!(self.child.wait().unwrap().success());
        log
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It may have been waited for already.
        let _ = self.child.wait();
    }
}

fn marked(output: &mut BufReader<ChildStdout>) -> impl Iterator<Item = String> {
    output
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix(MARK).map(str::to_owned))
}

/// Serves until its standard input ends, and then hands over its log.
#[test]
#[ignore = "acts only as the server of the test above"]
fn the_other_process() {
    let Ok(pace) = std::env::var(PACE) else {
        return;
    };
    let numbers: Vec<u32> = pace
        .split(' ')
        .map(|number| number.parse().unwrap())
        .collect();
    let server = PacedServer::start(Pace {
        first: Duration::from_millis(numbers[0].into()),
        gap: Duration::from_millis(numbers[1].into()),
        tokens: numbers[2],
    });
    // The harness may be in the middle of a line.
    println!("\n{MARK}{}", server.base_url());
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    for served in server.served() {
        let times = [served.arrived, served.first, served.last, served.ended];
        println!(
            "{MARK}{}",
            times.map(|time| time.as_nanos().to_string()).join(" ")
        );
    }
}
