//! Headers that let a run in: basic auth, and headers of the user's own.

use std::collections::BTreeMap;

use vllm_prober::endpoint::{Auth, HeaderSource, Login, Scheme, SecretSource};
use vllm_prober::runner::RunError;

use crate::replay::{endpoint, measure, workload};
use crate::{assert_let_in, healthy, run, secret};

fn basic(password: SecretSource) -> Auth {
    Auth {
        scheme: Some(Scheme::Basic(Login {
            username: "Aladdin".to_owned(),
            password,
        })),
        headers: BTreeMap::new(),
    }
}

#[test]
fn name_and_password_go_with_every_request_and_are_read_anew_for_every_run() {
    let (file, password) = secret("open sesame\nnot this\n");
    let server = healthy();
    let mut endpoint = endpoint(&server.base_url());
    endpoint.auth = basic(password);
    assert_let_in(&run(endpoint.clone()), "basic auth");
    let first = server.asked().len();
    // The example of RFC 7617.
    for asked in server.asked() {
        let sent = asked.header("authorization");
        assert_eq!(sent, Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    }
    std::fs::write(file.path(), "rotated").unwrap();
    run(endpoint);
    for asked in &server.asked()[first..] {
        let sent = asked.header("authorization");
        assert_eq!(sent, Some("Basic QWxhZGRpbjpyb3RhdGVk"));
    }
}

#[test]
fn headers_of_ones_own_go_with_every_request() {
    let (_file, key) = secret("hunter2\n");
    let server = healthy();
    let mut endpoint = endpoint(&server.base_url());
    endpoint.auth.headers = BTreeMap::from([
        (
            "x-scope-orgid".to_owned(),
            HeaderSource::Plain("team a".to_owned()),
        ),
        ("x-api-key".to_owned(), HeaderSource::Secret(key)),
    ]);
    assert_let_in(&run(endpoint), "headers");
    let asked = server.asked();
    assert!(asked.iter().any(|asked| !asked.is_post()));
    for asked in asked {
        assert_eq!(asked.header("x-scope-orgid"), Some("team a"));
        assert_eq!(asked.header("x-api-key"), Some("hunter2"));
        assert_eq!(asked.header("authorization"), None);
    }
}

#[test]
fn a_secret_that_is_not_there_is_named_and_nothing_is_sent() {
    let nowhere = || SecretSource::File("/nowhere/password".into());
    let (_empty, empty) = secret("\n");
    let header = Auth {
        headers: BTreeMap::from([("x-api-key".to_owned(), HeaderSource::Secret(nowhere()))]),
        ..Auth::default()
    };
    for (auth, words) in [
        (
            basic(nowhere()),
            "cannot read the password file /nowhere/password",
        ),
        (basic(empty), "the password from "),
        (
            basic(SecretSource::Env("VLLM_PROBER_TEST_UNSET".to_owned())),
            "the environment variable VLLM_PROBER_TEST_UNSET, which should hold the password",
        ),
        (
            header,
            "cannot read the x-api-key header file /nowhere/password",
        ),
    ] {
        let server = healthy();
        let mut endpoint = endpoint(&server.base_url());
        endpoint.auth = auth;
        let error = measure(endpoint, workload(1, 1)).unwrap_err();
        assert!(matches!(error, RunError::Client(_)), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(server.accepted(), 0);
    }
}
