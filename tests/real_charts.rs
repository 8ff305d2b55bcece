//! The charts of a deployment in a real Chromium: read off and zoomed by a mouse, by keys and by a finger.
//!
//! With `VLLM_PROBER_TEST_PICTURES` the pictures of the pages are left in that directory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
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

use browser::Browser;

const PATIENCE: Duration = Duration::from_secs(15);

/// The most bytes that a page may take to load.
const MOST_BYTES: u64 = 300_000;

#[expect(clippy::disallowed_methods, reason = "what is shown is as of now")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Waits until `script` returns something that `is_it`, and returns that.
async fn until(browser: &Browser, script: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = browser.run(script).await;
        if is_it(&found) {
            return found;
        }
        assert!(Instant::now() < deadline, "{script}: {found}");
        sleep(Duration::from_millis(30)).await;
    }
}

/// Where on the window a share of the first chart's width is.
async fn on_chart(browser: &Browser, share: f64) -> (f64, f64) {
    let script = format!(
        "const box = document.querySelector('.plot').getBoundingClientRect();
         return [box.left + box.width * {share}, box.top + box.height / 2];"
    );
    let place = browser.run(&script).await;
    (place[0].as_f64().unwrap(), place[1].as_f64().unwrap())
}

async fn mouse(browser: &Browser, kind: &str, (x, y): (f64, f64)) {
    let button = if kind == "mouseMoved" { "none" } else { "left" };
    let event = json!({ "type": kind, "x": x, "y": y, "button": button, "clickCount": 1 });
    browser.command("Input.dispatchMouseEvent", event).await;
}

async fn press(browser: &Browser, key: &str) {
    let text = if key.len() == 1 { key } else { "" };
    for kind in ["keyDown", "keyUp"] {
        let event = json!({ "type": kind, "key": key, "text": text });
        browser.command("Input.dispatchKeyEvent", event).await;
    }
}

/// What the first chart's read-out says.
const TOLD: &str = "return document.querySelector('.readout').textContent";

/// How many runs are drawn.
const RUNS: &str = "return JSON.parse(document.querySelector('.curves').dataset.runs).length";

async fn runs(browser: &Browser) -> u64 {
    browser.run(RUNS).await.as_u64().unwrap()
}

