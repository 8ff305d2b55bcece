//! The charts of the Precision page in a real Chromium: each is saved as a PNG that the browser draws of the chart's file.
//!
//! With `VLLM_PROBER_TEST_PICTURES` the pictures of the pages are left in that directory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
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

use browser::Browser;

const PATIENCE: Duration = Duration::from_secs(15);

#[expect(clippy::disallowed_methods, reason = "what is shown is as of now")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Serves a fleet of which two deployments of one family have a stored run each, and says where.
async fn serving(directory: &Path, stop: &CancellationToken) -> String {
    let runs = [("qwen3-32b-fp8", 1), ("qwen3-32b-bf16", 2)]
        .map(|(name, number)| fleet::numbered(fleet::stored_run(name, now()), number));
    let board = Arc::new(Board::new(fleet::fleet(now())));
    let served = Served::new(board, Arc::default(), String::new(), now());
    pages::show_history(&served, directory, runs, now()).await;

    pages::served_at(served, stop).await
}

/// The width and the height of a PNG.
fn size(png: &[u8]) -> [u32; 2] {
    assert_eq!(png[..8], *b"\x89PNG\r\n\x1a\n");
    assert_eq!(png[12..16], *b"IHDR");
    [16, 20].map(|at| u32::from_be_bytes(png[at..at + 4].try_into().unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium"]
async fn a_chart_is_saved_as_a_png_of_twice_its_size() {
    let (stop, directory) = (CancellationToken::new(), tempfile::tempdir().unwrap());
    let saved = tempfile::tempdir().unwrap();
    let url = serving(directory.path(), &stop).await;
    let page = format!("{url}/precision?family=qwen3-32b");
    let browser = Browser::start().await;
    let to = json!({ "behavior": "allow", "downloadPath": saved.path() });
    browser.command("Browser.setDownloadBehavior", to).await;
    for (theme, width) in [("dark", 390), ("light", 390), ("light", 1366)] {
        browser.shows(theme, width, 900).await;
        browser.open(&page).await;
        assert_eq!(browser.faults().await, [""; 0], "{theme} {width}");
        browser
            .keep_picture(&format!("precision-{theme}-{width}"))
            .await;
    }
    // On a phone no chart has to be scrolled.
    browser.shows("light", 390, 844).await;
    let wide = "return [...document.querySelectorAll('.curves figure')]
        .filter(figure => figure.scrollWidth > figure.clientWidth).length";
    assert_eq!(browser.run(wide).await, 0);

    for name in ["qps", "throughput", "latency"] {
        let click = format!("document.querySelector('[data-png$=\"file={name}\"]').click()");
        browser.run(&click).await;
        let file = saved.path().join(format!("{name}.png"));
        let deadline = Instant::now() + PATIENCE;
        while !file.exists() {
            assert!(Instant::now() < deadline, "{name} was not saved");
            sleep(Duration::from_millis(50)).await;
        }
        let png = std::fs::read(&file).unwrap();
        let chart = format!(
            "const svg = document.querySelector('[data-png$=\"file={name}\"]').closest('figure').querySelector('svg');
             return [svg.getAttribute('width'), svg.getAttribute('height')].map(Number);"
        );
        let chart: [u32; 2] = serde_json::from_value(browser.run(&chart).await).unwrap();
        assert_eq!(size(&png), chart.map(|side| 2 * side), "{name}");
        if let Ok(directory) = std::env::var("VLLM_PROBER_TEST_PICTURES") {
            std::fs::write(Path::new(&directory).join(format!("saved-{name}.png")), png).unwrap();
        }
    }
    assert_eq!(browser.complaints().await, Vec::<String>::new());

    // Without a script there is the file of the chart, and no button that does nothing.
    browser.allows_scripts(false).await;
    browser.open(&page).await;
    let shown = "return [...document.querySelectorAll('[data-png]')].filter(one => one.offsetParent).length";
    assert_eq!(browser.run(shown).await, 0);
    browser.close().await;
    stop.cancel();
}
