//! The pages in a real Chromium: in both themes, on a phone and a desktop, with scripts and without.
//!
//! With `VLLM_PROBER_TEST_PICTURES` the pictures of the pages are left in that directory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use vllm_prober::board::{Board, Snapshot};
use vllm_prober::report::RunJson;
use vllm_prober::server::Served;
use vllm_prober::simulator::{Profile, Settings, Simulator};

#[path = "common/browser.rs"]
mod browser;
#[path = "common/fleet.rs"]
mod fleet;
#[path = "common/pages.rs"]
mod pages;
#[path = "common/program.rs"]
mod program;

use browser::Browser;
use program::Program;

const THEMES: [&str; 2] = ["light", "dark"];

/// A phone, a tablet, a small and a large desktop: width and height in pixels.
const SCREENS: [(u32, u32); 4] = [(390, 844), (820, 1180), (1366, 768), (1560, 1000)];

#[expect(clippy::disallowed_methods, reason = "what is shown is as of now")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn served(snapshot: Snapshot) -> Served {
    let board = Arc::new(Board::new(snapshot));
    Served::new(board, Arc::default(), "# none\n".to_owned(), now())
}

/// Serves a fleet, and says where.
async fn serving(snapshot: Snapshot, stop: &CancellationToken) -> String {
    pages::served_at(served(snapshot), stop).await
}

/// The same with a history of `runs`.
async fn serving_stored(
    snapshot: Snapshot,
    runs: Vec<RunJson>,
    directory: &Path,
    stop: &CancellationToken,
) -> String {
    let served = served(snapshot);
    pages::show_history(&served, directory, runs, now()).await;
    pages::served_at(served, stop).await
}

