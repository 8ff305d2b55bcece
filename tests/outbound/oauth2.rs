//! Access tokens: where they are fetched, for how long they are kept, and what is said when there is none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use vllm_prober::client::{Credentials, Tokens};
use vllm_prober::endpoint::{Auth, ClientCredentials, Endpoint, Route, Scheme, SecretSource};
use vllm_prober::measurement::Run;
use vllm_prober::runner::{self, Attempt, RunError};

use crate::replay::{deployment, endpoint, workload};
use crate::scripted::{Asked, Scripted, Wire};
use crate::{assert_let_in, healthy, secret};

/// The longest that a run of the ones here is taken to take.
const RUN: Duration = Duration::from_secs(30);

fn credentials(token_endpoint: &Scripted, client_secret: SecretSource) -> ClientCredentials {
    ClientCredentials {
        client_id: "vllm prober".to_owned(),
        client_secret,
        token_url: format!("{}/oauth2/token", token_endpoint.base_url())
            .parse()
            .unwrap(),
        scopes: vec!["models.read".to_owned(), "models.probe".to_owned()],
        params: BTreeMap::from([("audience".to_owned(), "https://vllm".to_owned())]),
        route: Route::default(),
    }
}

fn with(base_url: &str, credentials: ClientCredentials) -> Endpoint {
    let mut endpoint = endpoint(base_url);
    endpoint.auth = Auth {
        scheme: Some(Scheme::ClientCredentials(Box::new(credentials))),
        headers: BTreeMap::new(),
    };
    endpoint
}

