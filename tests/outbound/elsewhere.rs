//! What lets us in at one address goes to no other: not by a redirect, and not to a page that is elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use vllm_prober::deployment::{ExporterPage, MetricsSource};
use vllm_prober::endpoint::{Auth, Endpoint, HeaderSource, Login, Scheme};
use vllm_prober::environment::EnvironmentField;
use vllm_prober::measurement::FailureReason;
use vllm_prober::runner::{self, Attempt};

use crate::replay::{deployment, endpoint, workload};
use crate::scripted::{Asked, Habits, Scripted, Wire};
use crate::{failures, healthy, run, secret};

/// An endpoint at `base_url` that lets us in with all that there is, and the files that it is read from.
fn guarded(base_url: &str) -> (Endpoint, Vec<tempfile::NamedTempFile>) {
    let ((first, password), (second, key)) = (secret("hunter2-password"), secret("hunter2-key"));
    let mut endpoint = endpoint(base_url);
    endpoint.auth = Auth {
        scheme: Some(Scheme::Basic(Login {
            username: "prober".to_owned(),
            password,
        })),
        headers: BTreeMap::from([
            ("x-api-key".to_owned(), HeaderSource::Secret(key)),
            (
                "x-scope-orgid".to_owned(),
                HeaderSource::Plain("team-a".to_owned()),
            ),
        ]),
    };
    (endpoint, vec![first, second])
}

fn assert_told_nothing(asked: &Asked) {
    for name in ["authorization", "x-api-key", "x-scope-orgid", "cookie"] {
        assert_eq!(asked.header(name), None, "{}", asked.head);
    }
}

#[test]
fn a_redirect_is_an_error_that_says_where_it_leads_and_is_not_followed() {
    let elsewhere = healthy();
    for status in [
        "301 Moved",
        "302 Found",
        "303 See",
        "307 Temporary",
        "308 Permanent",
    ] {
        let there = elsewhere.base_url();
        let location = format!(
            "{}?key=hunter2-key",
            there.replace("http://", "http://me:pw@")
        );
        let redirects = move |_: &Asked, wire: &mut Wire| {
            wire.say(format!(
                "HTTP/1.1 {status}\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
            ))
        };
        let redirects = Arc::new(redirects);
        let habits = Habits {
            gets: redirects.clone(),
            ..Habits::default()
        };
        let server = Scripted::with(habits, redirects);
        let (endpoint, _files) = guarded(&server.base_url());
        let run = run(endpoint);
        let failures = failures(&run);
        assert_eq!(failures.len(), 4, "{status}");
        for error in failures {
            assert_eq!(error.reason, FailureReason::Redirect, "{error}");
            let words = format!("redirects to {there}/, which is not followed");
            assert!(error.detail.contains(&words), "{error}");
            assert!(
                !error.detail.contains("hunter2") && !error.detail.contains("pw"),
                "{error}"
            );
        }
    }
    assert_eq!(elsewhere.accepted(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_at_other_addresses_are_asked_with_nothing_that_lets_us_in() {
    let page = |text: &'static str| {
        let habits = Habits {
            gets: Arc::new(move |_, wire: &mut Wire| wire.document("200 OK", "text/plain", text)),
            ..Habits::default()
        };
        Scripted::with(habits, Arc::new(|_, wire| wire.hang_up()))
    };
    let metrics =
        page("# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine=\"0\"} 0\n");
    let exporter = page("DCGM_FI_DEV_SM_CLOCK{gpu=\"0\",modelName=\"NVIDIA H100\"} 1980\n");
    let server = healthy();
    let (endpoint, _files) = guarded(&server.base_url());
    let mut deployment = deployment(endpoint);
    deployment.metrics =
        MetricsSource::At(format!("{}/metrics", metrics.base_url()).parse().unwrap());
    deployment.environment.from_server = true;
    deployment.environment.from_metrics = vec![ExporterPage {
        url: format!("{}/metrics", exporter.base_url()).parse().unwrap(),
        metric: "DCGM_FI_DEV_SM_CLOCK".to_owned(),
        matching: BTreeMap::new(),
        take: BTreeMap::from([(EnvironmentField::Gpu, "modelName".to_owned())]),
    }];
    let attempt = Attempt::new(Arc::new(deployment), Arc::new(workload(2, 4)));
    let run = runner::measure(attempt, Arc::default(), CancellationToken::new())
        .await
        .unwrap();
    assert!(failures(&run).is_empty());
    assert!(run.observation.before.is_some());
    assert!(!metrics.asked().is_empty() && !exporter.asked().is_empty());
    for asked in metrics.asked().iter().chain(&exporter.asked()) {
        assert_told_nothing(asked);
    }
    let own = server.asked();
    assert!(own.iter().any(|asked| asked.head.contains("/v1/models")));
    for asked in own {
        assert!(asked.header("authorization").is_some(), "{}", asked.head);
        assert_eq!(asked.header("x-api-key"), Some("hunter2-key"));
    }
}
