//! A real browser: Chromium, steered through its driver by the WebDriver protocol.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// How long the driver may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keys that write nothing.
pub(crate) const TAB: &str = "\u{e004}";
pub(crate) const ENTER: &str = "\u{e007}";
pub(crate) const LEFT: &str = "\u{e012}";

/// A window of Chromium, and the driver that it hangs on.
pub(crate) struct Browser {
    driver: Child,
    session: String,
    client: reqwest::Client,
}

impl Browser {
    /// Starts the driver and opens a window.
    pub(crate) async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts; Debian has it as chromium-driver");
        let mut browser = Self {
            driver,
            session: format!("http://127.0.0.1:{port}"),
            client: reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(60))
                .build()
                .expect("an HTTP client"),
        };
        let deadline = Instant::now() + PATIENCE;
        while browser
            .client
            .get(format!("{}/status", browser.session))
            .send()
            .await
            .is_err()
        {
            assert!(Instant::now() < deadline, "chromedriver does not answer");
            sleep(Duration::from_millis(100)).await;
        }
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": [
                "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                "--hide-scrollbars", "--force-color-profile=srgb",
                // Names of other hosts, which are all this machine.
                "--host-resolver-rules=MAP *.test 127.0.0.1",
            ] },
        } } });
        let created = browser.post("/session", &wanted).await;
        let id = created["sessionId"].as_str().expect("a session");
        browser.session = format!("{}/session/{id}", browser.session);
        browser
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let request = self
            .client
            .post(format!("{}{path}", self.session))
            .body(body.to_string());
        let answer = request.send().await.expect("the driver answers");
        let text = answer.text().await.expect("the driver's answer");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        let value = answer["value"].clone();
        assert!(value["error"].is_null(), "{path}: {value}");
        value
    }

    /// Sends the browser a command of its own protocol.
    pub(crate) async fn command(&self, name: &str, parameters: Value) {
        let body = json!({ "cmd": name, "params": parameters });
        self.post("/goog/cdp/execute", &body).await;
    }

    /// Has `theme`, `light` or `dark`, and is so many pixels wide.
    pub(crate) async fn shows(&self, theme: &str, width: u32, height: u32) {
        let feature = json!([{ "name": "prefers-color-scheme", "value": theme }]);
        self.command("Emulation.setEmulatedMedia", json!({ "features": feature }))
            .await;
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.command("Emulation.setDeviceMetricsOverride", metrics)
            .await;
    }

    /// Whether scripts of pages run.
    pub(crate) async fn allows_scripts(&self, yes: bool) {
        self.command(
            "Emulation.setScriptExecutionDisabled",
            json!({ "value": !yes }),
        )
        .await;
    }

    /// Presses the keys one after another, wherever the focus is.
    pub(crate) async fn press(&self, keys: &str) {
        let strokes = keys.chars().flat_map(|key| {
            ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.to_string() }))
        });
        let strokes: Vec<_> = strokes.collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keys", "actions": strokes }] });
        self.post("/actions", &actions).await;
    }

    /// What axe-core finds on the page that is open.
    pub(crate) async fn faults(&self) -> Vec<String> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/browser/node_modules/axe-core/axe.min.js");
        let axe = std::fs::read_to_string(&file).unwrap_or_else(|error| {
            panic!("{}: {error}; run `npm ci` in tests/browser", file.display())
        });
        self.run(&axe).await;
        let script = "const found = await axe.run(document, { resultTypes: ['violations'] });
            return found.violations.flatMap(rule => rule.nodes.map(node =>
                `${rule.id}: ${node.html} ${node.failureSummary}`));";
        let found = self.run_to_the_end(script).await;
        let found = found
            .as_array()
            .unwrap_or_else(|| panic!("axe-core failed: {found}"));
        found.iter().map(ToString::to_string).collect()
    }

    /// Leaves a picture in the directory that `VLLM_PROBER_TEST_PICTURES` names, if it does.
    pub(crate) async fn keep_picture(&self, name: &str) {
        if let Ok(directory) = std::env::var("VLLM_PROBER_TEST_PICTURES") {
            let path = Path::new(&directory).join(format!("{name}.base64"));
            std::fs::write(path, self.picture().await).expect("a picture can be written");
        }
    }

    /// Loads `url`, and waits until it is there.
    pub(crate) async fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url })).await;
    }

    /// What `script` returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
            .await
    }

    /// Waits until `script` returns `wanted`, and says how long that took.
    pub(crate) async fn until(&self, script: &str, wanted: Value, patience: Duration) -> Duration {
        let began = Instant::now();
        loop {
            let found = self.run(script).await;
            if found == wanted {
                return began.elapsed();
            }
            assert!(
                began.elapsed() < patience,
                "{script}: {found}, not {wanted}"
            );
            sleep(Duration::from_millis(30)).await;
        }
    }

    /// What the promise that `script` returns comes to.
    pub(crate) async fn run_to_the_end(&self, script: &str) -> Value {
        let script = format!(
            "const done = arguments[0]; (async () => {{ {script} }})().then(done, error => done(String(error)));"
        );
        self.post("/execute/async", &json!({ "script": script, "args": [] }))
            .await
    }

    /// What the console has of errors and warnings since it was last asked.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let entries = self.post("/se/log", &json!({ "type": "browser" })).await;
        let entries = entries.as_array().cloned().unwrap_or_default();
        let serious = entries
            .iter()
            .filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING");
        serious.map(|entry| entry["message"].to_string()).collect()
    }

    /// A picture of the window, a PNG in base64.
    pub(crate) async fn picture(&self) -> String {
        let url = format!("{}/screenshot", self.session);
        let answer = self
            .client
            .get(url)
            .send()
            .await
            .expect("the driver answers");
        let text = answer.text().await.expect("the driver's answer");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        answer["value"].as_str().expect("a picture").to_owned()
    }

    /// Closes the window.
    pub(crate) async fn close(self) {
        let _ = self.client.delete(&self.session).send().await;
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
