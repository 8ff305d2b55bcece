//! The buttons of a deployment's page in a real Chromium: a run is asked for, a verdict acknowledged, a baseline pinned
//! and unpinned, with a script and without; and a page of someone else presses none of them.
//!
//! With `VLLM_PROBER_TEST_PICTURES` the pictures of the pages are left in that directory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use vllm_prober::simulator::{Change, Profile, Settings, Simulator};

#[path = "common/browser.rs"]
mod browser;
#[path = "common/http.rs"]
mod http;
#[path = "common/program.rs"]
mod program;

use browser::{Browser, ENTER};
use program::Program;

const PATIENCE: Duration = Duration::from_secs(60);

/// One deployment that is judged all the time, and one that is probed when it is asked for.
fn configuration(directory: &Path, base_url: &str) -> PathBuf {
    let path = directory.join("prober.yaml");
    let validity = "validity: { min_concurrency_utilization: 0, max_client_delay: 10s, max_client_load_ratio: 1 }";
    let text = format!(
        "workloads:\n  burst: {{ requests: 16, max_tokens: 128, prompt: Count to ten., {validity} }}\n  \
         canary: {{ requests: 1, concurrency: 1, max_tokens: 8, prompt: Hello. }}\n\
         deployments:\n  - name: busy\n    base_url: {base_url}\n    probes: [{{ workload: burst, every: 1s }}]\n  \
         - name: idle\n    base_url: {base_url}\n    \
         probes: [{{ workload: burst, every: 1d }}, {{ workload: canary, every: 1d }}]\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

async fn simulator() -> Simulator {
    let settings = Settings {
        speedup: 10.0,
        ..Settings::new(Profile::named("fp8").unwrap())
    };
    Simulator::start(settings).await.unwrap()
}

/// Waits until the deployment, as the JSON interface shows it, is so.
async fn known(url: &str, name: &str, is_so: impl Fn(&Value) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, text) = http::get(&format!("{url}/api/v1/deployments/{name}"))
            .await
            .unwrap();
        let shown: Value = serde_json::from_str(&text).unwrap();
        if is_so(&shown["probes"][0]) {
            return;
        }
        assert!(Instant::now() < deadline, "{shown}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until `script` returns something true.
async fn until(browser: &Browser, script: &str) {
    let deadline = Instant::now() + PATIENCE;
    while browser.run(script).await != true {
        if Instant::now() >= deadline {
            let page = browser.run("return document.body.innerText").await;
            panic!("{script}: {page}");
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the page tells that something was done, where the focus is, in these words.
async fn told(browser: &Browser, words: &str) {
    let script = format!(
        "const done = document.querySelector('.done');
         return done?.role === 'status' && document.activeElement === done && done.textContent.includes({});",
        json!(words)
    );
    until(browser, &script).await;
}

/// Opens every form, and looks at them in both themes and on a phone.
async fn inspect(browser: &Browser, name: &str) {
    browser
        .run("for (const more of document.querySelectorAll('.acts details')) more.open = true")
        .await;
    for (theme, width) in [
        ("light", 1366),
        ("dark", 1366),
        ("light", 390),
        ("dark", 390),
    ] {
        browser.shows(theme, width, 900).await;
        let wide = "return document.documentElement.scrollWidth <= innerWidth";
        assert_eq!(browser.run(wide).await, true, "{name} {theme} {width}");
        let faults = browser.faults().await;
        assert_eq!(faults, Vec::<String>::new(), "{name} {theme} {width}");
        browser
            .keep_picture(&format!("{name}-{theme}-{width}"))
            .await;
    }
    browser.shows("light", 1366, 900).await;
}

/// Types into a field by keys.
async fn type_into(browser: &Browser, field: &str, text: &str) {
    let focus = format!(
        "const field = document.querySelector({}); field.focus(); field.select();",
        json!(field)
    );
    browser.run(&focus).await;
    browser.press(text).await;
}

/// How often the page has updated itself since it was first asked this.
async fn updates(browser: &Browser) -> u64 {
    let script =
        "window.updates ??= (document.addEventListener('page:renewed', () => window.updates++), 0);
        return window.updates;";
    browser.run(script).await.as_u64().unwrap()
}

async fn after_updates(browser: &Browser) {
    let before = updates(browser).await;
    let deadline = Instant::now() + PATIENCE;
    while updates(browser).await < before + 2 {
        assert!(Instant::now() < deadline, "the page does not update");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium"]
async fn a_run_is_asked_for_and_a_verdict_is_acknowledged() {
    let (directory, simulator) = (tempfile::tempdir().unwrap(), simulator().await);
    let config = configuration(directory.path(), &simulator.base_url());
    let (daemon, url) = Program::serve_with(&config, &["--web.enable-lifecycle"]);
    let browser = Browser::start().await;
    browser.shows("light", 1366, 900).await;

    browser
        .open(&format!("{url}/deployments/idle?last=6"))
        .await;
    browser
        .run("document.querySelector('#act-run select').value = 'burst'; document.querySelector('#act-run button').click()")
        .await;
    told(&browser, "Asked for the run of burst.").await;
    assert_eq!(
        browser
            .run("return new URLSearchParams(location.search).get('last')")
            .await,
        "6"
    );
    // It is on the page when it has ended, and what was told still is.
    let ran = "return [...document.querySelectorAll('.runs tbody td:nth-child(2)')].some(cell => cell.innerText === 'ok')";
    until(&browser, ran).await;
    assert_eq!(
        browser
            .run("return document.querySelectorAll('.done').length")
            .await,
        1
    );

    known(&url, "busy", |probe| {
        probe["judgements"]["decode_tokens_rate"]["baseline_runs"].as_u64() >= Some(12)
    })
    .await;
    let slower = Change {
        slowdown: Some(1.5),
        ..Change::default()
    };
    simulator.controls().apply(slower).unwrap();
    browser.open(&format!("{url}/deployments/busy")).await;
    until(
        &browser,
        "return !!document.querySelector('#act-acknowledge')",
    )
    .await;
    inspect(&browser, "buttons").await;

    // While the page updates, what is being filled in stays, whether it has the focus or not.
    type_into(&browser, "#act-acknowledge [name=by]", "on-call").await;
    type_into(&browser, "#act-acknowledge [name=why]", " ").await;
    browser
        .run("document.querySelector('#act-acknowledge [name=until]').value = '8h'; document.activeElement.blur();
              window.form = document.querySelector('#act-acknowledge');")
        .await;
    after_updates(&browser).await;
    let typed = "const form = document.querySelector('#act-acknowledge');
        return form === window.form && form.closest('details').open
            && [...new FormData(form).values()].join('|');";
    let typed = browser.run(typed).await;
    assert_eq!(typed, "burst|8h|on-call| ");

    // What makes no sense is told at the form, and still is after an update.
    browser
        .run("document.querySelector('#act-acknowledge [name=why]').focus()")
        .await;
    browser.press(ENTER).await;
    let refused = "const form = document.querySelector('#act-acknowledge');
        return document.activeElement.id === 'refused' && form.contains(document.activeElement)
            && form.closest('details').open && form.textContent.includes('`why` is missing')
            && form.querySelector('[name=by]').value === 'on-call' && form.querySelector('[name=until]').value === '8h';";
    until(&browser, refused).await;
    after_updates(&browser).await;
    assert_eq!(browser.run(refused).await, true);
    inspect(&browser, "buttons-refused").await;

    type_into(
        &browser,
        "#act-acknowledge [name=why]",
        "rolled back on Monday",
    )
    .await;
    browser.press(ENTER).await;
    told(&browser, "Acknowledged until ").await;
    until(
        &browser,
        "return document.body.innerText.includes('Acknowledged by on-call')",
    )
    .await;
    assert_eq!(
        browser
            .run("return document.querySelector('#act-acknowledge')")
            .await,
        Value::Null
    );
    inspect(&browser, "buttons-done").await;
    let complaints = browser.complaints().await;
    let unexpected = complaints
        .iter()
        .filter(|one| !one.contains("422 (Unprocessable"));
    assert_eq!(unexpected.count(), 0, "{complaints:?}");
    let (_, log) = daemon.terminate(PATIENCE);
    assert!(
        log.join("\n").contains("rolled back on Monday"),
        "the judge was told"
    );
    browser.close().await;
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium"]
async fn without_a_script_a_baseline_is_pinned_and_unpinned() {
    let (directory, simulator) = (tempfile::tempdir().unwrap(), simulator().await);
    let config = configuration(directory.path(), &simulator.base_url());
    let external = [
        "--web.enable-lifecycle",
        "--web.external-url",
        "http://monitoring.test/prober/",
    ];
    let (daemon, url) = Program::serve_with(&config, &external);
    let url = format!("{url}/prober");
    let browser = Browser::start().await;
    browser.shows("light", 390, 844).await;
    browser.allows_scripts(false).await;
    known(&url, "busy", |probe| probe["last_run"]["valid"] == true).await;
    let page = format!("{url}/deployments/busy");
    for (button, says) in [
        ("pin", "Pinned the present level as the baseline of burst"),
        ("unpin", "Unpinned: there is no baseline"),
    ] {
        browser.open(&page).await;
        let form = format!("#act-{button}");
        assert_eq!(
            browser
                .run(&format!(
                    "return document.querySelector('{form}-more').open"
                ))
                .await,
            false
        );
        browser
            .run(&format!(
                "document.querySelector('{form}-more summary').focus()"
            ))
            .await;
        browser.press(ENTER).await;
        assert_eq!(
            browser
                .run(&format!(
                    "return document.querySelector('{form}-more').open"
                ))
                .await,
            true
        );
        type_into(&browser, &format!("{form} [name=by]"), "Zoe").await;
        type_into(&browser, &format!("{form} [name=why]"), "a new GPU").await;
        browser.press(ENTER).await;
        told(&browser, says).await;
        let place = browser.run("return location.href").await;
        assert!(
            place
                .as_str()
                .unwrap()
                .starts_with(&format!("{page}?done=")),
            "{place}"
        );
    }
    browser.close().await;
    assert!(daemon.terminate(PATIENCE).0.success());
    simulator.stop().await.unwrap();
}

/// Waits until so many runs of the idle deployment are stored, and tells how many there are of each workload.
async fn runs_until(url: &str, workload: &str, least: u64) -> BTreeMap<String, u64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all = format!("{url}/api/v1/deployments/idle/runs?limit=100");
        let (_, text) = http::get(&all).await.unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        let mut found = BTreeMap::new();
        for run in answer["runs"].as_array().unwrap() {
            let name = run["workload"].as_str().unwrap().to_owned();
            *found.entry(name).or_default() += 1;
        }
        if found.get(workload).is_some_and(|found| *found >= least) {
            return found;
        }
        assert!(Instant::now() < deadline, "{workload}: {found:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Serves a page of someone else, which presses a button at `url` as soon as it is open.
fn foreign(url: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let page = format!(
        "<!doctype html><title>x</title><form method=post action='{url}'><input name=act value=run></form>\
         <script>document.forms[0].submit()</script>"
    );
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n";
            let length = page.len();
            let _ = write!(stream, "{head}content-length: {length}\r\n\r\n{page}");
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium"]
async fn a_page_of_someone_else_presses_no_button() {
    let (directory, simulator) = (tempfile::tempdir().unwrap(), simulator().await);
    let config = configuration(directory.path(), &simulator.base_url());
    let (daemon, url) = Program::serve_with(&config, &["--web.enable-lifecycle"]);
    let port = url.rsplit(':').next().unwrap();
    // Those of the schedule, which come but once a day.
    for workload in ["burst", "canary"] {
        runs_until(&url, workload, 1).await;
    }
    let browser = Browser::start().await;
    // A browser says little of the sender to what is reached unencrypted by a name.
    for host in ["127.0.0.1", "prober.test"] {
        let page = format!("http://{host}:{port}/deployments/idle");
        let evil = foreign(&page);
        for from in [
            "127.0.0.1",
            "localhost",
            "evil.test",
            "other.prober.test",
            "prober.test",
        ] {
            browser.open(&format!("http://{from}:{evil}/")).await;
            let refused = format!(
                "return location.href === '{page}' && document.querySelector('main').innerText.includes('Only a page of this')"
            );
            until(&browser, &refused).await;
        }
        // Nor does it go away by itself, as what a page asks for again would.
        sleep(Duration::from_millis(2_500)).await;
        let alert = "return !!document.querySelector('main > [role=alert]')";
        assert_eq!(browser.run(alert).await, true);
        browser
            .keep_picture(&format!("buttons-foreign-{host}"))
            .await;
    }
    // The program's own page does, at either of its names.
    for host in ["127.0.0.1", "prober.test"] {
        browser
            .open(&format!("http://{host}:{port}/deployments/idle"))
            .await;
        browser
            .run("document.querySelector('#act-run select').value = 'canary'; document.querySelector('#act-run button').click()")
            .await;
        told(&browser, "Asked for the run of canary.").await;
    }
    browser.close().await;
    let runs = runs_until(&url, "canary", 2).await;
    assert_eq!(runs["burst"], 1, "no button of all workloads was pressed");
    assert!(daemon.terminate(PATIENCE).0.success());
    simulator.stop().await.unwrap();
}
