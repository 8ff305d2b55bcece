//! Who the server is, and who we are to it.

use std::time::Duration;

use vllm_prober::deployment::Endpoint;
use vllm_prober::endpoint::ClientCertificate;
use vllm_prober::measurement::FailureReason;
use vllm_prober::runner::RunError;

use crate::program::Program;
use crate::replay::{endpoint, measure, workload};
use crate::tls::{Authority, SelfSigned};
use crate::{assert_let_in, encrypted, failures, run};

/// The name in a server's certificate that is not the one in its URL.
const NAME: &str = "vllm.internal";

fn assert_refused(endpoint: Endpoint, what: &str) {
    let run = run(endpoint);
    let failures = failures(&run);
    assert_eq!(failures.len(), 4, "{what}");
    for error in failures {
        assert_eq!(error.reason, FailureReason::Tls, "{what}: {error}");
    }
}

#[test]
fn a_server_that_asks_who_we_are_is_shown_our_certificate() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (settings, _) = authority.server("127.0.0.1", true);
    let server = encrypted(settings);
    let (ca_file, ours, theirs) = (
        authority.ca_file(),
        authority.pair("prober"),
        stranger.pair("prober"),
    );
    let with = |pair: Option<&(tempfile::NamedTempFile, tempfile::NamedTempFile)>| {
        let mut endpoint = endpoint(&server.base_url());
        endpoint.route.tls.ca_file = Some(ca_file.path().to_owned());
        endpoint.route.tls.certificate = pair.map(|(cert, key)| ClientCertificate {
            cert_file: cert.path().to_owned(),
            key_file: key.path().to_owned(),
        });
        endpoint
    };
    assert_let_in(&run(with(Some(&ours))), "our certificate");
    for (pair, what) in [(None, "none"), (Some(&theirs), "one of a stranger's")] {
        let run = run(with(pair));
        let failures = failures(&run);
        assert_eq!(failures.len(), 4, "{what}");
        // With TLS 1.3 the refusal may come after the request was written.
        assert!(
            failures
                .iter()
                .any(|error| error.reason == FailureReason::Tls),
            "{what}: {failures:?}"
        );
    }
    // A renewed one is shown from the next run on.
    let renewed = authority.pair("prober");
    std::fs::copy(renewed.0.path(), ours.0.path()).unwrap();
    std::fs::copy(renewed.1.path(), ours.1.path()).unwrap();
    assert_let_in(&run(with(Some(&ours))), "a renewed certificate");
    // Half of it is no certificate.
    std::fs::copy(theirs.1.path(), ours.1.path()).unwrap();
    let error = measure(with(Some(&ours)), workload(1, 1)).unwrap_err();
    assert!(matches!(error, RunError::Client(_)), "{error:?}");
    assert!(
        error.to_string().contains("cannot use the key file"),
        "{error}"
    );
}

#[test]
fn another_name_is_asked_for_and_believed_where_it_is_configured() {
    let authority = Authority::new();
    let (settings, asked) = authority.server(NAME, false);
    let server = encrypted(settings);
    let ca_file = authority.ca_file();
    let named = |name: Option<&str>| {
        let mut endpoint = endpoint(&server.base_url());
        endpoint.route.tls.ca_file = Some(ca_file.path().to_owned());
        endpoint.route.tls.server_name = name.map(str::to_owned);
        endpoint
    };
    assert_let_in(&run(named(Some(NAME))), "its name");
    let names = asked.lock().unwrap().clone();
    assert!(
        !names.is_empty() && names.iter().all(|name| name.as_deref() == Some(NAME)),
        "{names:?}"
    );
    // HTTP goes on saying where the server is.
    let host = server.address.to_string();
    for asked in server.asked() {
        assert_eq!(asked.header("host"), Some(host.as_str()));
    }
    assert_refused(
        named(None),
        "the address, which the certificate does not have",
    );
    assert_refused(named(Some("other.internal")), "another name");
}

#[test]
fn any_certificate_is_believed_where_that_is_asked_for_and_nowhere_else() {
    let certificate = SelfSigned::of("somebody.else");
    let server = encrypted(certificate.server());
    let mut endpoint = endpoint(&server.base_url());
    endpoint.route.tls.ca_file = Some(SelfSigned::of("127.0.0.1").ca_file().path().to_owned());
    endpoint.route.tls.insecure_skip_verify = true;
    assert_let_in(&run(endpoint), "skip");
    let trusted = Authority::new().ca_file();
    let mut endpoint = self::endpoint(&server.base_url());
    endpoint.route.tls.ca_file = Some(trusted.path().to_owned());
    assert_refused(endpoint, "verify");
}

#[test]
fn the_log_tells_at_every_start_that_any_certificate_is_believed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("prober.yaml");
    std::fs::write(
        &path,
        "workloads: { canary: { prompt: a } }\ndeployments:\n  - name: d\n    base_url: https://127.0.0.1:1\n    \
         tls_config: { insecure_skip_verify: true }\n    probes: [{ workload: canary, every: 1h }]\n",
    )
    .unwrap();
    let storage = directory.path().join("data");
    let mut program = Program::prober(&[
        "serve",
        "--config.file",
        path.to_str().unwrap(),
        "--web.listen-address",
        "127.0.0.1:0",
        "--storage.path",
        storage.to_str().unwrap(),
    ]);
    let line = program.line("INSECURE", Duration::from_secs(10));
    assert!(
        line.contains("level=warn") && line.contains("line=5"),
        "{line}"
    );
}