/// A browser that looks at a deployment with a change, invalid runs and a full day of valid ones.
async fn looking(stop: &CancellationToken) -> (Browser, String) {
    let board = Arc::new(Board::new(fleet::fleet(now())));
    let served = Served::new(board, Arc::default(), String::new(), now());
    let url = pages::served_at(served, stop).await;
    let browser = Browser::start().await;
    browser.shows("light", 1366, 900).await;
    let url = format!("{url}/deployments/qwen3-32b-nvfp4");
    browser.open(&url).await;
    browser
        .run("document.querySelector('.curves').scrollIntoView()")
        .await;
    (browser, url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium"]
async fn a_mouse_reads_runs_off_and_zooms() {
    let stop = CancellationToken::new();
    let (browser, url) = looking(&stop).await;
    let all = runs(&browser).await;
    mouse(&browser, "mouseMoved", on_chart(&browser, 0.3).await).await;
    let told = until(&browser, TOLD, |told| told != "").await;
    let told = told.as_str().unwrap();
    println!("{told}");
    for part in ["tok/s", "valid", "UTC", "environment before driver"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let hairs = "return document.querySelectorAll('.hair').length";
    assert_eq!(browser.run(hairs).await, 6, "one on every chart");

    // What is read off is told once, however often the page updates.
    browser
        .run("document.dispatchEvent(new Event('page:ask')); window.before = document.querySelector('.readout b')")
        .await;
    sleep(Duration::from_millis(500)).await;
    let same = "return window.before === document.querySelector('.readout b')";
    assert_eq!(browser.run(same).await, true);

    let (from, to) = (on_chart(&browser, 0.4).await, on_chart(&browser, 0.6).await);
    mouse(&browser, "mousePressed", from).await;
    mouse(&browser, "mouseMoved", ((from.0 + to.0) / 2.0, from.1)).await;
    mouse(&browser, "mouseMoved", to).await;
    let dragged = "return document.querySelectorAll('.dragged').length";
    assert_eq!(browser.run(dragged).await, 6);
    browser.keep_picture("charts-dragged").await;
    mouse(&browser, "mouseReleased", to).await;
    let some = until(&browser, RUNS, |runs| runs.as_u64().unwrap() < all).await;
    println!("{all} runs before the zoom, {some} after it");
    assert_eq!(browser.run(dragged).await, 0);
    assert_eq!(browser.run("return getSelection().toString()").await, "");
    for (theme, width) in [("light", 1366), ("dark", 390)] {
        browser.shows(theme, width, 900).await;
        assert_eq!(browser.faults().await, [""; 0], "{theme} {width}");
        browser
            .keep_picture(&format!("charts-zoomed-{theme}-{width}"))
            .await;
    }
    browser.shows("light", 1366, 900).await;

    // The address has the zoom, the table's form keeps it, and a link ends it.
    let address = browser.run("return location.href").await;
    browser.open(address.as_str().unwrap()).await;
    assert_eq!(browser.run(RUNS).await, some);
    browser
        .run("document.querySelector('#runs button').click()")
        .await;
    until(&browser, "return location.search", |query| {
        let query = query.as_str().unwrap();
        query.contains("runs=") && query.contains("from=")
    })
    .await;
    assert_eq!(until(&browser, RUNS, |_| true).await, some);
    browser
        .run("document.querySelector('.times a').click()")
        .await;
    until(&browser, RUNS, |runs| *runs == all).await;

    browser.open(&url).await;
    let bytes = "return performance.getEntries().reduce((sum, entry) => sum + (entry.transferSize ?? 0), 0)";
    let bytes = browser.run(bytes).await.as_u64().unwrap();
    println!("the page of a deployment takes {bytes} bytes");
    assert!(bytes > 5_000 && bytes < MOST_BYTES, "{bytes}");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium"]
async fn keys_go_from_run_to_run_zoom_and_open_one() {
    let stop = CancellationToken::new();
    let (browser, _) = looking(&stop).await;
    let all = runs(&browser).await;
    browser
        .run("document.querySelector('.curves figure').focus()")
        .await;
    press(&browser, "ArrowLeft").await;
    let last = browser.run(TOLD).await;
    press(&browser, "ArrowLeft").await;
    let before = browser.run(TOLD).await;
    assert!(last != "" && last != before, "{last} {before}");
    press(&browser, "ArrowRight").await;
    press(&browser, "ArrowRight").await;
    assert_eq!(browser.run(TOLD).await, last, "there is no later one");
    press(&browser, "Home").await;
    let first = browser.run(TOLD).await;
    assert!(first != last, "{first}");

    // A run that does not count says why, and is not passed over.
    let mut found = false;
    for _ in 0..all {
        press(&browser, "ArrowRight").await;
        let told = browser.run(TOLD).await;
        let told = told.as_str().unwrap();
        if told.contains("no figure, does not count: contaminated") {
            println!("{told}");
            found = true;
            break;
        }
    }
    assert!(found, "no run on the chart does not count");
    browser.keep_picture("charts-keys").await;

    press(&browser, "+").await;
    let some = until(&browser, RUNS, |runs| runs.as_u64().unwrap() < all).await;
    let told = browser.run(TOLD).await;
    assert!(told.as_str().unwrap().contains("contaminated"), "{told}");
    let focus = "return document.activeElement.tagName";
    assert_eq!(browser.run(focus).await, "FIGURE");
    press(&browser, "-").await;
    until(&browser, RUNS, |runs| runs.as_u64() > some.as_u64()).await;
    press(&browser, "+").await;
    until(&browser, RUNS, |runs| *runs == some).await;
    press(&browser, "0").await;
    until(&browser, RUNS, |runs| *runs == all).await;
    press(&browser, "Escape").await;
    assert_eq!(browser.run(TOLD).await, "");

    press(&browser, "Home").await;
    let link = "return document.querySelector('.readout a').href";
    let link = browser.run(link).await;
    press(&browser, "Enter").await;
    until(&browser, "return location.href", |at| *at == link).await;
    browser.close().await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium"]
async fn a_phone_opens_a_chart_at_the_latest_runs() {
    let stop = CancellationToken::new();
    let (browser, _) = looking(&stop).await;
    browser.shows("light", 390, 844).await;
    let here = browser.run("return location.href").await;
    browser.open(here.as_str().unwrap()).await;
    let beyond = "const figure = document.querySelector('.curves figure');
        const caption = figure.querySelector('figcaption').getBoundingClientRect();
        return [figure.scrollWidth - figure.clientWidth, figure.scrollWidth - figure.clientWidth - figure.scrollLeft, caption.left]";
    let found = browser.run(beyond).await;
    let [room, left, caption] = [0, 1, 2].map(|n| found[n].as_f64().unwrap());
    assert!(room > 50.0 && left < 2.0 && caption >= 0.0, "{found}");
    browser.close().await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium"]
async fn a_finger_reads_a_run_off_and_buttons_zoom() {
    let stop = CancellationToken::new();
    let (browser, _) = looking(&stop).await;
    browser.shows("light", 390, 844).await;
    browser
        .command(
            "Emulation.setTouchEmulationEnabled",
            json!({ "enabled": true }),
        )
        .await;
    browser
        .run("document.querySelector('.times').scrollIntoView()")
        .await;
    let all = runs(&browser).await;
    let (x, y) = on_chart(&browser, 0.4).await;
    for (kind, points) in [
        ("touchStart", json!([{ "x": x, "y": y }])),
        ("touchEnd", json!([])),
    ] {
        let event = json!({ "type": kind, "touchPoints": points });
        browser.command("Input.dispatchTouchEvent", event).await;
    }
    let told = until(&browser, TOLD, |told| told != "").await;
    assert!(told.as_str().unwrap().contains("UTC"), "{told}");
    assert_eq!(browser.faults().await, [""; 0]);
    browser.keep_picture("charts-touch").await;
    browser
        .run("document.querySelector('[data-zoom=in]').click()")
        .await;
    until(&browser, RUNS, |runs| runs.as_u64().unwrap() < all).await;
    browser
        .run("document.querySelector('[data-zoom=out]').click()")
        .await;
    until(&browser, RUNS, |runs| *runs == all).await;

    // Without a script there are links to shorter times, and nothing that does not work.
    browser.allows_scripts(false).await;
    browser
        .run("location.assign([...document.querySelectorAll('.times a')].at(-1).href)")
        .await;
    until(&browser, "return location.search", |query| {
        *query == "?last=1"
    })
    .await;
    until(&browser, RUNS, |runs| {
        runs.as_u64().is_some_and(|runs| runs < all)
    })
    .await;
    let shown =
        "return [...document.querySelectorAll('.scripted')].filter(one => one.offsetParent).length";
    assert_eq!(browser.run(shown).await, 0);
    browser.close().await;
    stop.cancel();
}
