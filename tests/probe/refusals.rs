//! What is not probed, and what whoever asked for it is told.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn it_is_no_open_relay() {
    let directory = tempfile::tempdir().unwrap();
    let (server, known, trap) = (healthy(), healthy(), healthy());
    std::fs::write(directory.path().join("own"), "the-deployment-s").unwrap();
    std::fs::write(directory.path().join("other"), "the-entry-s").unwrap();
    let port = trap.address.port();
    let sections = format!(
        "auths:\n  own: {{ bearer_token_file: own }}\n  other: {{ bearer_token_file: other }}\nprobe:\n  targets:\n    \
         - {{ url: '{}', local_addresses: [127.0.0.1] }}\n    \
         - {{ url: 'http://127\\.0\\.0\\.1:{}/team', auth: other, local_addresses: [127.0.0.0/8] }}\n    \
         - {{ url: 'http://(localhost|[^/]*[.\\]0-9:].*):{port}' }}\n",
        server.base_url().replace('.', "\\."),
        server.address.port(),
    );
    let own = format!("auth: own, {RARELY}");
    let config = write(
        directory.path(),
        &sections,
        &[("known", known.base_url(), &own)],
    );
    let (daemon, base_url) = Program::serve(&config);
    let given = server.base_url();
    for (target, token) in [
        (given.clone(), None),
        (format!("{given}/v1"), None),
        (format!("{given}/team/v1"), Some("Bearer the-entry-s")),
    ] {
        let before = server.asked().len();
        let (status, text) = probe(&base_url, &[("target", &target)], Some("10")).await;
        assert_eq!(status, 200, "{text}");
        // Its model is asked for, and the server tells none.
        assert!(text.contains("probe_target_info"), "{text}");
        let asked = server.asked().split_off(before);
        assert!(!asked.is_empty());
        for asked in asked {
            assert_eq!(
                asked.header("authorization"),
                token,
                "{target}: {}",
                asked.head
            );
        }
    }
    let spellings = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "100.100.100.200",
        "2852039166",
        "127.0.0.1.",
    ];
    for host in spellings {
        let target = format!("http://{host}:{port}");
        let (status, body) = probe(&base_url, &[("target", &target)], Some("5")).await;
        assert_eq!(status, 403, "{target}: {body}");
        assert!(body.contains("local_addresses"), "{target}: {body}");
    }
    // A name is looked at when it is resolved.
    let (status, page) = probe(
        &base_url,
        &[
            ("target", &format!("http://localhost:{port}")),
            ("debug", "true"),
        ],
        Some("5"),
    )
    .await;
    assert_eq!(status, 200, "{page}");
    assert!(
        page.contains("probe_success 0") && page.contains("which is loopback"),
        "{page}"
    );
    assert_eq!(trap.accepted(), 0, "nothing was sent");
    for (target, wrong) in [
        ("http://gpu.example:8000", 403),
        ("http://127.0.0.1.evil.example:8000", 403),
        ("nobody", 400),
        ("gpu:8000", 400),
        ("ftp://gpu", 400),
        ("file:///etc/passwd", 400),
        ("http://me:hunter2@gpu:80", 400),
        ("http://gpu:80/?a=b", 400),
        ("http://gpu:99999", 400),
    ] {
        let (status, body) = probe(&base_url, &[("target", target)], None).await;
        assert_eq!(status, wrong, "{target}: {body}");
        assert!(!body.contains("hunter2"), "{body}");
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(problem["status"], wrong);
    }
    assert!(daemon.terminate(PATIENCE).0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_refused_with_the_mend() {
    let directory = tempfile::tempdir().unwrap();
    let server = healthy();
    let config = write(directory.path(), "", &[("a", server.base_url(), RARELY)]);
    let (daemon, base_url) = Program::serve(&config);
    for (parameters, timeout, says) in [
        (&[][..], None, "`target` is missing"),
        (&[("target", "")], None, "`target` is missing"),
        (&[("target", "a"), ("target", "a")], None, "duplicate field"),
        (
            &[
                ("target", "a"),
                ("workload", "canary"),
                ("module", "canary"),
            ],
            None,
            "duplicate field",
        ),
        (
            &[("target", "a"), ("targets", "b")],
            None,
            "there are `target`",
        ),
        (&[("target", "a"), ("debug", "yes")], None, "`debug` is"),
        (
            &[("target", "a"), ("workload", "burst")],
            None,
            "is not light",
        ),
        (
            &[("target", "a"), ("workload", "none")],
            None,
            "there is `canary`",
        ),
        (&[("target", "b")], None, "there is `a`"),
        (&[("target", "a")], Some("soon"), "no number of seconds"),
        (&[("target", "a")], Some("-3"), "no number of seconds"),
    ] {
        let (status, body) = probe(&base_url, parameters, timeout).await;
        assert_eq!(status, 400, "{parameters:?}: {body}");
        assert!(body.contains(says), "{parameters:?}: {body}");
    }
    let (status, _) = http::post(&format!("{base_url}/probe?target=a"))
        .await
        .unwrap();
    assert_eq!(status, 405);
    assert_eq!(server.accepted(), 0, "nothing was sent");
    assert!(daemon.terminate(PATIENCE).0.success());
}