/// A token endpoint that gives `token-0`, `token-1`, … and says (or does not) for how long each is good.
fn granting(expires_in: &'static str) -> Scripted {
    let given = AtomicUsize::new(0);
    Scripted::start(move |_, wire| {
        let number = given.fetch_add(1, Ordering::Relaxed);
        let body =
            format!(r#"{{"access_token":"token-{number}","token_type":"Bearer"{expires_in}}}"#);
        wire.json("200 OK", &body)
    })
}

async fn measure(endpoint: Endpoint, tokens: &Tokens) -> Result<Run, RunError> {
    let attempt = Attempt {
        tokens: tokens.clone(),
        ..Attempt::new(Arc::new(deployment(endpoint)), Arc::new(workload(2, 4)))
    };
    runner::measure(attempt, Arc::default(), CancellationToken::new()).await
}

/// The tokens that a server was shown, each once.
fn shown(server: &Scripted) -> Vec<String> {
    let mut shown: Vec<String> = server
        .asked()
        .iter()
        .map(|asked| asked.header("authorization").unwrap_or("none").to_owned())
        .collect();
    shown.dedup();
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_fetched_once_before_the_first_run_and_kept() {
    let server = Arc::new(healthy());
    let watched = Arc::clone(&server);
    let connections = Arc::new(AtomicUsize::new(usize::MAX));
    let seen = Arc::clone(&connections);
    let token_endpoint = Scripted::start(move |_, wire| {
        seen.store(watched.accepted(), Ordering::Relaxed);
        let body = r#"{"access_token":"the-token","token_type":"bearer","expires_in":3600}"#;
        wire.json("200 OK", body)
    });
    let (file, source) = secret("hunter2 & more\n");
    let endpoint = with(&server.base_url(), credentials(&token_endpoint, source));
    let tokens = Tokens::default();
    for _ in 0..3 {
        let run = measure(endpoint.clone(), &tokens).await.unwrap();
        assert_let_in(&run, "OAuth2");
    }
    let asked = token_endpoint.asked();
    assert_eq!(asked.len(), 1, "it is asked once for three runs");
    assert_eq!(
        connections.load(Ordering::Relaxed),
        0,
        "before anything is sent to the server"
    );
    // `vllm+prober:hunter2+%26+more`, each half encoded by itself.
    assert_eq!(
        asked[0].header("authorization"),
        Some("Basic dmxsbStwcm9iZXI6aHVudGVyMislMjYrbW9yZQ==")
    );
    assert_eq!(
        asked[0].body,
        "grant_type=client_credentials&scope=models.read+models.probe&audience=https%3A%2F%2Fvllm"
    );
    assert_eq!(shown(&server), ["Bearer the-token"]);
    // Another secret needs another token.
    std::fs::write(file.path(), "rotated").unwrap();
    measure(endpoint, &tokens).await.unwrap();
    assert_eq!(token_endpoint.asked().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_would_not_outlast_a_run_or_does_not_say_so_is_fetched_anew() {
    for (expires_in, fetched) in [
        (r#","expires_in":3600"#, 1),
        (r#","expires_in":1"#, 2),
        ("", 2),
    ] {
        let (server, token_endpoint) = (healthy(), granting(expires_in));
        let (_file, source) = secret("hunter2");
        let endpoint = with(&server.base_url(), credentials(&token_endpoint, source));
        let tokens = Tokens::default();
        measure(endpoint.clone(), &tokens).await.unwrap();
        // Longer than half the life of the second token.
        tokio::time::sleep(Duration::from_millis(600)).await;
        measure(endpoint, &tokens).await.unwrap();
        assert_eq!(token_endpoint.asked().len(), fetched, "{expires_in}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_server_refuses_is_not_kept() {
    let refused = |asked: &Asked, wire: &mut Wire| match asked.header("authorization") {
        Some("Bearer token-0") => wire.json("401 Unauthorized", r#"{"error":"Unauthorized"}"#),
        _ => wire.answer(asked),
    };
    let (server, token_endpoint) = (Scripted::start(refused), granting(r#","expires_in":3600"#));
    let (_file, source) = secret("hunter2");
    let endpoint = with(&server.base_url(), credentials(&token_endpoint, source));
    let tokens = Tokens::default();
    let first = measure(endpoint.clone(), &tokens).await.unwrap();
    assert_eq!(crate::failures(&first).len(), 4);
    let second = measure(endpoint, &tokens).await.unwrap();
    assert_let_in(&second, "a new token");
    assert_eq!(shown(&server), ["Bearer token-0", "Bearer token-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_wants_the_secret_in_the_body_gets_it_there() {
    let token_endpoint = Scripted::start(|asked, wire| match asked.header("authorization") {
        Some(_) => wire.json("401 Unauthorized", r#"{"error":"invalid_client"}"#),
        None => wire.json("200 OK", r#"{"access_token":"token"}"#),
    });
    let server = healthy();
    let (_file, source) = secret("hunter2 & more");
    let endpoint = with(&server.base_url(), credentials(&token_endpoint, source));
    let run = measure(endpoint, &Tokens::default()).await.unwrap();
    assert_let_in(&run, "in the body");
    let asked = token_endpoint.asked();
    assert!(
        asked[1]
            .body
            .ends_with("&client_id=vllm+prober&client_secret=hunter2+%26+more"),
        "{}",
        asked[1].body
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_gives_none_is_named_with_its_reason_and_the_secret_is_not() {
    type Refuses = fn(&Asked, &mut Wire) -> std::io::Result<()>;
    let elsewhere = healthy();
    let location: &'static str = elsewhere.base_url().leak();
    let redirect: &'static str = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
    )
    .leak();
    let redirects = move |_: &Asked, wire: &mut Wire| wire.say(redirect);
    let refusals: [(Refuses, &str); 5] = [
        (
            |_, wire| {
                let body =
                    r#"{"error":"invalid_client","error_description":"hunter2-secret is wrong"}"#;
                wire.json("401 Unauthorized", body)
            },
            "HTTP 401: invalid_client: <secret> is wrong",
        ),
        (
            |asked, wire| wire.json("400 Bad Request", &format!("{} {}", asked.head, asked.body)),
            "HTTP 400: ",
        ),
        (
            |_, wire| wire.json("503 Service Unavailable", "maintenance"),
            "HTTP 503: maintenance",
        ),
        (
            |_, wire| wire.json("200 OK", r#"{"token":"hunter2-secret"}"#),
            "its answer is not JSON with an `access_token`",
        ),
        (|_, wire| wire.hang_up(), "no access token from http://"),
    ];
    let scripted = refusals.map(|(script, words)| (Scripted::start(script), words));
    let words = format!("redirects to {location}/, which is not followed");
    let all = scripted
        .into_iter()
        .map(|(server, words)| (server, words.to_owned()))
        .chain([(Scripted::start(redirects), words)]);
    for (token_endpoint, words) in all {
        let server = healthy();
        let (_file, source) = secret("hunter2-secret");
        let endpoint = with(&server.base_url(), credentials(&token_endpoint, source));
        let error = measure(endpoint, &Tokens::default()).await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains(&words), "{said}");
        assert!(said.contains(&token_endpoint.base_url()), "{said}");
        for form in ["hunter2", "dmxsbStwcm9iZXI6"] {
            assert!(!said.contains(form), "{said}");
            assert!(!format!("{error:?}").contains(form), "{error:?}");
        }
        assert_eq!(server.accepted(), 0, "nothing is sent without a token");
    }
    assert_eq!(elsewhere.accepted(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_endpoint_is_given_up_and_holds_up_nobody_else() {
    let slow = Scripted::start(|_, wire| wire.silence());
    let quick = granting(r#","expires_in":3600"#);
    let (_file, source) = secret("hunter2-secret");
    let tokens = Tokens::with_patience(Duration::from_millis(500));
    let held_up = with("http://vllm.invalid", credentials(&slow, source.clone()));
    let other = with("http://vllm.invalid", credentials(&quick, source));
    let waiting = {
        let tokens = tokens.clone();
        tokio::spawn(async move { Credentials::read(&held_up, &tokens, RUN).await })
    };
    while slow.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    Credentials::read(&other, &tokens, RUN).await.unwrap();
    assert!(
        !waiting.is_finished(),
        "the other one had its token meanwhile"
    );
    let error = waiting.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("no answer within 0.5 s"), "{error}");
}
