//! Every text that a deployment, a server, an error, a configuration, an address or a form can carry, as an attack on
//! whoever looks at the pages, in a real Chromium: nothing of it runs, opens a dialog or becomes a part of a page.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use url::form_urlencoded::Serializer;
use vllm_prober::board::{Board, ProbeStatus};
use vllm_prober::deployment::{Deployment, DeploymentName};
use vllm_prober::discovery::source::SourceStatus;
use vllm_prober::lifecycle::{Intervened, Order, Orders, Refusal, lifecycle};
use vllm_prober::measure::Measure;
use vllm_prober::server::Served;
use vllm_prober::workload::{Workload, WorkloadName};

#[path = "common/browser.rs"]
mod browser;
#[path = "common/fleet.rs"]
mod fleet;
#[path = "common/pages.rs"]
mod pages;

use browser::{Browser, LEFT};

const PATIENCE: Duration = Duration::from_secs(20);

/// Ways out of a text, an attribute in either quotes, a title, a field, a style and an address.
const ATTACKS: [&str; 7] = [
    "<script>window.fired = 1; alert(1)</script>",
    "\"><img src=x onerror=\"window.fired = 1; alert(1)\">",
    "'><svg onload='window.fired = 1; alert(1)'>",
    "</title></textarea></select></script><script>window.fired = 1</script>",
    "javascript:window.fired=1//",
    "\" autofocus tabindex=1 onfocus=\"window.fired = 1\" x=\"",
    "--></style><iframe srcdoc='<script>parent.fired = 1</script>'></iframe>&lt;b&gt;",
];

#[expect(clippy::disallowed_methods, reason = "what is shown is as of now")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// As a part of a path has it.
fn escaped(text: &str) -> String {
    let bytes = text.bytes();
    bytes.map(|byte| format!("%{byte:02X}")).collect()
}

/// Serves two deployments whose every text is `attack`, a history of theirs and buttons, and says where.
async fn serving(attack: &str, directory: &Path, stop: &CancellationToken) -> String {
    let other = format!("{attack}2");
    let runs = [
        fleet::numbered(fleet::stored_run(attack, now()), 1),
        fleet::numbered(fleet::stored_run(&other, now()), 2),
        fleet::numbered(fleet::hostile_run_by(attack, now()), 3),
    ];

    let mut snapshot = fleet::hostile_by(attack, now());
    // Another workload of it, and another precision.
    let first = ProbeStatus::clone(&snapshot.probes[0]);
    snapshot.probes.push(Arc::new(ProbeStatus {
        workload: Arc::new(Workload {
            name: WorkloadName::new(attack),
            ..Workload::reference("p")
        }),
        ..first.clone()
    }));
    snapshot.probes.push(Arc::new(ProbeStatus {
        deployment: Arc::new(Deployment {
            name: DeploymentName::new(other.clone()),
            precision: Some(other),
            ..Deployment::clone(&first.deployment)
        }),
        ..first
    }));
    let served = Served::new(
        Arc::new(Board::new(snapshot)),
        Arc::default(),
        format!("# {attack}\n"),
        now(),
    );
    pages::show_history(&served, directory, runs, now()).await;
    served.show_sources(vec![SourceStatus {
        source: attack.to_owned(),
        failing: true,
        last_success: None,
        targets: 1,
        refused: 1,
    }]);
    let (orders, taken) = lifecycle();
    served.allow_lifecycle(orders);
    tokio::spawn(answering(taken, attack.to_owned()));

    pages::served_at(served, stop).await
}

/// Follows every order but those to unpin, in words that are the attack.
async fn answering(mut orders: Orders, attack: String) {
    while let Some(order) = orders.recv().await {
        let refusal = Refusal::UnknownWorkload {
            deployment: attack.clone(),
            workload: attack.clone(),
        };
        match order {
            Order::Run(_, answer) | Order::Cancel(_, answer) => {
                let _ = answer.send(Ok(vec![attack.clone()]));
            }
            Order::Intervene(request, answer) => {
                let done = Intervened {
                    workload: attack.clone(),
                    measures: vec![Measure::DecodeTokensRate],
                    stored: false,
                };
                let is_followed = request.why != "refuse";
                let _ = answer.send(if is_followed {
                    Ok(vec![done])
                } else {
                    Err(refusal)
                });
            }
            Order::Probe(_, answer) => {
                let _ = answer.send(Err(refusal));
            }
        }
    }
}