/// Looks at the page at `url` in every theme and on every screen.
async fn inspect(browser: &Browser, url: &str, name: &str) {
    for theme in THEMES {
        for (width, height) in SCREENS {
            let what = format!("{name}-{theme}-{width}");
            browser.shows(theme, width, height).await;
            browser.open(url).await;
            let sizes = browser.run("return [document.body.scrollWidth, document.documentElement.scrollWidth, innerWidth]").await;
            let [body, document, window] = [0, 1, 2].map(|n| sizes[n].as_u64().unwrap());
            assert!(
                body <= window && document <= window,
                "{what} is {sizes} pixels wide"
            );
            // What a table is of is read without scrolling it.
            let cut = browser
                .run("return [...document.querySelectorAll('.wide caption')].filter(one => one.getBoundingClientRect().right > innerWidth).length")
                .await;
            assert_eq!(cut, 0, "captions of {what} that are cut");
            assert_eq!(browser.faults().await, Vec::<String>::new(), "{what}");
            let mut complaints = browser.complaints().await;
            // A query that makes no sense is answered as such, and a path that leads nowhere.
            complaints.retain(|complaint| {
                !complaint.contains("400 (Bad Request)") && !complaint.contains("404 (Not Found)")
            });
            assert_eq!(complaints, Vec::<String>::new(), "{what}");
            browser.keep_picture(&what).await;
        }
    }
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn every_page_is_whole_in_both_themes_and_on_every_screen() {
    let stop = CancellationToken::new();
    let browser = Browser::start().await;
    let url = serving(fleet::fleet(now()), &stop).await;
    inspect(&browser, &format!("{url}/"), "fleet").await;
    for name in [
        "qwen3-32b-nvfp4",
        "qwen3-32b-fp8",
        "mistral-small-24b",
        "qwen3-8b-spare",
    ] {
        inspect(&browser, &format!("{url}/deployments/{name}"), name).await;
    }
    inspect(&browser, &format!("{url}/changes"), "changes").await;
    inspect(&browser, &format!("{url}/about"), "about").await;
    inspect(
        &browser,
        &format!("{url}/?q=nothing+has+this+name&sort=up"),
        "mistake",
    )
    .await;
    let url = serving(fleet::large(1_000, now()), &stop).await;
    inspect(&browser, &format!("{url}/?page=4"), "large").await;
    browser.close().await;
    stop.cancel();
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn what_is_stored_is_whole_in_both_themes_and_on_every_screen() {
    let (stop, directory) = (CancellationToken::new(), tempfile::tempdir().unwrap());
    let browser = Browser::start().await;
    let runs = vec![
        fleet::numbered(fleet::stored_run("qwen3-32b-fp8", now()), 1),
        fleet::numbered(fleet::stored_run("qwen3-32b-bf16", now()), 2),
        fleet::numbered(fleet::stored_failed_run("qwen3-32b-nvfp4", now()), 3),
        fleet::numbered(
            RunJson {
                request_records: None,
                ..fleet::stored_run("qwen3-32b-fp8", now())
            },
            4,
        ),
        fleet::numbered(fleet::hostile_run(now()), 5),
    ];
    let ids: Vec<String> = runs.iter().map(|run| run.run_id.clone()).collect();
    let url = serving_stored(fleet::fleet(now()), runs, directory.path(), &stop).await;
    let names = ["run", "run-2", "run-failed", "run-pruned", "run-hostile"];
    for (id, name) in ids.iter().zip(names).filter(|(_, name)| *name != "run-2") {
        inspect(&browser, &format!("{url}/runs/{id}"), name).await;
    }
    let scripts = "return [...document.scripts].filter(script => !script.src).length";
    assert_eq!(browser.run(scripts).await, 0);
    inspect(
        &browser,
        &format!("{url}/precision?family=qwen3-32b"),
        "precision",
    )
    .await;
    let charts = "return document.querySelectorAll('figure svg').length";
    assert_eq!(browser.run(charts).await, 3);
    browser.close().await;
    stop.cancel();
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn no_text_of_a_server_or_a_configuration_runs() {
    let stop = CancellationToken::new();
    let browser = Browser::start().await;
    let url = serving(fleet::hostile(now()), &stop).await;
    inspect(&browser, &format!("{url}/"), "hostile").await;
    let scripts = browser
        .run("return [...document.scripts].filter(script => !script.src).length")
        .await;
    assert_eq!(scripts, 0);
    let shown = browser
        .run("return document.querySelector('tbody .name').textContent")
        .await;
    assert_eq!(shown, fleet::HOSTILE);
    let its_own = browser
        .run("return document.querySelector('tbody .name').href")
        .await;
    inspect(&browser, its_own.as_str().unwrap(), "hostile-own").await;
    let title = browser
        .run("return document.querySelector('h1').textContent")
        .await;
    assert_eq!(title, fleet::HOSTILE);
    browser.close().await;
    stop.cancel();
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn a_fleet_is_filtered_and_sorted_without_a_script() {
    let stop = CancellationToken::new();
    let browser = Browser::start().await;
    let url = serving(fleet::fleet(now()), &stop).await;
    browser.allows_scripts(false).await;
    browser.shows("light", 1560, 1000).await;
    browser.open(&format!("{url}/")).await;
    let names =
        "return [...document.querySelectorAll('tbody .name')].map(name => name.textContent)";
    assert_eq!(browser.run(names).await.as_array().unwrap().len(), 9);
    browser.run("document.querySelector('[name=q]').value = 'QWEN3-32B'; document.querySelector('.filter button').click()").await;
    until(&browser, names, 3).await;
    browser
        .run("document.querySelector('thead a[href*=\"sort=decode\"]').click()")
        .await;
    until(
        &browser,
        "return document.querySelectorAll('[aria-sort=ascending] a[href*=\"sort=decode\"]')",
        1,
    )
    .await;
    let sorted = browser.run(names).await;
    assert_eq!(
        sorted,
        serde_json::json!(["qwen3-32b-bf16", "qwen3-32b-fp8", "qwen3-32b-nvfp4"])
    );
    browser.close().await;
    stop.cancel();
}

/// Waits until `script` returns so many things.
async fn until(browser: &Browser, script: &str, number: usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = browser.run(script).await;
        if found.as_array().is_some_and(|found| found.len() == number) {
            return;
        }
        assert!(Instant::now() < deadline, "{script}: {found}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium"]
async fn a_daemon_shows_its_deployments() {
    let directory = tempfile::tempdir().unwrap();
    let mut simulators = Vec::new();
    let mut deployments = String::new();
    for name in Profile::NAMES {
        let profile = Profile::named(name).unwrap();
        let simulator = Simulator::start(Settings {
            speedup: 20.0,
            ..Settings::new(profile)
        })
        .await
        .unwrap();
        deployments += &format!(
            "  - name: qwen3-32b-{name}\n    family: qwen3-32b\n    precision: {name}\n    base_url: {}\n    probes: [{{ workload: burst, every: 2s }}]\n",
            simulator.base_url()
        );
        simulators.push(simulator);
    }
    let path = directory.path().join("prober.yaml");
    let text = format!(
        "workloads:\n  burst: {{ requests: 32, max_tokens: 64, prompt: Count to ten., \
        validity: {{ min_concurrency_utilization: 0, max_client_delay: 10s, max_client_load_ratio: 1 }} }}\ndeployments:\n{deployments}"
    );
    std::fs::write(&path, text).unwrap();
    let (program, url) = Program::serve(&path);
    let browser = Browser::start().await;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        browser.open(&format!("{url}/")).await;
        let ok = browser
            .run("return document.querySelectorAll('tbody .spark').length")
            .await;
        if ok == 3 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "only {ok} deployments have figures"
        );
        sleep(Duration::from_millis(200)).await;
    }
    inspect(&browser, &format!("{url}/"), "daemon").await;
    // A run of it, with all that it has told of itself.
    browser
        .open(&format!("{url}/deployments/qwen3-32b-fp8"))
        .await;
    let run = browser
        .run("return document.querySelector('.runs a[href*=\"runs/\"]').href")
        .await;
    let run = run.as_str().unwrap();
    inspect(&browser, run, "daemon-run").await;
    let log = browser
        .run("return document.querySelector('pre.log').textContent.split('\\n').length")
        .await;
    assert!(log.as_u64().unwrap() > 3, "{log}");
    // The log is scrolled by the keyboard, too.
    let reached = browser
        .run("const log = document.querySelector('pre.log'); log.focus(); return document.activeElement === log")
        .await;
    assert_eq!(reached, true);
    inspect(&browser, &format!("{url}/no/such/page"), "nothing").await;
    // It is asked for again as any page, and is no sign that nobody answers.
    browser
        .run("document.querySelector('.asof').append('asking'); document.dispatchEvent(new Event('page:ask'))")
        .await;
    let renewed =
        "return document.querySelector('.asof').textContent.includes('asking') ? [] : [1]";
    until(&browser, renewed, 1).await;
    let lost = browser
        .run("return document.documentElement.dataset.lost === undefined")
        .await;
    assert_eq!(lost, true);
    browser.close().await;
    program.terminate(Duration::from_secs(20));
    for simulator in simulators {
        simulator.stop().await.unwrap();
    }
}
