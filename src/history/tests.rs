//! The store as it is used: what is put in comes out, in the right order, and is taken away when it is old.

use jiff::{SignedDuration, ToSpan};

use super::*;
use crate::deployment::{Deployment, Endpoint};
use crate::judges::{Act, Intervention};
use crate::measure::Measure;
use crate::measurement::RunId;
use crate::measurement::fixture::{fail, observe, reference};
use crate::report::{FieldChangeJson, RunJson, Source};
use crate::statistics::summarize;
use crate::verdict::Settlement;
use crate::workload::WorkloadName;

mod files;

pub(super) fn at(minutes: i64) -> Timestamp {
    "2025-03-01T12:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes)
}

/// The `n`th run of a workload on a deployment, which ended `minutes` after the start of time. Every fourth one
/// does not count.
pub(super) fn run_json(deployment: &str, workload_name: &str, n: u32, minutes: i64) -> RunJson {
    let (mut run, mut workload) = reference();
    run.id = RunId(uuid::Uuid::from_u128(u128::from(n) << 64 | 7 << 76 | 1 << 127).to_string());
    run.started_at = at(minutes) - 4.seconds();
    observe(&mut run, 64.0 * 256.0, 64.0 * 110.0, 6_144.0);
    if n % 4 == 3 {
        fail(
            &mut run.records[..9],
            crate::measurement::FailureReason::Http5xx,
        );
    }
    workload.name = WorkloadName::new(workload_name);
    let endpoint = Endpoint::new("http://127.0.0.1:8000".parse().unwrap());
    let summary = summarize(&run, &workload);
    RunJson::new(
        &Deployment::new(deployment, endpoint),
        &workload,
        &run,
        &summary,
        true,
    )
}

fn entry(deployment: &str, workload: &str, n: u32, minutes: i64) -> Entry {
    let run = run_json(deployment, workload, n, minutes);
    Entry::new(run, Source::Prober, at(minutes)).unwrap()
}

fn kept(runs: i64, light_runs: i64, requests: i64) -> Kept {
    Kept {
        runs: at(runs),
        light_runs: at(light_runs),
        requests: at(requests),
    }
}

async fn opened() -> (tempfile::TempDir, History) {
    let directory = tempfile::tempdir().unwrap();
    let history = History::open(directory.path()).await.unwrap();
    (directory, history)
}

fn page(limit: u32) -> Page {
    Page {
        deployment: None,
        workload: None,
        order: Order::NewestFirst,
        after: None,
        limit,
    }
}

fn ids(runs: &[StoredRun]) -> Vec<String> {
    runs.iter().map(|run| run.id.0.clone()).collect()
}

#[tokio::test]
async fn what_was_stored_comes_back_after_a_restart() {
    let (directory, history) = opened().await;
    let (mut valid, invalid) = (entry("a", "w", 0, 0), entry("a", "w", 3, 15));
    valid.environment = Some(r#"{"driver":"580.95.05"}"#.to_owned());
    valid.point.fingerprint = Some("f".to_owned());
    assert_eq!(
        history
            .append(&[valid.clone(), invalid.clone()])
            .await
            .unwrap(),
        2
    );
    assert_eq!(
        history.append(std::slice::from_ref(&valid)).await.unwrap(),
        0,
        "it is known already"
    );
    drop(history);

    let history = History::open(directory.path()).await.unwrap();
    let mut reader = history.reader().await.unwrap();
    let stored = reader.run(&valid.id).await.unwrap().unwrap();
    assert_eq!(
        (&stored.json, &stored.requests),
        (&valid.json, &valid.requests)
    );
    let mut original = run_json("a", "w", 0, 0);
    original.run_id = valid.id.0.clone();
    assert_eq!(stored.read().unwrap(), original);

    assert_eq!(stored.environment, valid.environment);
    let points = reader.series(&valid.series, Timestamp::MIN).await.unwrap();
    assert_eq!((&points[0].id, &points[0].point), (&valid.id, &valid.point));

    let [latest] = reader.latest().await.unwrap().try_into().unwrap();
    assert_eq!(latest.series, invalid.series);
    assert_eq!((latest.run.id, latest.run.ended_at), (invalid.id, at(15)));
    assert_eq!(latest.last_valid, Some(at(0)));
    assert!(history.size_bytes().await > 10_000);
}

#[tokio::test]
async fn pages_follow_each_other_without_a_gap_in_either_order() {
    let (_directory, history) = opened().await;
    let mut entries = Vec::new();
    for n in 0..30 {
        // Three at a time end at once; there are two deployments, and one has two workloads.
        let (deployment, workload) = [("a", "v"), ("a", "w"), ("b", "w")][n as usize % 3];
        entries.push(entry(deployment, workload, n, i64::from(n / 3)));
    }
    history.append(&entries).await.unwrap();
    let mut reader = history.reader().await.unwrap();
    let filters = [
        (None, None),
        (Some("a"), None),
        (None, Some("w")),
        (Some("a"), Some("w")),
    ];
    for (deployment, workload) in filters {
        let mut expected: Vec<&Entry> = entries
            .iter()
            .filter(|entry| deployment.is_none_or(|name| entry.series.deployment == name))
            .filter(|entry| workload.is_none_or(|name| entry.series.workload == name))
            .collect();
        expected.sort_by_key(|entry| (entry.ended_at, entry.id.0.clone()));
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let mut found = Vec::new();
            let mut asked = Page {
                deployment: deployment.map(str::to_owned),
                workload: workload.map(str::to_owned),
                order,
                ..page(4)
            };
            loop {
                let next = reader.page(&asked).await.unwrap();
                let Some(last) = next.last() else { break };
                asked.after = Some(last.id.clone());
                found.extend(ids(&next));
            }
            let of_each: Vec<String> = expected.iter().map(|entry| entry.id.0.clone()).collect();
            assert_eq!(found, of_each, "{deployment:?} {workload:?} {order:?}");
            expected.reverse();
        }
    }
    let unknown = Page {
        after: Some(RunId("nowhere".to_owned())),
        ..page(4)
    };
    let error = reader.page(&unknown).await.unwrap_err().to_string();
    assert!(error.contains("no run nowhere"), "{error}");
}

