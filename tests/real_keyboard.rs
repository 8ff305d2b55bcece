//! The pages by keys alone, in a real Chromium: whatever can be worked is reached, in the order of the page, with a
//! focus that is seen.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use vllm_prober::board::Board;
use vllm_prober::lifecycle::{Orders, lifecycle};
use vllm_prober::server::Served;

#[path = "common/browser.rs"]
mod browser;
#[path = "common/fleet.rs"]
mod fleet;
#[path = "common/pages.rs"]
mod pages;

use browser::{Browser, ENTER, TAB};

const PATIENCE: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "what is shown is as of now")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Serves a fleet with a history and buttons, and says where. Nobody follows the orders.
async fn serving(directory: &Path, stop: &CancellationToken) -> (String, Orders) {
    let names = ["qwen3-32b-fp8", "qwen3-32b-bf16"];
    let runs = names
        .iter()
        .zip(1..)
        .map(|(name, number)| fleet::numbered(fleet::stored_run(name, now()), number));
    let board = Arc::new(Board::new(fleet::fleet(now())));
    let served = Served::new(board, Arc::default(), "# none\n".repeat(200), now());
    pages::show_history(&served, directory, runs, now()).await;
    let (orders, taken) = lifecycle();
    served.allow_lifecycle(orders);
    let url = pages::served_at(served, stop).await;
    (url, taken)
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
        browser
            .until("return location.hash", json!("#main"), PATIENCE)
            .await;
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
        browser
            .until(
                "return new URLSearchParams(location.search).get('q')",
                json!("QWEN3-32B"),
                PATIENCE,
            )
            .await;
        let rows = "return document.querySelectorAll('tbody .name').length";
        browser.until(rows, json!(3), PATIENCE).await;

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
        browser
            .until(
                "return document.querySelector('h1')?.textContent",
                wanted,
                PATIENCE,
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
