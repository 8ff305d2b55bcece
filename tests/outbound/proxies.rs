//! The way to a server: proxies, and which of its addresses.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use vllm_prober::endpoint::{IpFamily, IpPreference, Login, Proxy};
use vllm_prober::measurement::FailureReason;

use crate::program::{self, Program};
use crate::replay::endpoint;
use crate::socks::Socks;
use crate::tls::Authority;
use crate::{assert_let_in, encrypted, failures, healthy, run, secret};

const PATIENCE: Duration = Duration::from_secs(30);

fn proxy(scheme: &str, address: SocketAddr) -> Proxy {
    Proxy {
        url: format!("{scheme}://{address}").parse().unwrap(),
        login: None,
    }
}

#[test]
fn a_socks_proxy_is_told_an_address_or_a_name() {
    let server = healthy();
    let port = server.address.port();
    for (scheme, host, told) in [
        ("socks5", "127.0.0.1", "127.0.0.1"),
        ("socks5h", "vllm.invalid", "vllm.invalid"),
    ] {
        let socks = Socks::before(server.address, None);
        let mut endpoint = endpoint(&format!("http://{host}:{port}"));
        endpoint.route.proxy = Some(proxy(scheme, socks.address));
        assert_let_in(&run(endpoint), scheme);
        assert_eq!(
            socks.targets(),
            vec![format!("{told}:{port}"); 2],
            "{scheme}"
        );
    }
}

#[test]
fn a_socks_proxy_that_wants_a_password_gets_it_and_the_server_does_not() {
    const LOGIN: (&str, &str) = ("prober", "open: sesame @ü");
    let server = healthy();
    let socks = Socks::before(server.address, Some(LOGIN));
    for (password, good) in [(LOGIN.1, true), ("hunter2", false)] {
        let (_file, source) = secret(password);
        let mut endpoint = endpoint(&server.base_url());
        endpoint.route.proxy = Some(Proxy {
            login: Some(Login {
                username: LOGIN.0.to_owned(),
                password: source,
            }),
            ..proxy("socks5", socks.address)
        });
        let run = run(endpoint);
        if good {
            assert_let_in(&run, "the password");
            continue;
        }
        for error in failures(&run) {
            assert_eq!(error.reason, FailureReason::Connect, "{error}");
            assert!(!error.detail.contains(password), "{error}");
        }
        assert_eq!(failures(&run).len(), 4);
    }
    for asked in server.asked() {
        assert_eq!(asked.header("proxy-authorization"), None);
    }
}

#[test]
fn a_socks_proxy_and_a_name_of_its_own_go_together() {
    let authority = Authority::new();
    let (settings, asked) = authority.server("vllm.internal", false);
    let server = encrypted(settings);
    let socks = Socks::before(server.address, None);
    let ca_file = authority.ca_file();
    let mut endpoint = endpoint(&server.base_url());
    endpoint.route.tls.ca_file = Some(ca_file.path().to_owned());
    endpoint.route.tls.server_name = Some("vllm.internal".to_owned());
    endpoint.route.proxy = Some(proxy("socks5", socks.address));
    assert_let_in(&run(endpoint), "both");
    assert_eq!(socks.targets(), vec![server.address.to_string(); 2]);
    assert_eq!(asked.lock().unwrap()[0].as_deref(), Some("vllm.internal"));
}

#[test]
fn an_http_proxy_gets_its_password() {
    // It answers for the server, which it is asked for by its whole address.
    let proxied = healthy();
    let (_file, password) = secret("open sesame");
    let mut endpoint = endpoint("http://vllm.invalid:8000");
    endpoint.route.proxy = Some(Proxy {
        login: Some(Login {
            username: "Aladdin".to_owned(),
            password,
        }),
        ..proxy("http", proxied.address)
    });
    assert_let_in(&run(endpoint), "HTTP");
    for asked in proxied.asked() {
        let sent = asked.header("proxy-authorization");
        assert_eq!(sent, Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        assert!(
            asked.head.contains(" http://vllm.invalid:8000/"),
            "{}",
            asked.head
        );
    }
}

#[test]
fn a_proxy_behind_tls_is_checked_by_the_systems_authorities_whatever_the_server_speaks() {
    let authority = Authority::new();
    let (settings, _) = authority.server("127.0.0.1", false);
    let proxied = encrypted(settings);
    let trusted = authority.ca_file();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("prober.yaml");
    let configuration = format!(
        "workloads: {{ burst: {{ prompt: a, requests: 1, concurrency: 1, max_tokens: 4 }} }}\ndeployments:\n  - name: d\n    \
         base_url: http://vllm.invalid:8000\n    model: m\n    proxy_url: https://{}\n    probes: [{{ workload: burst, every: \
         10s }}]\n",
        proxied.address
    );
    std::fs::write(&path, &configuration).unwrap();
    let mut command = Command::new("env");
    command.env("SSL_CERT_FILE", trusted.path());
    let (mut program, _) = Program::serve_by(&mut command, &path, &[]);
    program.line("workload=burst", PATIENCE);
    let asked = proxied.asked();
    let answered = asked.iter().any(|asked| {
        asked
            .head
            .starts_with("POST http://vllm.invalid:8000/v1/chat/")
    });
    assert!(answered, "{} requests came through", asked.len());
    assert!(program.terminate(PATIENCE).0.success());

    // So the settings of TLS have an effect.
    let ca_file = format!("    ca_file: {}\n", trusted.path().display());
    let tls_config = format!(
        "    tls_config: {{ ca_file: {} }}\n",
        trusted.path().display()
    );
    for settings in [ca_file, tls_config] {
        std::fs::write(&path, configuration.clone() + &settings).unwrap();
        let (status, out, told) = program::run(&["check", "--config.file", path.to_str().unwrap()]);
        assert!(
            status == 0 && !(out + &told).contains("no effect"),
            "{settings}"
        );
    }
}

#[test]
fn a_family_of_addresses_is_preferred_or_insisted_on() {
    let server = healthy();
    let localhost = format!("http://localhost:{}", server.address.port());
    let prefer = |family, fallback| {
        let mut endpoint = endpoint(&localhost);
        endpoint.route.ip = Some(IpPreference { family, fallback });
        run(endpoint)
    };
    assert_let_in(&prefer(IpFamily::V4, false), "IPv4");
    let connections = server.accepted();
    // There is no such name, or nobody answers there: the server listens on IPv4 alone.
    let insisted = prefer(IpFamily::V6, false);
    for error in failures(&insisted) {
        let reasons = [FailureReason::Dns, FailureReason::Connect];
        assert!(reasons.contains(&error.reason), "{error}");
    }
    assert_eq!(failures(&insisted).len(), 4);
    assert_eq!(server.accepted(), connections);
}