/// Looks whether anything of an attack has come to life on the page that is open.
async fn assert_calm(browser: &Browser, what: &str) {
    let script = "const strange = document.querySelectorAll(
            '[onerror], [onload], [onfocus], iframe, script:not([src]), img:not([src*=\"assets/\"]), [href^=\"javascript\" i], \
             [action^=\"javascript\" i], [tabindex=\"1\"]');
        return { fired: window.fired ?? null, strange: [...strange].map(one => one.outerHTML) };";
    let found = browser.run(script).await;
    assert_eq!(found, json!({ "fired": null, "strange": [] }), "{what}");
    let mut complaints = browser.complaints().await;
    // What is not there, or makes no sense, is answered as such.
    complaints.retain(|one| !one.contains("the server responded with a status of 4"));
    assert_eq!(complaints, Vec::<String>::new(), "{what}");
}

/// Whether the page shows the attack, as the text that it is.
async fn shows(browser: &Browser, attack: &str) -> bool {
    let script = format!(
        "const text = document.querySelector('main').textContent
            + [...document.querySelectorAll('input')].map(field => field.value).join(' ');
         return text.includes({})",
        json!(attack)
    );
    browser.run(&script).await == true
}

/// Lets the page ask for itself and put in what it is told, as it does by itself now and then.
async fn renew(browser: &Browser) {
    browser
        .run(
            "window.renewed = false;
             document.addEventListener('page:renewed', () => { window.renewed = true }, { once: true });
             // What is told anew goes through the script that puts it in.
             document.querySelector('main').replaceChildren();
             document.dispatchEvent(new Event('page:ask'));",
        )
        .await;
    browser
        .until("return window.renewed", json!(true), PATIENCE)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium"]
async fn no_text_of_a_deployment_a_run_or_a_configuration_runs_on_any_page() {
    let browser = Browser::start().await;
    for attack in ATTACKS {
        let (stop, directory) = (CancellationToken::new(), tempfile::tempdir().unwrap());
        let url = serving(attack, directory.path(), &stop).await;
        let own = format!("deployments/{}", escaped(attack));
        for page in [
            "",
            &own,
            "changes",
            "about",
            "precision",
            "runs/019c1e5a-8f00-7a3e-b1d2-000000000001",
            "runs/019c1e5a-8f00-7a3e-b1d2-000000000003",
        ] {
            let what = format!("{attack} on /{page}");
            browser.open(&format!("{url}/{page}")).await;
            assert!(shows(&browser, attack).await, "{what} is not shown");
            assert_calm(&browser, &what).await;
            renew(&browser).await;
            assert!(shows(&browser, attack).await, "{what} is not shown again");
            assert_calm(&browser, &format!("{what}, renewed")).await;
        }
        let charts = "return document.querySelectorAll('figure svg').length";
        browser.open(&format!("{url}/precision")).await;
        assert_eq!(browser.run(charts).await, 3, "{attack}");

        // What the script of the charts tells of a run and its environment.
        browser.open(&format!("{url}/{own}")).await;
        browser
            .run("document.querySelector('.curves figure').focus()")
            .await;
        browser.press(LEFT).await;
        browser
            .until(
                "return document.querySelector('.readout').textContent !== ''",
                json!(true),
                PATIENCE,
            )
            .await;
        assert!(shows(&browser, attack).await);
        assert_calm(&browser, &format!("{attack} read off a chart")).await;
        for text in ["config", "metrics", "api/v1/deployments", "discovery"] {
            browser.open(&format!("{url}/{text}")).await;
            let fired = "return window.fired ?? null";
            assert_eq!(browser.run(fired).await, json!(null), "{attack} in /{text}");
        }
        stop.cancel();
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium"]
async fn no_part_of_an_address_runs() {
    let browser = Browser::start().await;
    let (stop, directory) = (CancellationToken::new(), tempfile::tempdir().unwrap());
    let url = serving("calm", directory.path(), &stop).await;
    for attack in ATTACKS {
        let names = [
            "q", "family", "state", "show", "sort", "page", "runs", "workload", "last", "from",
            "to", "done", "file",
        ];
        let all = Serializer::new(String::new())
            .extend_pairs(names.map(|name| (name, attack)))
            .finish();
        let one = |name: &str| {
            Serializer::new(String::new())
                .append_pair(name, attack)
                .finish()
        };
        let escaped = escaped(attack);
        let mut pages = vec![
            format!("deployments/{escaped}"),
            format!("runs/{escaped}"),
            format!("precision?{}", one("family")),
            format!("precision?family=calm&{}", one("workload")),
            format!("precision?family=calm&workload=reference&{}", one("file")),
            format!("?{}", one("q")),
        ];
        for page in [
            "",
            "deployments/calm",
            "changes",
            "about",
            "precision",
            "runs/019c1e5a-8f00-7a3e-b1d2-000000000001",
        ] {
            pages.push(format!("{page}?{all}#{escaped}"));
        }
        for page in &pages {
            browser.open(&format!("{url}/{page}")).await;
            assert_calm(&browser, &format!("/{page}")).await;
        }
        browser.open(&format!("{url}/{}", pages[0])).await;
        assert!(
            shows(&browser, attack).await,
            "{attack}: who is not there is named"
        );
    }
    browser.close().await;
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium"]
async fn nothing_that_is_typed_into_a_form_runs() {
    let browser = Browser::start().await;
    for attack in ATTACKS {
        let (stop, directory) = (CancellationToken::new(), tempfile::tempdir().unwrap());
        let url = serving(attack, directory.path(), &stop).await;
        let page = format!("{url}/deployments/{}", escaped(attack));
        let fill = |form: &str, why: &str| {
            format!(
                "window.old = true;
                 const form = document.querySelector('{form}');
                 const text = {};
                 for (const field of form.querySelectorAll('input')) field.value = text;
                 for (const field of form.querySelectorAll('select')) field.append(new Option(text, text, true, true));
                 const why = form.querySelector('[name=why]');
                 if (why && {}) why.value = {};
                 form.querySelector('button').click();",
                json!(attack),
                why.len(),
                json!(why)
            )
        };
        for (form, why, place) in [
            ("#act-run", "", ".done"),
            ("#act-pin", "", ".done"),
            ("#act-unpin", "", ".done"),
            ("#act-pin", "refuse", "#refused"),
        ] {
            browser.open(&page).await;
            browser.run(&fill(form, why)).await;
            let there = format!("return !window.old && !!document.querySelector('{place}')");
            browser.until(&there, json!(true), PATIENCE).await;
            let told = format!(
                "return document.querySelector('{place}').textContent.includes({})",
                json!(attack)
            );
            assert_eq!(browser.run(&told).await, true, "{attack} in {form}");
            if why == "refuse" {
                let by = "return document.querySelector('#act-pin [name=by]').value";
                assert_eq!(browser.run(by).await, attack);
            }
            assert_calm(&browser, &format!("{attack} in {form}")).await;
            renew(&browser).await;
            assert_calm(&browser, &format!("{attack} in {form}, renewed")).await;
        }
        // A button that there is not.
        browser.open(&page).await;
        let other = format!(
            "window.old = true; const button = document.querySelector('#act-run button'); button.value = {}; button.click();",
            json!(attack)
        );
        browser.run(&other).await;
        browser
            .until(
                "return !window.old && !!document.querySelector('#refused')",
                json!(true),
                PATIENCE,
            )
            .await;
        assert_calm(&browser, &format!("{attack} as a button")).await;
        stop.cancel();
    }
    browser.close().await;
}
