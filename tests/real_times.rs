//! Pages in a real Chromium whose reader is not in UTC: every instant is told in the reader's zone, which is named once,
//! and stays in UTC on hover and where no script runs.
//!
//! With `VLLM_PROBER_TEST_PICTURES` the pictures of the pages are left in that directory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use vllm_prober::board::{Board, DeploymentStatus};
use vllm_prober::server::Served;

#[path = "common/browser.rs"]
mod browser;
#[path = "common/fleet.rs"]
mod fleet;
#[path = "common/pages.rs"]
mod pages;

use browser::Browser;

const PATIENCE: Duration = Duration::from_secs(15);

/// Half an hour beside all whole hours, so that no instant looks the same by chance.
const ZONE: &str = "Asia/Tehran";

#[expect(clippy::disallowed_methods, reason = "what is shown is as of now")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Serves a fleet with one stored run, and says where, and the run's id.
async fn serving(directory: &Path, stop: &CancellationToken) -> (Arc<Board>, String, String) {
    let run = fleet::stored_run("qwen3-32b-fp8", now());
    let id = run.run_id.clone();
    let board = Arc::new(Board::new(fleet::fleet(now())));
    let served = Served::new(Arc::clone(&board), Arc::default(), String::new(), now());
    pages::show_history(&served, directory, [run], now()).await;
    let url = pages::served_at(served, stop).await;
    (board, url, id)
}

/// The instants on the page that is open: each as it is told, for programs, and on hover; and as of when the page is.
const INSTANTS: &str = "return [
    [...document.querySelectorAll('time[data-told=minute]')].map(time => [time.textContent, time.dateTime, time.title]),
    document.querySelector('.asof time').dateTime];";

/// How an instant is to be told to a reader in `zone`, on a page as of `now`.
fn told(at: &str, now: &str, zone: &TimeZone) -> String {
    let [at, now] = [at, now].map(|text| {
        let instant: Timestamp = text.parse().unwrap();
        instant.to_zoned(zone.clone())
    });
    let form = if at.date() == now.date() {
        "%H:%M"
    } else if at.year() == now.year() {
        "%b %-d, %H:%M"
    } else {
        "%b %-d %Y, %H:%M"
    };
    at.strftime(form).to_string()
}

/// Fails unless each instant of the page that is open is told in `zone`, and returns how many there are.
async fn all_in(browser: &Browser, zone: &TimeZone) -> usize {
    let found = browser.run(INSTANTS).await;
    let now = found[1].as_str().unwrap();
    let instants = found[0].as_array().unwrap();
    for instant in instants {
        let [text, at, title] = [0, 1, 2].map(|n| instant[n].as_str().unwrap());
        assert_eq!(text, told(at, now, zone), "{at}");
        assert!(title == at && title.ends_with('Z'), "{instant}");
    }
    instants.len()
}

const ALL_TEXT: &str = "return document.body.innerText + ' ' +
    [...document.querySelectorAll('svg text')].map(text => text.textContent).join(' ')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium"]
async fn every_page_tells_instants_in_the_zone_of_its_reader() {
    let (stop, directory) = (CancellationToken::new(), tempfile::tempdir().unwrap());
    let (board, url, run) = serving(directory.path(), &stop).await;
    let browser = Browser::start().await;
    let zone = TimeZone::get(ZONE).unwrap();
    browser
        .command(
            "Emulation.setTimezoneOverride",
            json!({ "timezoneId": ZONE }),
        )
        .await;
    browser.shows("light", 1366, 900).await;
    let deployment = format!("{url}/deployments/qwen3-32b-nvfp4");
    for (address, least) in [
        (format!("{url}/"), 4),
        (deployment.clone(), 50),
        (format!("{url}/changes"), 3),
        (format!("{url}/runs/{run}"), 2),
        (format!("{url}/precision"), 1),
        (format!("{url}/about"), 1),
    ] {
        browser.open(&address).await;
        let instants = all_in(&browser, &zone).await;
        assert!(instants >= least, "{instants} on {address}");
        let text = browser.run(ALL_TEXT).await;
        let text = text.as_str().unwrap();
        assert!(!text.contains("UTC"), "{address}: {text}");
        let header = text.matches(", Asia/Tehran time").count();
        assert_eq!(header, 1, "{address}: {text}");
    }

    // The axes of the charts too: a whole hour in UTC is half past one there.
    browser.open(&deployment).await;
    let axis = "const texts = [...document.querySelectorAll('.curves svg')].map(svg =>
            [...svg.querySelectorAll('text')].map(text => text.textContent.trim()));
        return texts.map(all => [all.filter(text => /^[A-Z][a-z][a-z] [0-9]{2} [0-9]{2}:30$/.test(text)).length,
            all.includes('time (Asia/Tehran)')]);";
    let axes = browser.run(axis).await;
    let axes = axes.as_array().unwrap();
    assert_eq!(axes.len(), 6);
    for axis in axes {
        assert!(axis[0].as_u64().unwrap() > 1 && axis[1] == true, "{axes:?}");
    }
    browser.keep_picture("times-deployment").await;

    // What a script adds is told alike.
    browser
        .run("document.querySelector('.curves figure').focus()")
        .await;
    let key = json!({ "type": "keyDown", "key": "ArrowLeft" });
    browser.command("Input.dispatchKeyEvent", key).await;
    let read = "return document.querySelectorAll('.readout time').length";
    assert_eq!(browser.run(read).await, 1);
    all_in(&browser, &zone).await;
    let shown = browser.run(ALL_TEXT).await;
    assert!(!shown.as_str().unwrap().contains("UTC"));
    browser
        .run("document.querySelector('.curves').scrollIntoView()")
        .await;
    browser.keep_picture("times-charts").await;
    assert_eq!(browser.faults().await, [""; 0]);

    // A copy of the page that comes later changes what it has to, and no instant goes back to UTC.
    browser
        .run(
            "window.changes = []; window.svg = document.querySelector('.plot svg');
             new MutationObserver(all => window.changes.push(...all.map(one => one.target.textContent)))
                 .observe(document.querySelector('main'), { subtree: true, childList: true, characterData: true });",
        )
        .await;
    let name = board.snapshot().probes[2].deployment.name.clone();
    board.update_deployment(&name, DeploymentStatus::unknown(now()));
    let evidence =
        "return document.querySelector('main').innerText.includes('nothing is known yet, seen')";
    browser.until(evidence, json!(true), PATIENCE).await;
    assert!(all_in(&browser, &zone).await >= 50);
    let utc = "return window.changes.filter(text => text.includes('UTC'))";
    assert_eq!(browser.run(utc).await, json!([]));
    assert_eq!(browser.complaints().await, Vec::<String>::new());

    // Without a script all of it is in UTC, and says so.
    browser.allows_scripts(false).await;
    browser.open(&deployment).await;
    let text = browser.run(ALL_TEXT).await;
    let text = text.as_str().unwrap();
    assert!(
        text.contains("UTC") && text.contains("time (UTC)") && !text.contains(ZONE),
        "{text}"
    );
    browser.close().await;
    stop.cancel();
}
