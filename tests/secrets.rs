//! Secrets are planted wherever one can be configured, servers give them back in whatever they say, and then
//! everything that comes out of the program is searched for them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::time::{Instant, sleep};
use vllm_prober::client::{Client, Credentials, Tokens};
use vllm_prober::config::Config;
use vllm_prober::workload::Limits;

#[path = "common/http.rs"]
mod http;
#[path = "common/program.rs"]
mod program;
#[path = "common/scripted.rs"]
mod scripted;

use program::Program;
use scripted::{Asked, Habits, Scripted, Wire};

const PATIENCE: Duration = Duration::from_secs(60);

/// What is planted; every one of them is somewhere in the configuration below.
const PLANTED: [&str; 8] = [
    "planted-bearer-file-1f3a",
    "planted-bearer-env-77b0",
    "planted-password-c4d1",
    "planted-header-e0a9",
    "planted-client-9a2e",
    "planted-access-5b6c",
    "planted-proxy-d811",
    "planted-in-url-2c4f",
];

/// A server that answers every request with an error that has the request's own head in it.
fn echoing() -> Scripted {
    let echo = |asked: &Asked, wire: &mut Wire| {
        let head = asked.head.replace(['\r', '\n'], " ");
        // The header comes within the part that is kept, and is cut through in some.
        let body = serde_json::json!({"error": {"message": format!("not let in: {head}")}});
        wire.json("403 Forbidden", &body.to_string())
    };
    let habits = Habits {
        gets: Arc::new(echo),
        ..Habits::default()
    };
    Scripted::with(habits, Arc::new(echo))
}