#[tokio::test]
async fn the_points_of_a_series_are_in_order_and_say_what_is_judged() {
    let (_directory, history) = opened().await;
    let entries: Vec<Entry> = [(2, 30), (0, 0), (3, 45), (1, 15)]
        .into_iter()
        .map(|(n, minutes)| entry("a", "w", n, minutes))
        .collect();
    history.append(&entries).await.unwrap();
    history.append(&[entry("b", "w", 9, 5)]).await.unwrap();
    let mut reader = history.reader().await.unwrap();
    let series = reader.all_series().await.unwrap();
    assert_eq!(series.len(), 2);
    let points = reader.series(&series[0], at(10)).await.unwrap();
    let ends: Vec<Timestamp> = points.iter().map(|point| point.ended_at).collect();
    assert_eq!(ends, [at(15), at(30), at(45)]);
    let last = reader.last_runs(&series[0], 2).await.unwrap();
    let ends: Vec<Timestamp> = last.iter().map(|run| run.ended_at).collect();
    assert_eq!(ends, [at(30), at(45)]);
    let counts = &points[0].point;
    assert!(counts.valid && counts.observable && !counts.contaminated && !counts.restarted);
    assert_eq!(
        [
            counts.decode_tokens_rate,
            counts.requests_rate,
            counts.prompt_tokens_rate
        ],
        [Some(4096.0), Some(16.0), Some(1760.0)]
    );
    assert_eq!((counts.e2e_p50, counts.ttft_p50), (Some(1.0), Some(0.1)));
    assert_eq!(counts.completion_tokens_mean, Some(256.0));
    let withheld = &points[2].point;
    assert_eq!(
        (
            withheld.valid,
            withheld.decode_tokens_rate,
            withheld.e2e_p50,
            withheld.completion_tokens_mean
        ),
        (false, None, None, None)
    );
}

#[tokio::test]
async fn what_is_old_goes_in_batches_and_requests_go_first() {
    let (_directory, history) = opened().await;
    let entries: Vec<Entry> = (0..10).map(|n| entry("a", "w", n, i64::from(n))).collect();
    history.append(&entries).await.unwrap();
    // Runs before minute 4 go, requests before minute 7.
    let mut taken = Vec::new();
    loop {
        let pruned = history.prune(kept(4, 4, 7), 3).await.unwrap();
        taken.push((pruned.runs, pruned.requests));
        if pruned == Pruned::default() {
            break;
        }
    }
    assert_eq!(taken, [(3, 3), (1, 1), (0, 0)]);
    let mut reader = history.reader().await.unwrap();
    let left = reader.page(&page(100)).await.unwrap();
    let expected: Vec<String> = entries[4..].iter().rev().map(|e| e.id.0.clone()).collect();
    assert_eq!(ids(&left), expected);
    let oldest_first = Page {
        order: Order::OldestFirst,
        deployment: Some("a".to_owned()),
        ..page(2)
    };
    let first = reader.page(&oldest_first).await.unwrap();
    assert_eq!(first.len(), 2, "it begins where the runs do");
    let series = &entries[0].series;
    let points = reader.series(series, Timestamp::MIN).await.unwrap();
    assert_eq!(points.len(), 10, "a baseline may be as old as the series");
    for (n, kept) in [(5, false), (6, false), (7, true), (9, true)] {
        let run = reader.run(&entries[n].id).await.unwrap().unwrap();
        assert_eq!(run.requests.is_some(), kept, "{n}");
    }
}

