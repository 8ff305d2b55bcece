//! Pages in a real Chromium that update by themselves: what a reader was at stays, and who reads what is old is told.
//!
//! With `VLLM_PROBER_TEST_PICTURES` the pictures of the pages are left in that directory.

use std::net::TcpListener as Listener;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use vllm_prober::board::Board;
use vllm_prober::server::Served;

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

/// Within what time a page shows what has changed.
const SOON: Duration = Duration::from_secs(3);

const PATIENCE: Duration = Duration::from_secs(30);

#[expect(clippy::disallowed_methods, reason = "what is shown is as of now")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Serves a fleet that the returned board changes.
async fn serving(deployments: usize, stop: &CancellationToken) -> (Arc<Board>, String) {
    let board = Arc::new(Board::new(fleet::large(deployments, now())));
    let served = Served::new(Arc::clone(&board), Arc::default(), String::new(), now());
    let url = pages::served_at(served, stop).await;
    (board, url)
}

/// Whether the page listens: its first event has come, and it has asked for itself.
const LISTENS: &str = "return performance.getEntriesByType('resource').some(entry =>
    entry.initiatorType === 'fetch')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium"]
async fn a_run_that_ends_changes_its_row_and_nothing_of_what_the_reader_is_at() {
    let stop = CancellationToken::new();
    let browser = Browser::start().await;
    browser.shows("light", 1560, 1000).await;
    let (board, url) = serving(60, &stop).await;
    browser.open(&format!("{url}/?sort=name")).await;
    browser.until(LISTENS, json!(true), PATIENCE).await;

    // The reader has scrolled to a row, has its link in focus and something in the form.
    browser
        .run(
            "document.querySelector('[name=q]').value = 'half a wo';
             const row = document.querySelectorAll('tbody tr')[30];
             row.dataset.mine = row.querySelector('.name').textContent;
             row.querySelector('.name').focus();
             row.scrollIntoView({ block: 'center' });",
        )
        .await;
    let place = "return scrollY";
    let before = browser.run(place).await;
    assert!(before.as_f64().unwrap() > 500.0, "{before}");
    let name = "return document.activeElement.textContent";
    let focused = browser.run(name).await;
    let probes = board.snapshot().probes.clone();
    let number = probes
        .iter()
        .position(|probe| focused == *probe.deployment.name.as_str())
        .unwrap();
    board.update(number, |probe| probe.in_progress = true);
    let next =
        "return document.activeElement.closest('tr').querySelector('[data-label=Next]').innerText";
    let took = browser.until(next, json!("running"), SOON).await;
    println!("the row changed after {took:?}");
    board.update(number, |probe| {
        probe.did_not_run(None, "refused".to_owned(), now());
        probe.in_progress = false;
    });
    let last = "return document.activeElement.closest('tr')
        .querySelector('[data-label=\"Last run\"] time').textContent.length < 9";
    browser.until(last, json!(true), SOON).await;
    assert_eq!(browser.run(name).await, focused);
    assert_eq!(browser.run(place).await, before);
    let typed = "return document.querySelector('[name=q]').value";
    assert_eq!(browser.run(typed).await, "half a wo");
    let sorted = "return document.querySelector('[aria-sort=ascending] a').textContent.trim()";
    let sorted = browser.run(sorted).await;
    assert!(sorted.as_str().unwrap().starts_with("Deployment"));

    // Text that is selected stays selected, and the page says why nothing moves.
    let select = "getSelection().selectAllChildren(document.querySelectorAll('tbody .name')[30])";
    browser.run(select).await;
    board.update(number, |probe| probe.in_progress = true);
    let held = "return document.querySelector('.asof').textContent.includes('held while text')";
    browser.until(held, json!(true), SOON).await;
    assert_eq!(
        browser.run("return getSelection().toString()").await,
        focused
    );
    browser.run("getSelection().removeAllRanges()").await;
    browser.until(next, json!("running"), SOON).await;

    // A deployment that moves to the top of another order takes its focus with it.
    browser.open(&format!("{url}/?sort=next")).await;
    browser.until(LISTENS, json!(true), PATIENCE).await;
    browser
        .run("[...document.querySelectorAll('tbody .name')].at(-1).focus()")
        .await;
    let focused = browser.run(name).await;
    board.update_deployment(
        &probes[0].deployment.name,
        vllm_prober::board::DeploymentStatus::unknown(now()),
    );
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!(browser.run(name).await, focused);
    assert_eq!(browser.complaints().await, Vec::<String>::new());

    // Without scripts it is the page of the moment at which it was asked for.
    browser.allows_scripts(false).await;
    browser.open(&format!("{url}/")).await;
    let rows = "return document.querySelectorAll('tbody tr').length > 50 \
        && document.querySelector('.lost').textContent === ''";
    assert_eq!(browser.run(rows).await, true);
    browser.close().await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium"]
async fn a_page_without_its_daemon_says_so_and_comes_back_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("prober.yaml");
    let text = "workloads:\n  burst: { requests: 16, concurrency: 4, max_tokens: 8, prompt: Count. }\ndeployments:\n  \
        - name: nobody-home\n    base_url: http://127.0.0.1:9\n    probes: [{ workload: burst, every: 1h }]\n";
    std::fs::write(&config, text).unwrap();
    let address = Listener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let storage = directory.path().join("data");
    let start = || {
        let mut program = Program::prober(&[
            "serve",
            "--config.file",
            config.to_str().unwrap(),
            "--web.listen-address",
            &address.to_string(),
            "--storage.path",
            storage.to_str().unwrap(),
        ]);
        program.line("message=listening", PATIENCE);
        program
    };
    let program = start();
    let browser = Browser::start().await;
    browser.shows("light", 1366, 768).await;
    browser.open(&format!("http://{address}/")).await;
    browser.until(LISTENS, json!(true), PATIENCE).await;
    let lost =
        "return document.querySelector('.lost').textContent.startsWith('Disconnected since ')";
    assert_eq!(browser.run(lost).await, false);

    program.kill();
    let took = browser.until(lost, json!(true), PATIENCE).await;
    println!("it said that it was disconnected after {took:?}");
    let shown = "return document.querySelector('tbody .name').textContent";
    assert_eq!(browser.run(shown).await, "nobody-home");
    assert_eq!(browser.faults().await, [""; 0]);
    for (theme, width, height) in [("light", 390, 844), ("dark", 1366, 768)] {
        browser.shows(theme, width, height).await;
        assert_eq!(browser.faults().await, [""; 0], "{theme} {width}");
        browser.keep_picture(&format!("lost-{theme}-{width}")).await;
    }

    let program = start();
    let took = browser.until(lost, json!(false), PATIENCE).await;
    println!("it had recovered after {took:?}");
    let title = "return document.title.length > 0 && !('lost' in document.documentElement.dataset)";
    assert_eq!(browser.run(title).await, true);
    let began = Instant::now();
    program.terminate(PATIENCE);
    println!(
        "the daemon ended {:?} after it was told to",
        began.elapsed()
    );
    browser.close().await;
}
