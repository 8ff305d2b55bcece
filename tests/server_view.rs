//! What the server's own metrics tell of a run, and what is done when they tell something: other people's
//! traffic, a restart, a server that has stopped or sleeps, and pages that are of no use.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use vllm_prober::condition::{Condition, DeploymentState};
use vllm_prober::deployment::{Deployment, Endpoint, MetricsSource};
use vllm_prober::guard::{Guards, Hold};
use vllm_prober::measurement::{FailureReason, Run};
use vllm_prober::observation::GivenUp;
use vllm_prober::runner::{Attempt, Progress, RunError, measure};
use vllm_prober::simulator::{Change, Fault, MetricsFault, Profile, Settings, Simulator};
use vllm_prober::statistics::{InvalidReason, Summary, summarize};
use vllm_prober::validity::Validity;
use vllm_prober::workload::{PrefixCache, Workload};

#[path = "common/http.rs"]
mod http;

/// A simulated deployment with room for our requests and as many of others.
async fn simulator(engines: u32) -> Simulator {
    let profile = Profile {
        max_num_seqs: 128,
        ..Profile::named("nvfp4").unwrap()
    };
    let settings = Settings {
        speedup: 10.0,
        engines,
        ..Settings::new(profile)
    };
    Simulator::start(settings).await.unwrap()
}

fn switch(simulator: &Simulator, change: Change) {
    simulator.controls().apply(change).unwrap();
}

fn deployment(simulator: &Simulator, guards: Guards) -> Deployment {
    let endpoint = Endpoint::new(simulator.base_url().parse().unwrap());
    Deployment {
        guards,
        ..Deployment::new("simulated", endpoint)
    }
}

/// A burst whose validity does not hang on what else this machine has to do.
fn burst(concurrency: u32, requests: u32) -> Workload {
    Workload {
        concurrency,
        requests,
        max_tokens: 64,
        validity: Validity {
            min_concurrency_utilization: 0.0,
            max_client_delay: Duration::from_secs(10),
            max_client_load_ratio: 2.0,
            ..Validity::default()
        },
        ..Workload::reference("Count to twenty in words, and then do it again, and again.")
    }
}

async fn run(deployment: Deployment, workload: &Workload) -> Result<(Run, Summary), RunError> {
    let attempt = Attempt::new(Arc::new(deployment), Arc::new(workload.clone()));
    let run = measure(attempt, Arc::default(), CancellationToken::new()).await?;
    let summary = summarize(&run, workload);
    Ok((run, summary))
}