#[tokio::test]
async fn light_runs_go_earlier_and_leave_nothing() {
    let (_directory, history) = opened().await;
    let light = |n: u32| Entry {
        light: true,
        ..entry("a", "canary", n, i64::from(n))
    };
    let all: Vec<Entry> = (0..8)
        .map(light)
        .chain((20..28).map(|n| entry("a", "w", n, i64::from(n) - 20)))
        .collect();
    history.append(&all).await.unwrap();
    // Runs before minute 2 go, light ones before minute 6, and requests before minute 4.
    let mut taken = Vec::new();
    loop {
        let pruned = history.prune(kept(2, 6, 4), 4).await.unwrap();
        taken.push((pruned.runs, pruned.light_runs, pruned.requests));
        if pruned == Pruned::default() {
            break;
        }
        assert_eq!(pruned.most() == 4, taken.len() == 1, "{pruned:?}");
    }
    assert_eq!(taken, [(2, 4, 2), (0, 2, 0), (0, 0, 0)]);
    let mut reader = history.reader().await.unwrap();
    let left = reader.page(&page(100)).await.unwrap();
    let expected = [7, 15, 6, 14, 13, 12, 11, 10].map(|n: usize| all[n].id.0.clone());
    let mut expected = expected.to_vec();
    let mut left = ids(&left);
    expected.sort();
    left.sort();
    assert_eq!(left, expected);
    let mut points = async |entry: &Entry| {
        let points = reader.series(&entry.series, Timestamp::MIN).await;
        points.unwrap().len()
    };
    assert_eq!((points(&all[0]).await, points(&all[8]).await), (2, 8));
}

#[tokio::test]
async fn the_points_of_a_series_go_when_it_has_ended() {
    let (_directory, history) = opened().await;
    let ended: Vec<Entry> = (0..5).map(|n| entry("a", "w", n, i64::from(n))).collect();
    let goes_on = [entry("b", "w", 10, 0), entry("b", "w", 11, 60)];
    history.append(&ended).await.unwrap();
    history.append(&goes_on).await.unwrap();
    let mut taken = Vec::new();
    loop {
        let pruned = history.prune(kept(30, 30, 30), 3).await.unwrap();
        if pruned == Pruned::default() {
            break;
        }
        taken.push(pruned.points);
    }
    assert_eq!(taken.iter().sum::<u64>(), 5);
    assert!(taken.iter().all(|points| *points <= 3));
    let mut reader = history.reader().await.unwrap();
    let mut points = async |entry: &Entry| {
        let points = reader.series(&entry.series, Timestamp::MIN).await;
        points.unwrap().len()
    };
    assert_eq!((points(&ended[0]).await, points(&goes_on[0]).await), (0, 2));
}

#[tokio::test]
async fn events_come_back_as_they_were() {
    let (_directory, history) = opened().await;
    let run = entry("a", "w", 1, 1);
    let intervention = |minutes, measure, act| {
        Event::Intervened(StoredIntervention {
            id: uuid::Uuid::now_v7().to_string(),
            series: run.series.clone(),
            after_run: Some(run.id.clone()),
            intervention: Intervention {
                at: at(minutes),
                by: "on-call".to_owned(),
                why: "it's \"known\"".to_owned(),
                measure,
                act,
            },
        })
    };
    let until = Act::Acknowledge(Settlement::Until(at(99)));
    let events = [
        intervention(5, None, until),
        intervention(7, Some(Measure::TtftP50), Act::Pin),
        Event::EnvironmentChanged(EnvironmentChange {
            id: uuid::Uuid::now_v7().to_string(),
            deployment: "a".to_owned(),
            at: at(3),
            run: run.id.clone(),
            fields: vec![FieldChangeJson {
                field: "driver".to_owned(),
                before: "580.95.05".to_owned(),
                after: "590.01.01".to_owned(),
            }],
        }),
    ];
    history.append(std::slice::from_ref(&run)).await.unwrap();
    for event in events.iter().rev().chain(&events) {
        // Storing one twice is storing it once.
        history.note(event).await.unwrap();
    }
    let mut reader = history.reader().await.unwrap();
    let of_series = reader.interventions(Some(&run.series)).await.unwrap();
    assert_eq!(reader.interventions(None).await.unwrap(), of_series);
    let found: Vec<Event> = of_series.into_iter().map(Event::Intervened).collect();
    assert_eq!(found, events[..2]);
    let changes = reader.environment_changes(Some("a")).await.unwrap();
    assert_eq!(Event::EnvironmentChanged(changes[0].clone()), events[2]);
    assert_eq!(reader.environment_changes(Some("b")).await.unwrap(), []);
    let other = entry("b", "w", 2, 2);
    assert_eq!(reader.interventions(Some(&other.series)).await.unwrap(), []);
}
