//! The pages by keys alone, in a real Chromium: whatever can be worked is reached, in the order of the page, with a
//! focus that is seen.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use vllm_prober::board::Board;
use vllm_prober::history::{Entry, Health, History};
use vllm_prober::lifecycle::{Orders, lifecycle};
use vllm_prober::report::{RunJson, Source};
use vllm_prober::server::{Served, serve};

#[path = "common/browser.rs"]
mod browser;
#[path = "common/fleet.rs"]
mod fleet;

use browser::{Browser, ENTER, TAB};

const PATIENCE: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "what is shown is as of now")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Serves a fleet with a history and buttons, and says where. Nobody follows the orders.
async fn serving(directory: &Path, stop: &CancellationToken) -> (String, Orders) {
    let history = History::open(directory).await.unwrap();
    let names = ["qwen3-32b-fp8", "qwen3-32b-bf16"];
    let runs = names.iter().zip(1..).map(|(name, number)| RunJson {
        run_id: format!("019c1e5a-8f00-7a3e-b1d2-{number:012}"),
        ..fleet::stored_run(name, now())
    });
    let entries = runs.map(|run| Entry::new(run, Source::Prober, now()).unwrap());
    history.append(&entries.collect::<Vec<_>>()).await.unwrap();
    history.close().await;
    let board = Arc::new(Board::new(fleet::fleet(now())));
    let served = Served::new(board, Arc::default(), "# none\n".repeat(200), now());
    served.show_history(directory.to_owned(), Arc::new(Health::default()));
    let (orders, taken) = lifecycle();
    served.allow_lifecycle(orders);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(
        vec![listener],
        Arc::new(served),
        Arc::default(),
        stop.clone(),
    ));
    (url, taken)
}

async fn until(browser: &Browser, script: &str, wanted: Value) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = browser.run(script).await;
        if found == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{script}: {found}, not {wanted}");
        sleep(Duration::from_millis(30)).await;
    }
}

/// What can be worked on the page, in its order.
const STOPS: &str = "window.stops = [...document.querySelectorAll(
        'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]:not([tabindex=\"-1\"])')]
    .filter(one => one.checkVisibility() && !one.disabled);
    return window.stops.map(one => one.outerHTML.slice(0, 120));";

/// Which of them has the focus, and whether that is seen.
const FOCUS: &str = "const one = document.activeElement;
    const style = getComputedStyle(one);
    const box = one.getBoundingClientRect();
    return [
        window.stops.indexOf(one),
        style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 && style.outlineColor !== 'rgba(0, 0, 0, 0)',
        box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
        one.outerHTML.slice(0, 120),
    ];";

/// Goes through the page that is open by the tabulator, from its begin to its end.
async fn go_through(browser: &Browser, page: &str) {
    let stops = browser.run(STOPS).await;
    let stops = stops.as_array().unwrap();
    assert!(stops.len() > 10, "{page}: {stops:?}");
    for (number, stop) in stops.iter().enumerate() {
        browser.press(TAB).await;
        let focus = browser.run(FOCUS).await;
        assert_eq!(
            focus[0], number,
            "{page}: after the stop before {stop} comes {focus}"
        );
        assert_eq!(focus[1], true, "{page}: the focus on {stop} is not seen");
        assert_eq!(focus[2], true, "{page}: {stop} is not on the screen");
    }
    println!("{page}: {} stops", stops.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium"]
async fn every_page_is_gone_through_by_keys_in_its_order() {
    let (stop, directory) = (CancellationToken::new(), tempfile::tempdir().unwrap());
    let (url, _orders) = serving(directory.path(), &stop).await;
    let browser = Browser::start().await;
    for (theme, width) in [("light", 1366), ("dark", 390)] {
        browser.shows(theme, width, 900).await;
        for page in [
            "",
            "deployments/qwen3-32b-nvfp4",
            "changes",
            "runs/019c1e5a-8f00-7a3e-b1d2-000000000001",
            "precision?family=qwen3-32b",
            "about",
            "?q=nothing+has+this+name&sort=up",
        ] {
            browser.open(&format!("{url}/{page}")).await;
            go_through(&browser, &format!("/{page} {theme} {width}")).await;
        }
        // With the forms open.
        browser
            .open(&format!("{url}/deployments/qwen3-32b-nvfp4"))
            .await;
        let open = "for (const more of document.querySelectorAll('details')) more.open = true";
        browser.run(open).await;
        let fields = "return document.querySelectorAll('.acts input:not([type=hidden]), .acts select').length";
        assert_eq!(browser.run(fields).await, 7);
        go_through(&browser, &format!("the forms {theme} {width}")).await;
    }
    browser.close().await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium"]
async fn the_fleet_is_worked_by_keys_with_a_script_and_without() {
    let (stop, directory) = (CancellationToken::new(), tempfile::tempdir().unwrap());
    let (url, _orders) = serving(directory.path(), &stop).await;
    let browser = Browser::start().await;
    browser.shows("light", 1366, 900).await;
    for scripts in [true, false] {
        browser.allows_scripts(scripts).await;
        // The first stop skips what every page has.
        browser.open(&format!("{url}/")).await;
        browser.press(TAB).await;
        let skip = "const one = document.activeElement; return one.matches('.skip') && one.getBoundingClientRect().left >= 0";
        assert_eq!(browser.run(skip).await, true);
        browser.press(ENTER).await;
        until(&browser, "return location.hash", json!("#main")).await;
        browser.press(TAB).await;
        let first = "return document.activeElement === document.querySelector('main').querySelector('a[href], input, button, select')";
        assert_eq!(browser.run(first).await, true);

        // The filter.
        let typed = "return document.activeElement.name";
        for _ in 0..20 {
            if browser.run(typed).await == "q" {
                break;
            }
            browser.press(TAB).await;
        }
        assert_eq!(browser.run(typed).await, "q");
        browser.press("QWEN3-32B").await;
        browser.press(TAB).await;
        browser.press("q").await;
        let family = "return document.activeElement.name + ' ' + document.activeElement.value";
        let chosen = browser.run(family).await;
        assert!(
            chosen.as_str().unwrap().starts_with("family qwen3"),
            "{chosen}"
        );
        while browser.run("return document.activeElement.type").await != "submit" {
            browser.press(TAB).await;
        }
        browser.press(ENTER).await;
        until(
            &browser,
            "return new URLSearchParams(location.search).get('q')",
            json!("QWEN3-32B"),
        )
        .await;
        let rows = "return document.querySelectorAll('tbody .name').length";
        until(&browser, rows, json!(3)).await;

        // A row's link.
        let name = "const one = document.activeElement; return one.matches('tbody .name') ? one.textContent : null";
        for _ in 0..60 {
            if browser.run(name).await != Value::Null {
                break;
            }
            browser.press(TAB).await;
        }
        let wanted = browser.run(name).await;
        browser.press(ENTER).await;
        until(
            &browser,
            "return document.querySelector('h1')?.textContent",
            wanted,
        )
        .await;

        // A form of that page opens by keys as well.
        let summary = "return document.activeElement.matches('summary')";
        for _ in 0..60 {
            if browser.run(summary).await == true {
                break;
            }
            browser.press(TAB).await;
        }
        browser.press(ENTER).await;
        let open = "return document.activeElement.closest('details').open";
        assert_eq!(browser.run(open).await, true);
        browser.press(TAB).await;
        let inside = "return document.activeElement.matches('.act input, .act select')";
        assert_eq!(browser.run(inside).await, true);
    }
    browser.close().await;
    stop.cancel();
}
