//! The buttons of a deployment's page as browsers send them: who may press them, what comes of it, and what is told
//! where nothing does.

use std::collections::BTreeMap;

use reqwest::Response;
use serde_json::Value;
use vllm_prober::simulator::{Profile, Settings, Simulator};

use super::*;

/// As a browser of today sends it.
const OWN: [(&str, &str); 1] = [("sec-fetch-site", "same-origin")];

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap()
}

async fn press(url: &str, form: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = client()
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// Where a button led, as a whole address.
fn led_to(url: &str, answer: &Response) -> String {
    assert_eq!(answer.status(), 303);
    let place = answer.headers()["location"].to_str().unwrap();
    let url: reqwest::Url = url.parse().unwrap();
    url.join(place).unwrap().to_string()
}

/// A page, which is one of this program.
async fn page(answer: Response) -> (u16, String) {
    let policy = answer.headers()["referrer-policy"].to_str().unwrap();
    assert_eq!(policy, "same-origin");
    let status = answer.status().as_u16();
    (status, answer.text().await.unwrap())
}

/// A daemon that probes a simulated server, with that name as a path has it.
async fn probing(directory: &Path, speedup: f64) -> (Simulator, PathBuf) {
    let simulator = Simulator::start(Settings {
        speedup,
        ..Settings::new(Profile::named("fp8").unwrap())
    });
    let simulator = simulator.await.unwrap();
    let text = format!(
        "workloads:\n  burst: {{ requests: 16, max_tokens: 64, prompt: Count to ten. }}\n  \
         canary: {{ requests: 1, concurrency: 1, max_tokens: 8, prompt: Hello. }}\n\
         deployments:\n  - name: a b/c\n    base_url: {}\n    \
         probes: [{{ workload: burst, every: 1h }}, {{ workload: canary, every: 1h }}]\n",
        simulator.base_url()
    );
    let config = write(directory, "prober.yaml", &text);
    (simulator, config)
}

async fn json(url: &str) -> Value {
    serde_json::from_str(&http::get(url).await.unwrap().1).unwrap()
}

/// Waits until the first probe of the deployment, as the interface shows it, is so.
async fn until(api: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let shown = json(api).await;
        if is_so(&shown["probes"][0]) {
            return shown["probes"][0].clone();
        }
        assert!(Instant::now() < deadline, "{shown}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_button_does_what_it_says_and_leads_to_what_came_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let (simulator, config) = probing(directory.path(), 20.0).await;
    let (daemon, root) = Program::serve_with(&config, &["--web.enable-lifecycle"]);
    let url = format!("{root}/deployments/a%20b%2Fc");
    let api = format!("{root}/api/v1/deployments/a%20b%2Fc");
    let (_, shown) = http::get(&url).await.unwrap();
    assert!(shown.contains("<button name=\"act\" value=\"run\""));

    // What else was asked of the page stays.
    let asked = format!("{url}?last=6&done=1");
    let answer = press(&asked, "act=run&workload=burst", &OWN).await;
    let place = led_to(&asked, &answer);
    assert!(place.starts_with(&format!("{url}?last=6&done=")), "{place}");
    assert!(place.ends_with("#done"), "{place}");
    let (_, told) = http::get(&place).await.unwrap();
    assert!(told.contains("Asked for the run of burst."), "{told}");
    let (_, plain) = http::get(&url).await.unwrap();
    assert!(!plain.contains("Asked for the run"));
    let ran = until(&api, |probe| probe["last_run"]["valid"] == true).await;
    assert_eq!(ran["workload"], "burst");

    // The judge is told: who, why, and what of.
    let said = "act=pin&workload=burst&by=Zo%C3%AB&why=a+new+GPU";
    let place = led_to(&url, &press(&url, said, &OWN).await);
    let (_, told) = http::get(&place).await.unwrap();
    assert!(
        told.contains("Pinned the present level as the baseline of burst (decode rate"),
        "{told}"
    );
    assert!(
        told.contains("value=\"unpin\""),
        "there is a baseline: {told}"
    );
    until(&api, |probe| {
        probe["judgements"]["decode_tokens_rate"]["baseline_runs"] == 1
    })
    .await;
    let place = led_to(
        &url,
        &press(&url, "act=unpin&workload=&by=x&why=y", &OWN).await,
    );
    let (_, told) = http::get(&place).await.unwrap();
    assert!(told.contains("Unpinned"), "{told}");
    assert!(
        !told.contains("value=\"unpin\""),
        "there is none any more: {told}"
    );
    until(&api, |probe| {
        probe["judgements"]["decode_tokens_rate"]["baseline_runs"] == 0
    })
    .await;
    let (_, log) = daemon.terminate(PATIENCE);
    let log = log.join("\n");
    assert!(log.contains("Zoë") && log.contains("a new GPU"), "{log}");
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_told_at_the_form_and_nothing_typed_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let (simulator, config) = probing(directory.path(), 1.0).await;
    let (daemon, root) = Program::serve_with(&config, &["--web.enable-lifecycle"]);
    let url = format!("{root}/deployments/a%20b%2Fc");
    let api = format!("{root}/api/v1/deployments/a%20b%2Fc");
    // The judges sit.
    until(&api, |probe| {
        probe["judgements"]["decode_tokens_rate"].is_object()
    })
    .await;
    let typed = ["value=\"Zoë &quot;z&quot;\"", "value=\"a &lt;b&gt; c\""];
    let said = "by=Zo%C3%AB+%22z%22&why=a+%3Cb%3E+c";
    for (form, status, told) in [
        (
            format!("act=acknowledge&workload=burst&until=1h&{said}"),
            409,
            "no verdict stands",
        ),
        (
            format!("act=acknowledge&workload=burst&until=soon&{said}"),
            422,
            "choose a time",
        ),
        (
            format!("act=pin&workload=gone&{said}"),
            404,
            "no probe of the workload `gone`",
        ),
        (format!("act=pin&workload=canary&{said}"), 409, "not judged"),
    ] {
        let (found, shown) = page(press(&url, &form, &OWN).await).await;
        assert_eq!(found, status, "{form}: {shown}");
        let told_at = shown.split("role=\"alert\"").nth(1).unwrap();
        assert!(told_at.contains(told), "{form}: {shown}");
        for text in typed {
            assert!(told_at.contains(text), "{form}: {text} in {shown}");
        }
    }
    for (form, status, told) in [
        ("act=pin&workload=burst&by=+&why=y", 422, "`by` is missing"),
        ("act=unpin&workload=burst&by=x", 422, "`why` is missing"),
        ("act=cancel&workload=burst", 409, "no run is going on"),
        ("act=explode", 422, "no such button"),
        ("", 422, "no such button"),
    ] {
        let (found, shown) = page(press(&url, form, &OWN).await).await;
        assert_eq!(found, status, "{form}: {shown}");
        assert!(shown.contains(told), "{form}: {shown}");
    }
    // A deployment that is configured no more.
    let gone = format!("{root}/deployments/gone");
    let (status, shown) = page(press(&gone, &format!("act=pin&{said}"), &OWN).await).await;
    assert_eq!(status, 404);
    assert!(
        shown.contains("You had typed") && shown.contains("a &lt;b&gt; c"),
        "{shown}"
    );

    // A stale page asks for a run that goes on, and cuts it then.
    led_to(&url, &press(&url, "act=run&workload=burst", &OWN).await);
    until(&api, |probe| probe["in_progress"] == true).await;
    let (status, shown) = page(press(&url, "act=run&workload=burst", &OWN).await).await;
    assert_eq!(status, 409);
    assert!(shown.contains("a run is going on already") && shown.contains("value=\"cancel\""));
    let place = led_to(&url, &press(&url, "act=cancel&workload=burst", &OWN).await);
    let (_, shown) = http::get(&place).await.unwrap();
    assert!(shown.contains("The run of burst was cut."), "{shown}");
    let cut = until(&api, |probe| probe["in_progress"] == false).await;
    assert_eq!(cut["last_run"], Value::Null);

    let (status, _) = page(press(&url, &"x".repeat(64 << 10), &OWN).await).await;
    assert_eq!(status, 422);
    let larger = press(&url, &"x".repeat((64 << 10) + 1), &OWN).await;
    assert_eq!(larger.status(), 413);
    assert!(daemon.terminate(PATIENCE).0.success());
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_foreign_page_presses_a_button() {
    let (_directory, config, authority) = place();
    let named = users(&[("ops", "right")]);
    let external = "https://monitoring.example/prober/";
    for (web, more, own, foreign) in [
        (
            named.clone(),
            &[][..],
            "http://{host}",
            "https://monitoring.example",
        ),
        (
            TLS.to_owned() + &named,
            &[],
            "https://{host}",
            "http://{host}",
        ),
        (
            named,
            &["--web.external-url", external],
            "https://monitoring.example",
            "http://{host}",
        ),
    ] {
        let arguments = [&["--web.enable-lifecycle"], more].concat();
        let (daemon, address) = serve(&config, &web, &arguments);
        let scheme = if web.contains("tls") { "https" } else { "http" };
        let prefix = if more.is_empty() { "" } else { "/prober" };
        let url = format!("{scheme}://{address}{prefix}/deployments/absent");
        let [own, foreign] =
            [own, foreign].map(|origin| origin.replace("{host}", &address.to_string()));
        let client = super::client(&authority).build().unwrap();
        for (headers, status) in [
            (&[("sec-fetch-site", "same-origin")][..], 422),
            (
                &[("sec-fetch-site", "same-origin"), ("origin", "null")],
                422,
            ),
            (&[("sec-fetch-site", "cross-site"), ("origin", &own)], 403),
            (&[("sec-fetch-site", "same-site"), ("origin", &own)], 403),
            (&[("sec-fetch-site", "none")], 403),
            (&[("origin", &own)], 422),
            (&[("origin", &foreign)], 403),
            (&[("origin", "http://evil.example")], 403),
            (&[("origin", "null")], 403),
            (&[], 403),
        ] {
            let headers: BTreeMap<_, _> = headers.iter().copied().collect();
            // A browser sends the password with a foreign page's form as well.
            let mut request = client.post(&url).basic_auth("ops", Some("right"));
            for (name, value) in &headers {
                request = request.header(*name, *value);
            }
            // What is refused for what it says has come so far.
            let request = request.body("act=pin&by=x<script>&why=");
            let (found, shown) = page(request.send().await.unwrap()).await;
            assert_eq!(found, status, "{url} {headers:?}: {shown}");
            let told = if status == 403 {
                "Only a page of this program may press its buttons"
            } else {
                "is missing"
            };
            assert!(shown.contains(told), "{headers:?}: {shown}");
            assert_eq!(shown.contains("x&lt;script&gt;"), status != 403, "{shown}");
        }
        // To read the configuration anew is no button, and programs say nothing of where they are.
        let reload = url.replace("/deployments/absent", "/-/reload");
        for (headers, status) in [
            (&[][..], 200),
            (&[("sec-fetch-site", "cross-site")], 403),
            (&[("origin", &*foreign)], 403),
        ] {
            let mut request = client.post(&reload).basic_auth("ops", Some("right"));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let found = request.send().await.unwrap().status();
            assert_eq!(found, status, "{reload} {headers:?}");
        }
        // Nothing of it is looked at without the password.
        let unnamed = client.post(&url).header("sec-fetch-site", "same-origin");
        assert_eq!(unnamed.send().await.unwrap().status(), 401);
        assert!(daemon.terminate(PATIENCE).0.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_lifecycle_there_are_no_buttons_and_none_can_be_pressed() {
    let (_directory, config, _) = place();
    let (daemon, root) = Program::serve(&config);
    let url = format!("{root}/deployments/absent");
    let (status, shown) = http::get(&url).await.unwrap();
    assert_eq!(status, 200);
    assert!(!shown.contains("method=\"post\"") && !shown.contains("name=\"act\""));
    for button in ["run", "cancel", "acknowledge", "pin", "unpin"] {
        let form = format!("act={button}&by=x&why=y&until=1h");
        let (status, shown) = page(press(&url, &form, &OWN).await).await;
        assert_eq!(status, 403, "{button}");
        assert!(shown.contains("--web.enable-lifecycle"), "{shown}");
    }
    assert!(daemon.terminate(PATIENCE).0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_button_works_below_the_prefix_of_a_proxy() {
    let (_directory, config, _) = place();
    let more = [
        "--web.enable-lifecycle",
        "--web.external-url",
        "http://monitoring.example/prober/",
    ];
    let (daemon, root) = Program::serve_with(&config, &more);
    let url = format!("{root}/prober/deployments/absent");
    let origin = [("origin", "http://monitoring.example")];
    let place = led_to(&url, &press(&url, "act=run&workload=", &origin).await);
    assert!(place.starts_with(&format!("{url}?done=")), "{place}");
    let (status, shown) = http::get(&place).await.unwrap();
    assert_eq!(status, 200);
    assert!(shown.contains("Asked for the run of burst."), "{shown}");
    assert!(daemon.terminate(PATIENCE).0.success());
}