/// Tokens that the simulator says it generated for others so far.
async fn foreign_tokens(simulator: &Simulator) -> f64 {
    let (_, body) = http::get(&format!("{}/simulate", simulator.base_url()))
        .await
        .unwrap();
    let said: Value = serde_json::from_str(&body).unwrap();
    said["foreign_generation_tokens"].as_f64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_share_of_others_is_the_true_one() {
    for (foreign, engines) in [(1, 1), (4, 1), (20, 1), (20, 2)] {
        let simulator = simulator(engines).await;
        switch(
            &simulator,
            Change {
                foreign_requests: Some(foreign),
                ..Change::default()
            },
        );
        sleep(Duration::from_millis(300)).await;
        let begin = Instant::now();
        let before = foreign_tokens(&simulator).await;
        let (_, summary) = run(deployment(&simulator, Guards::off()), &burst(20, 160))
            .await
            .unwrap();
        let truth = foreign_tokens(&simulator).await - before;
        let found = summary.server.foreign.unwrap();
        // Our two looks enclose the run's own, so the truth is a step or two more, and what others got meanwhile on
        // a machine that has more to do.
        let between = 1.0 - summary.wall.as_secs_f64() / begin.elapsed().as_secs_f64();
        let off = found.tokens / truth - 1.0;
        println!(
            "{foreign} foreign on {engines}: {truth} tokens, {off:+.4} found, {between:.4} between, {found:?}"
        );
        assert!(
            (-0.02 - between..0.005).contains(&off),
            "{truth} tokens of others, found {found:?}"
        );
        assert_eq!(found.requests_peak, Some(f64::from(foreign)));
        let is_contaminated = found.tokens_ratio.unwrap() > 0.05;
        assert_eq!(
            summary
                .invalid_reasons
                .contains(&InvalidReason::Contaminated),
            is_contaminated,
        );
        assert_eq!(summary.figures.is_some(), !is_contaminated);
        simulator.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_server_is_never_called_contaminated() {
    let simulator = simulator(1).await;
    for _ in 0..20 {
        let (_, summary) = run(deployment(&simulator, Guards::off()), &burst(16, 16))
            .await
            .unwrap();
        assert_eq!(summary.invalid_reasons, []);
        let foreign = summary.server.foreign.unwrap();
        assert_eq!((foreign.tokens, foreign.prompt_tokens), (0.0, 0.0));
    }
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prefix_cache_is_met_as_the_workload_says() {
    let simulator = simulator(1).await;
    for (mode, expected) in [
        (PrefixCache::Cold, 0.0..0.001),
        (PrefixCache::Warm, 0.5..1.0),
        (PrefixCache::PerRun, 0.5..1.0),
    ] {
        let workload = Workload {
            prefix_cache: mode,
            ..Workload::reference(include_str!("../config/prompts/reference.txt").trim_end())
        };
        let workload = Workload {
            max_tokens: 16,
            ..workload
        };
        let (_, summary) = run(deployment(&simulator, Guards::off()), &workload)
            .await
            .unwrap();
        let ratio = summary.prefix_cache_hit_ratio().unwrap();
        assert!(expected.contains(&ratio), "{mode:?}: {ratio}");
        assert_eq!(summary.tokens.prompt_total, 64 * 110, "{mode:?}");
    }
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_waits_for_others_and_a_light_run_does_not() {
    let simulator = simulator(1).await;
    switch(
        &simulator,
        Change {
            foreign_requests: Some(3),
            ..Change::default()
        },
    );
    sleep(Duration::from_millis(300)).await;
    let held = run(deployment(&simulator, Guards::default()), &burst(4, 4)).await;
    let Err(RunError::Held(Hold::Busy { in_flight })) = held else {
        panic!("{held:?}");
    };
    assert_eq!(in_flight, 3.0);
    let canary = Workload {
        max_tokens: 8,
        validity: Validity::of_light_run(),
        ..burst(1, 1)
    };
    let (_, summary) = run(deployment(&simulator, Guards::default()), &canary)
        .await
        .unwrap();
    assert!(
        !summary
            .invalid_reasons
            .contains(&InvalidReason::Contaminated)
    );

    // A server that has stopped holds nothing back: that is for a run to find out.
    switch(
        &simulator,
        Change {
            fault: Some(Fault::Hang),
            ..Change::default()
        },
    );
    let impatient = Guards {
        wedged_after: Duration::from_secs(2),
        ..Guards::default()
    };
    let (run, _) = run(deployment(&simulator, impatient), &burst(4, 4))
        .await
        .unwrap();
    assert_eq!(run.given_up, Some(GivenUp::Wedged));
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleeping_server_is_not_asked_for_anything() {
    let simulator = simulator(1).await;
    switch(
        &simulator,
        Change {
            fault: Some(Fault::Asleep),
            ..Change::default()
        },
    );
    for workload in [
        burst(4, 4),
        Workload {
            max_tokens: 8,
            ..burst(1, 1)
        },
    ] {
        let held = run(deployment(&simulator, Guards::off()), &workload).await;
        assert!(
            matches!(held, Err(RunError::Held(Hold::Asleep))),
            "{held:?}"
        );
    }
    let (_, page) = http::get(&format!("{}/metrics", simulator.base_url()))
        .await
        .unwrap();
    assert!(!page.contains("/v1/chat/completions"), "{page}");
    simulator.stop().await.unwrap();
}

/// Begins a run, lets `then` happen in the middle of it, and waits for its end.
async fn interrupted(
    deployment: Deployment,
    workload: &Workload,
    then: impl FnOnce(),
) -> (Run, Summary, Duration) {
    let progress = Arc::new(Progress::default());
    let attempt = Attempt::new(Arc::new(deployment), Arc::new(workload.clone()));
    let measuring = tokio::spawn(measure(
        attempt,
        Arc::clone(&progress),
        CancellationToken::new(),
    ));
    while progress.ended() < workload.concurrency {
        sleep(Duration::from_millis(10)).await;
    }
    then();
    let told = Instant::now();
    let run = measuring.await.unwrap().unwrap();
    let summary = summarize(&run, workload);
    (run, summary, told.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_is_found_although_it_says_that_it_is_well() {
    let simulator = simulator(1).await;
    let guards = Guards {
        wedged_after: Duration::from_secs(2),
        ..Guards::default()
    };
    let hang = || {
        switch(
            &simulator,
            Change {
                fault: Some(Fault::Hang),
                ..Change::default()
            },
        );
    };
    let (run, summary, took) =
        interrupted(deployment(&simulator, guards), &burst(16, 640), hang).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(run.given_up, Some(GivenUp::Wedged));
    assert_eq!(
        summary.invalid_reasons.first(),
        Some(&InvalidReason::Wedged)
    );
    assert_eq!(summary.failures.get(&FailureReason::Cancelled), Some(&16));
    assert!(summary.completed >= 16 && summary.figures.is_none());
    let condition = Condition::after_run(&run, &summary);
    assert_eq!(condition.state, DeploymentState::Wedged, "{condition:?}");
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_given_up_when_the_queue_grows() {
    let simulator = simulator(1).await;
    let guards = Guards {
        abort_above_waiting: Some(50),
        ..Guards::default()
    };
    let crowd = || {
        switch(
            &simulator,
            Change {
                foreign_requests: Some(400),
                ..Change::default()
            },
        );
    };
    let (run, summary, took) =
        interrupted(deployment(&simulator, guards), &burst(16, 3200), crowd).await;
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(run.given_up, Some(GivenUp::QueueGrew));
    assert!(summary.invalid_reasons.contains(&InvalidReason::QueueGrew));
    assert!(summary.figures.is_none());
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_spoils_the_run_in_which_it_is_and_the_first_one_after() {
    let simulator = simulator(1).await;
    let restart = || {
        switch(
            &simulator,
            Change {
                restart: true,
                ..Change::default()
            },
        );
    };
    let workload = burst(16, 320);
    let (cut, summary, _) =
        interrupted(deployment(&simulator, Guards::off()), &workload, restart).await;
    assert!(
        summary
            .invalid_reasons
            .contains(&InvalidReason::ServerRestarted),
        "{:?}",
        summary.invalid_reasons
    );
    assert_eq!(summary.server.foreign, None);

    // The prober hands the last reading of each run to the next one.
    let next = async |previous| {
        let attempt = Attempt {
            previous,
            ..Attempt::new(
                Arc::new(deployment(&simulator, Guards::off())),
                Arc::new(burst(16, 16)),
            )
        };
        let run = measure(attempt, Arc::default(), CancellationToken::new())
            .await
            .unwrap();
        let summary = summarize(&run, &burst(16, 16));
        (run, summary)
    };
    let (first, summary) = next(cut.observation.before.clone()).await;
    assert_eq!(summary.invalid_reasons, [InvalidReason::ServerRestarted]);
    let (_, summary) = next(first.observation.after.clone()).await;
    assert_eq!(summary.invalid_reasons, []);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_page_is_the_run_counts_and_says_what_it_could_not_see() {
    let mut runs = tokio::task::JoinSet::new();
    for fault in MetricsFault::ALL.iter().copied() {
        runs.spawn(async move {
            let simulator = simulator(1).await;
            switch(
                &simulator,
                Change {
                    metrics: Some(fault),
                    ..Change::default()
                },
            );
            let begun = Instant::now();
            let (_, summary) = run(deployment(&simulator, Guards::default()), &burst(4, 8))
                .await
                .unwrap();
            let took = begun.elapsed();
            simulator.stop().await.unwrap();
            (fault, summary, took)
        });
    }
    while let Some(ended) = runs.join_next().await {
        let (fault, summary, took) = ended.unwrap();
        let readable = matches!(fault, MetricsFault::Ok | MetricsFault::Renamed);
        println!(
            "{:<14}{took:>8.2?}  {:?}",
            fault.label(),
            summary.server.unobservable
        );
        assert_eq!(summary.invalid_reasons, [], "{fault:?}");
        assert_eq!(summary.server.is_observable(), readable, "{fault:?}");
        assert_eq!(summary.server.unobservable.is_none(), readable, "{fault:?}");
        // One look of five seconds at most: a page that does not come is not asked for again.
        assert!(took < Duration::from_secs(8), "{fault:?}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_may_be_elsewhere_or_nowhere() {
    let (asked, shown) = (simulator(1).await, simulator(1).await);
    let from = |metrics| Deployment {
        metrics,
        ..deployment(&asked, Guards::off())
    };
    let elsewhere = format!("{}/metrics", shown.base_url()).parse().unwrap();
    let (_, summary) = run(from(MetricsSource::At(elsewhere)), &burst(4, 8))
        .await
        .unwrap();
    // It is the page of a server that answered none of these requests.
    let why = summary.server.unobservable.unwrap();
    assert!(why.contains("fewer tokens"), "{why}");
    let (_, summary) = run(from(MetricsSource::Off), &burst(4, 8)).await.unwrap();
    assert_eq!(summary.invalid_reasons, []);
    assert!(summary.server.unobservable.unwrap().contains("not read"));
    asked.stop().await.unwrap();
    shown.stop().await.unwrap();
}
