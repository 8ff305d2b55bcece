//! Proof, in virtual time, that the built-in profiles reproduce the reference: a closed loop of 16 over
//! 64 requests against the bare engine, for many seeds, with the prompt cached and not.

use std::collections::BTreeMap;
use std::time::Duration;

use super::controls::Conditions;
use super::engine::Engine;
use super::kv_cache::Prompt;
use super::profile::Profile;
use super::sequence::Request;
use super::stats::Finish;

/// How the client at the other end behaves.
#[derive(Clone, Copy)]
struct Client {
    /// From an answer's last token to its successor's arrival.
    turnaround: Duration,
    /// Between two arrivals that would otherwise fall together.
    stagger: Duration,
}

#[derive(Debug)]
struct Figures {
    qps: f64,
    decode_tps: f64,
    p50: f64,
    p95: f64,
}

/// The reference benchmark, begun at `start` on an engine that may have run before.
fn benchmark(
    engine: &mut Engine,
    start: Duration,
    client: Client,
    conditions: &Conditions,
) -> Figures {
    let prompt = Prompt::new(&"reference ".repeat(60), 110, 5.5, None);
    let request = Request {
        prompt,
        max_tokens: 256,
        stops_after: None,
    };
    let mut arrivals: BTreeMap<(Duration, u32), ()> = BTreeMap::new();
    let mut sent = 0;
    let mut send = |arrivals: &mut BTreeMap<_, _>, at| {
        if sent < 64 {
            arrivals.insert((at, sent), ());
            sent += 1;
        }
    };
    for i in 0..16 {
        send(&mut arrivals, start + client.stagger * i);
    }
    let mut sent_at = BTreeMap::new();
    let mut latencies = Vec::new();
    let mut end = start;
    while latencies.len() < 64 {
        let now = match engine.begin_step(end, conditions) {
            Some(ends) => ends,
            None => {
                arrivals
                    .first_key_value()
                    .expect("someone is in flight")
                    .0
                    .0
            }
        };
        while let Some(entry) = arrivals.first_entry().filter(|entry| entry.key().0 <= now) {
            let (at, _) = *entry.key();
            entry.remove();
            sent_at.insert(engine.submit(at, request.clone()), at);
        }
        end = now;
        let mut ended = 0;
        if engine.step_ends() == Some(now) {
            engine.end_step(|id, progress| {
                if let Some(finish) = progress.finish {
                    assert_eq!((finish, progress.tokens), (Finish::Length, 256));
                    latencies.push((now - sent_at[&id]).as_secs_f64());
                    ended += 1;
                }
            });
        }
        for i in 0..ended {
            send(&mut arrivals, now + client.turnaround + client.stagger * i);
        }
    }
    latencies.sort_by(f64::total_cmp);
    let quantile = |q: f64| {
        let h = 63.0 * q;
        let (low, high) = (latencies[h as usize], latencies[h.ceil() as usize]);
        low + (high - low) * h.fract()
    };
    let wall = (end - start).as_secs_f64();
    Figures {
        qps: 64.0 / wall,
        decode_tps: 64.0 * 256.0 / wall,
        p50: quantile(0.5),
        p95: quantile(0.95),
    }
}

/// QPS, decode tokens a second, p50 and p95 as published.
const REFERENCE: [(&str, [f64; 4]); 3] = [
    ("nvfp4", [2.3690, 606.4682, 6.7577, 6.7950]),
    ("fp8", [1.4917, 381.8702, 10.6898, 10.8637]),
    ("bf16", [1.2582, 322.0868, 12.7105, 12.7653]),
];

/// A client on the same machine, at speed-ups of 1, of about 10, and one that takes no time at all.
const CLIENTS: [Client; 3] = [
    Client {
        turnaround: Duration::from_millis(1),
        stagger: Duration::from_micros(200),
    },
    Client {
        turnaround: Duration::from_millis(8),
        stagger: Duration::from_micros(1000),
    },
    Client {
        turnaround: Duration::ZERO,
        stagger: Duration::ZERO,
    },
];

fn departures(figures: &Figures, published: [f64; 4]) -> [f64; 4] {
    let found = [figures.qps, figures.decode_tps, figures.p50, figures.p95];
    std::array::from_fn(|i| found[i] / published[i] - 1.0)
}

#[test]
fn the_built_in_profiles_reproduce_the_reference_within_one_percent() {
    for (name, published) in REFERENCE {
        for (number, client) in CLIENTS.into_iter().enumerate() {
            for seed in 0..20 {
                let mut engine = Engine::new(Profile::named(name).unwrap(), seed, 1.0);
                // Cold, then warm after an idle minute.
                for start in [0, 120] {
                    let start = Duration::from_secs(start);
                    let figures = benchmark(&mut engine, start, client, &Conditions::default());
                    let departures = departures(&figures, published);
                    assert!(
                        departures.iter().all(|departure| departure.abs() < 0.01),
                        "{name}, client {number}, seed {seed}, from {start:?}: {departures:?} with {figures:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_slowdown_shows_in_full_and_runs_differ_a_little() {
    let mut engine = Engine::new(Profile::named("nvfp4").unwrap(), 3, 1.0);
    let mut rates = Vec::new();
    for run in 0..20 {
        let slowdown = if run < 10 { 1.0 } else { 1.08 };
        let conditions = Conditions {
            slowdown,
            ..Conditions::default()
        };
        let start = Duration::from_secs(900 * run);
        rates.push(benchmark(&mut engine, start, CLIENTS[0], &conditions).decode_tps);
    }
    let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len() as f64;
    let (before, after) = rates.split_at(10);
    let slowdown = mean(before) / mean(after);
    assert!((1.075..1.085).contains(&slowdown), "{slowdown}");
    let spread = before.iter().fold(0.0_f64, |most, rate| {
        most.max((rate / mean(before) - 1.0).abs())
    });
    assert!((0.000_2..0.008).contains(&spread), "{spread}");
}
