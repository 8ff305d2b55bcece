//! Probes beside others: a burst that holds their lane, scrapers that go away, and far too many at once.

use std::io::{Read, Write as _};
use std::net::TcpStream;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn no_probe_runs_while_a_burst_holds_its_lane() {
    let directory = tempfile::tempdir().unwrap();
    let (hangs, waits, free) = (hanging(), healthy(), healthy());
    let lane = format!("lane: gpu0, {RARELY}");
    let deployments = [
        ("burst", hangs.base_url(), lane.as_str()),
        ("waits", waits.base_url(), lane.as_str()),
        ("free", free.base_url(), RARELY),
    ];
    let config = write(directory.path(), "", &deployments);
    let (daemon, base_url) = Program::serve_with(&config, &["--web.enable-lifecycle"]);
    let order = format!("{base_url}/api/v1/deployments/burst/runs");
    let (status, body) = http::post_json(&order, &serde_json::json!({}))
        .await
        .unwrap();
    assert_eq!(status, 202, "{body}");
    let deadline = Instant::now() + PATIENCE;
    while hangs.posts().is_empty() {
        assert!(Instant::now() < deadline, "the burst does not begin");
        sleep(Duration::from_millis(20)).await;
    }
    for target in ["waits", "burst"] {
        let (status, text) = probe(&base_url, &[("target", target)], Some("1")).await;
        assert_eq!(status, 200);
        assert!(
            has(&text, r#"probe_failure_info{reason="lane"} 1"#),
            "{text}"
        );
        assert!(
            has(&text, "probe_success 0") && has(&text, "probe_timeout_seconds 0.5"),
            "{text}"
        );
        assert_eq!(
            value(&text, "probe_lane_wait_seconds"),
            value(&text, "probe_duration_seconds")
        );
    }
    assert_eq!(waits.accepted(), 0, "nothing was sent");
    let (_, text) = probe(&base_url, &[("target", "free")], Some("10")).await;
    assert!(has(&text, "probe_success 1"), "{text}");
    // One that waits is let in when the lane is free.
    let waiting = probe(&base_url, &[("target", "waits")], Some("20"));
    let cutting = async {
        sleep(Duration::from_millis(300)).await;
        let cancel = format!("{base_url}/api/v1/deployments/burst/cancel");
        http::post_json(&cancel, &serde_json::json!({}))
            .await
            .unwrap()
    };
    let ((_, text), (status, body)) = tokio::join!(waiting, cutting);
    assert_eq!(status, 200, "{body}");
    assert!(has(&text, "probe_success 1"), "{text}");
    assert!(
        value(&text, "probe_lane_wait_seconds").unwrap() > 0.2,
        "{text}"
    );
    daemon.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_cuts_the_run_and_it_leaves_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    let server = hanging();
    let other = healthy();
    let lane = format!("lane: gpu0, {RARELY}");
    let deployments = [
        ("a", server.base_url(), lane.as_str()),
        ("b", other.base_url(), &lane),
    ];
    let config = write(directory.path(), "", &deployments);
    let (daemon, base_url) = Program::serve(&config);
    let address = base_url.strip_prefix("http://").unwrap();
    let ask = |target: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(
            stream,
            "GET /probe?target={target} HTTP/1.1\r\nhost: x\r\n\r\n"
        )
        .unwrap();
        stream
    };
    let going = ask("a");
    let deadline = Instant::now() + PATIENCE;
    while server.posts().is_empty() {
        assert!(Instant::now() < deadline, "it does not begin");
        sleep(Duration::from_millis(10)).await;
    }
    // One that waits goes first, then the one that it waited for.
    let waiting = ask("b");
    sleep(Duration::from_millis(100)).await;
    drop(waiting);
    drop(going);
    assert!(
        server.all_closed_within(Duration::from_secs(10)),
        "the run goes on"
    );
    let (_, text) = probe(&base_url, &[("target", "b")], Some("10")).await;
    assert!(
        has(&text, "probe_success 1"),
        "the lane is free again: {text}"
    );
    assert_eq!(other.posts().len(), 1);
    let logs = json(&format!("{base_url}/api/v1/run-logs")).await;
    assert_eq!(logs["logs"].as_array().unwrap().len(), 1, "{logs}");

    // Nobody is kept waiting by a shutdown either.
    let mut going = ask("a");
    while server.posts().len() < 2 {
        assert!(Instant::now() < deadline, "it does not begin");
        sleep(Duration::from_millis(10)).await;
    }
    let (status, log) = daemon.terminate(Duration::from_secs(10));
    assert!(status.success(), "{}", log.join("\n"));
    let mut answer = String::new();
    going.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("stopping"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_probes_is_bounded_and_harms_nobody() {
    const FLOOD: usize = 500;
    const AT_ONCE: usize = 8;
    let directory = tempfile::tempdir().unwrap();
    let (server, scheduled) = (hanging(), healthy());
    let often = "probes: [{ workload: canary, every: 1s }]";
    let deployments = [
        ("flooded", server.base_url(), RARELY),
        ("scheduled", scheduled.base_url(), often),
    ];
    let config = write(directory.path(), "", &deployments);
    let limit = AT_ONCE.to_string();
    let (daemon, base_url) = Program::serve_with(
        &config,
        &["--web.max-probes", &limit, "--web.max-connections", "2000"],
    );
    let client = client();
    let url = format!("{base_url}/probe?target=flooded");
    let begun = scheduled.posts().len();
    let answers = (0..FLOOD).map(|_| {
        let request = client
            .get(&url)
            .header("X-Prometheus-Scrape-Timeout-Seconds", "4");
        tokio::spawn(async move {
            let response = request.send().await.unwrap();
            (
                response.status().as_u16(),
                response.headers().contains_key("retry-after"),
            )
        })
    });
    let answers: Vec<_> = answers.collect();
    let mut served = 0;
    for answer in answers {
        let (status, says_when) = answer.await.unwrap();
        match status {
            200 => served += 1,
            503 => assert!(says_when),
            other => panic!("{other}"),
        }
    }
    // A busy machine may take so long to ask that the first ones have their answers before the last ones ask.
    assert!((AT_ONCE..=4 * AT_ONCE).contains(&served), "{served}");
    assert!(server.posts().len() <= served, "one at a time in a lane");
    let (status, _) = http::get(&format!("{base_url}/metrics")).await.unwrap();
    assert_eq!(status, 200);
    assert!(scheduled.posts().len() > begun, "the schedule goes on");
    // All of it is given back.
    let (_, text) = probe(&base_url, &[("target", "scheduled")], Some("10")).await;
    assert!(has(&text, "probe_success 1"), "{text}");
    assert!(daemon.terminate(PATIENCE).0.success());
}