/// A server whose stream breaks off with an error that has the `Authorization` header in it, and which says
/// it in all its documents too.
fn echoing_within() -> Scripted {
    let told = |asked: &Asked| {
        asked
            .header("authorization")
            .unwrap_or("nothing")
            .to_owned()
    };
    let habits = Habits {
        gets: Arc::new(move |asked, wire| {
            let said = told(asked);
            let body = serde_json::json!({
                "version": said,
                "data": [{"id": "m", "root": said}],
                "vllm_config": {"model_config": {"model": said, "quantization": said}},
            });
            wire.json("200 OK", &body.to_string())
        }),
        ..Habits::default()
    };
    let post = move |asked: &Asked, wire: &mut Wire| {
        if asked.number.is_multiple_of(2) {
            let error = serde_json::json!({"error": {"message": told(asked)}});
            return wire.events(&[scripted::ROLE, scripted::TOKEN, &format!("data: {error}")]);
        }
        let last = scripted::LAST.replacen(
            '{',
            &format!(r#"{{"system_fingerprint":"{}","#, told(asked)),
            1,
        );
        wire.events(&[
            scripted::ROLE,
            scripted::TOKEN,
            scripted::TOKEN,
            scripted::TOKEN,
            &last,
            scripted::USAGE,
            scripted::DONE,
        ])
    };
    Scripted::with(habits, Arc::new(post))
}

/// A token endpoint that repeats what it was told: to one client together with a token, to others instead of it.
fn token_endpoint() -> Scripted {
    Scripted::start(|asked, wire| {
        let told = format!(
            "{} {}",
            asked.header("authorization").unwrap_or(""),
            asked.body
        );
        if asked.head.contains("/good") {
            let body =
                serde_json::json!({"access_token": PLANTED[5], "expires_in": 3600, "told": told});
            wire.json("200 OK", &body.to_string())
        } else {
            let body = serde_json::json!({"error": "invalid_client", "error_description": told});
            wire.json("401 Unauthorized", &body.to_string())
        }
    })
}

/// Everything in one configuration, with its files beside it.
fn configuration(directory: &Path, servers: &[&Scripted; 3]) -> PathBuf {
    let names = ["bearer", "-", "password", "header", "client", "-", "proxy"];
    for (name, secret) in names.iter().zip(PLANTED).filter(|(name, _)| **name != "-") {
        std::fs::write(directory.join(name), secret).unwrap();
    }
    let [echoing, within, tokens] = servers.map(Scripted::base_url);
    let mut text = format!(
        "auths:
  file: {{ bearer_token_file: bearer }}
  env: {{ bearer_token_env: VLLM_PROBER_PLANTED }}
  password: {{ basic_auth: {{ username: prober, password_file: password }} }}
  header: {{ headers: {{ X-Api-Key: {{ file: header }} }} }}
  good: {{ oauth2: {{ client_id: prober, client_secret_file: client, token_url: \"{tokens}/good\" }} }}
  bad: {{ oauth2: {{ client_id: prober, client_secret_file: client, token_url: \"{tokens}/bad\" }} }}
# password: planted-in-url-2c4f, http://me:planted-in-url-2c4f@host
workloads:
  canary: {{ requests: 4, concurrency: 1, max_tokens: 4, prompt: Say a., timeouts: {{ connect: 5s }} }}
deployments:
"
    );
    let closed = "http://127.0.0.1:1";
    let deployments = [
        ("file", echoing.as_str(), ""),
        ("env", &echoing, ""),
        ("password", &echoing, ""),
        ("header", &echoing, ""),
        ("good", &echoing, ""),
        ("bad", &echoing, ""),
        ("file", &within, ""),
        ("password", &within, ""),
        ("good", &within, ""),
        ("password", closed, ""),
        ("file", "https://no-such-host.invalid", ""),
        // As an HTTP proxy the echoing server has the proxy's password to repeat.
        (
            "file",
            "http://vllm.invalid",
            "proxy_url: \"PROXY\"\n    proxy_auth: { username: prober, password_file: proxy }",
        ),
        (
            "file",
            "http://vllm.invalid",
            "proxy_url: socks5h://127.0.0.1:1\n    proxy_auth: { username: prober, password_file: proxy }",
        ),
    ];
    for (number, (auth, base_url, more)) in deployments.iter().enumerate() {
        let more = more.replace("PROXY", &echoing);
        let model = if base_url == &within { "" } else { "model: m" };
        write!(
            text,
            "  - name: d{number}\n    base_url: \"{base_url}\"\n    auth: {auth}\n    {model}\n    {more}\n    \
             probes: [{{ workload: canary, every: 1s }}]\n"
        )
        .unwrap();
    }
    let path = directory.join("prober.yaml");
    std::fs::write(&path, text).unwrap();
    path
}

/// The planted secrets as they are and in the forms that they are sent in.
fn forms() -> Vec<String> {
    let mut forms: Vec<String> = PLANTED.map(str::to_owned).into();
    for secret in PLANTED {
        forms.push(BASE64_STANDARD.encode(format!("prober:{secret}")));
        // As much of one as a cut may leave.
        forms.push(secret[..secret.len() - 4].to_owned());
    }
    forms
}

fn search(what: &str, bytes: &[u8]) {
    for form in forms() {
        let found = memchr::memmem::find(bytes, form.as_bytes());
        if let Some(at) = found {
            let around = &bytes[at.saturating_sub(200)..(at + 100).min(bytes.len())];
            panic!("{what} has {form}: …{}…", String::from_utf8_lossy(around));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_output_of_the_daemon_has_a_secret_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let servers = [&echoing(), &echoing_within(), &token_endpoint()];
    let path = configuration(directory.path(), &servers);
    let (program, base_url) = Program::serve_by(
        Command::new("env").env("VLLM_PROBER_PLANTED", PLANTED[1]),
        &path,
        &["--log.level", "trace", "--web.enable-lifecycle"],
    );
    let count = 13;
    let deadline = Instant::now() + PATIENCE;
    // Each has run once, or could not.
    loop {
        let (_, page) = http::get(&format!("{base_url}/metrics")).await.unwrap();
        let ran = |number: &usize| {
            let series = format!("vllm_probe_last_run_timestamp_seconds{{deployment=\"d{number}\"");
            page.contains(&series)
        };
        let missing: Vec<usize> = (0..count).filter(|number| !ran(number)).collect();
        if missing.is_empty() {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{missing:?} did not run:\n{page}"
        );
        sleep(Duration::from_millis(100)).await;
    }
    let mut paths: Vec<String> = [
        "/",
        "/metrics",
        "/config",
        "/api/v1/deployments",
        "/nowhere",
    ]
    .map(str::to_owned)
    .into();
    paths.extend((0..count).map(|number| format!("/api/v1/deployments/d{number}")));
    let mut said = String::new();
    for path in paths {
        let (_, body) = http::get(&format!("{base_url}{path}")).await.unwrap();
        search(&path, body.as_bytes());
        said.push_str(&body);
    }
    // What /probe says of each, down to its last line, and the logs of all runs.
    for number in 0..count {
        let url = format!("{base_url}/probe?target=d{number}&debug=true");
        let (status, page) = http::get(&url).await.unwrap();
        assert_eq!(status, 200, "{page}");
        assert!(page.contains("Log of the probe:"), "{page}");
        search("/probe", page.as_bytes());
        said.push_str(&page);
    }
    let password = format!("{base_url}/probe?target=http://me:{}@host", PLANTED[7]);
    let (status, body) = http::get(&password).await.unwrap();
    assert_eq!(status, 400);
    search("a refusal of /probe", body.as_bytes());
    let (_, logs) = http::get(&format!("{base_url}/api/v1/run-logs"))
        .await
        .unwrap();
    let logs: serde_json::Value = serde_json::from_str(&logs).unwrap();
    let logs = logs["logs"].as_array().unwrap();
    assert!(logs.len() > count, "{logs:?}");
    for log in logs {
        let path = log["log"].as_str().unwrap();
        let (status, text) = http::get(&format!("{base_url}/api/v1/{path}"))
            .await
            .unwrap();
        // It may have been pushed out meanwhile.
        assert!([200, 404].contains(&status), "{text}");
        search("the log of a run", text.as_bytes());
        said.push_str(&text);
        let id = log["run_id"].as_str().unwrap();
        let (_, page) = http::get(&format!("{base_url}/runs/{id}")).await.unwrap();
        search("the page of a run", page.as_bytes());
    }
    for words in [
        "not let in: ",
        "<secret>",
        "Bearer <secret>, from the file",
        "invalid_client",
    ] {
        assert!(said.contains(words), "{words}");
    }
    // The places of secrets are shown, and the search did look at what it was meant to.
    for words in [
        "password_file: password",
        "X-Api-Key: { file: header }",
        "d12",
    ] {
        assert!(said.contains(words), "{words}");
    }
    let (_, log) = program.terminate(PATIENCE);
    let log = log.join("\n");
    search("the log", log.as_bytes());
    for words in ["<secret>", "not let in", "invalid_client", "TRACE"] {
        assert!(
            log.to_lowercase().contains(&words.to_lowercase()),
            "{words} is not in the log:\n{log}"
        );
    }
    let mut kept = 0;
    for entry in std::fs::read_dir(directory.path().join("data")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        kept += bytes.len();
        search(&path.display().to_string(), &bytes);
    }
    assert!(kept > 10_000, "the history holds runs");
    // What the searched outputs were kept from was really sent.
    let sent = |server: &Scripted| -> String {
        server
            .asked()
            .iter()
            .map(|asked| asked.head.clone() + &asked.body)
            .collect()
    };
    let sent: String = servers.map(sent).concat();
    for secret in [PLANTED[0], PLANTED[1], PLANTED[3], PLANTED[5]] {
        assert!(sent.contains(secret), "{secret}");
    }
    for secret in [PLANTED[2], PLANTED[6], PLANTED[4]] {
        assert!(
            sent.contains(&BASE64_STANDARD.encode(format!("prober:{secret}"))),
            "{secret}"
        );
    }
}

#[test]
fn one_run_and_a_check_show_none_either() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(at("key"), PLANTED[0]).unwrap();
    for server in [echoing(), echoing_within()] {
        let (_, out, err) = program::run(&[
            "run",
            "--base-url",
            &server.base_url(),
            "--model",
            "m",
            "--api-key-file",
            &at("key"),
            "--requests",
            "2",
            "--concurrency",
            "1",
            "--max-tokens",
            "4",
            "--save-detailed",
            "--out",
            &at("run.json"),
        ]);
        let json = std::fs::read_to_string(at("run.json")).unwrap();
        search("run", (out + &err + &json).as_bytes());
        assert!(json.contains("<secret>"), "{json}");
    }
    let url = format!("http://me:{}@127.0.0.1:1", PLANTED[7]);
    let (status, out, err) = program::run(&[
        "run",
        "--base-url",
        &url,
        "--requests",
        "1",
        "--concurrency",
        "1",
    ]);
    assert_eq!(status, 2);
    search("run with a URL", (out + &err).as_bytes());
    let (status, out, err) = program::run(&["baseline", "show", "--url", &url]);
    assert!(status != 0 && err.contains("http://127.0.0.1:1/"), "{err}");
    search("a command that asks a daemon", (out + &err).as_bytes());
    let broken = format!(
        "auths:
  a: {{ basic_auth: {{ username: prober, password: {0} }} }}
  b: {{ headers: {{ Authorization: Bearer {0}, X-Api-Key: {0}, Cookie: id={0} }} }}
  c: {{ oauth2: {{ client_id: x, client_secret: {0}, token_url: \"https://me:{0}@login\", endpoint_params: {{ password: {0} }} }} }}
  d: {{ bearer_token_env: {0} }}
  e: {{ headers: {{ X-Key: {{ value: {0} }} }} }}
workloads: {{ canary: {{ prompt: a }} }}
deployments:
  - name: d
    base_url: http://me:{0}@host
    proxy_url: socks5://me:{0}@proxy:1080
    proxy_auth: {{ username: \"me:{0}\", password: {0} }}
    api_key: {0}
    probes: [{{ workload: canary, every: 1m }}]
",
        PLANTED[7]
    );
    std::fs::write(at("broken.yaml"), broken).unwrap();
    let (status, out, err) = program::run(&["check", "--config.file", &at("broken.yaml")]);
    assert_eq!(status, 1, "{out}{err}");
    search("check", (out + &err).as_bytes());
    let (status, out, err) = program::run(&[
        "serve",
        "--config.file",
        &at("broken.yaml"),
        "--log.level",
        "trace",
    ]);
    assert_eq!(status, 1, "{out}{err}");
    search("serve", (out + &err).as_bytes());
}

fn never_good(credentials: Credentials) -> Result<(), Box<Credentials>> {
    Err(Box::new(credentials))
}

#[tokio::test]
async fn what_holds_a_secret_says_nothing_of_it_when_it_is_printed_or_a_panic_prints_it() {
    let directory = tempfile::tempdir().unwrap();
    let servers = [&echoing(), &echoing_within(), &token_endpoint()];
    let path = configuration(directory.path(), &servers);
    // An environment variable cannot be set safely in a process with threads.
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace(
        "bearer_token_env: VLLM_PROBER_PLANTED",
        "bearer_token_file: bearer",
    );
    std::fs::write(&path, text).unwrap();
    let config = Config::load(&path).unwrap();
    search("the configuration", format!("{config:#?}").as_bytes());
    let tokens = Tokens::default();
    let mut read = 0;
    for probed in &config.deployments {
        let endpoint = &probed.deployment.endpoint;
        search("an endpoint", format!("{endpoint:?}").as_bytes());
        let credentials = Credentials::read(endpoint, &tokens, PATIENCE).await;
        search(
            "credentials",
            format!("{credentials:#?} {tokens:#?}").as_bytes(),
        );
        let Ok(credentials) = credentials else {
            continue;
        };
        let client = Client::new(endpoint, &credentials, &Limits::default()).unwrap();
        search("a client", format!("{client:#?}").as_bytes());
        let panic = std::panic::catch_unwind(|| never_good(credentials).unwrap());
        let said = panic.unwrap_err();
        search("a panic", said.downcast_ref::<String>().unwrap().as_bytes());
        read += 1;
    }
    assert!(read > 10, "{read}");
}
