//! Genuine clients: Prometheus, curl and openssl.

use super::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Prometheus"]
async fn prometheus_scrapes_with_tls_a_password_and_a_certificate() {
    let (directory, config, _) = place();
    let hash = bcrypt::hash("right", 10).unwrap();
    let web = format!(
        "tls_server_config: {{ cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt, client_auth_type: \
         RequireAndVerifyClientCert, client_allowed_sans: [prometheus.example] }}\nbasic_auth_users: {{ prometheus: {hash} }}\n"
    );
    let external = ["--web.external-url", "https://monitoring.example/prober"];
    let (daemon, address) = serve(&config, &web, &external);
    write(directory.path(), "password", "right");
    let job = format!(
        "scheme: https\nmetrics_path: /prober/metrics\nbasic_auth: {{ username: prometheus, password_file: password }}\n\
         tls_config: {{ ca_file: ca.crt, cert_file: client.crt, key_file: client.key }}\n\
         static_configs: [{{ targets: ['{address}'] }}]"
    );
    let prometheus = Prometheus::start_with(directory.path(), &job);
    prometheus.until("up == 1", 1).await;
    prometheus.until("vllm_probe_build_info", 1).await;
    assert!(daemon.terminate(PATIENCE).0.success());
}

/// What another program prints, both of its outputs in one.
fn said_by(command: &mut Command) -> (bool, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
#[ignore = "needs curl"]
fn events_come_by_either_version_of_http_and_end_with_the_daemon() {
    for (option, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let (directory, config, _) = place();
        let (daemon, address) = serve(&config, TLS, &[]);
        let mut curl = Command::new("curl")
            .args(["-sSN", "--compressed", "--noproxy", "*", option])
            .args(["-w", "ended well by HTTP/%{http_version}", "--cacert"])
            .arg(directory.path().join("ca.crt"))
            .arg(format!("https://{address}/events"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let mut lines = BufReader::new(curl.stdout.take().unwrap());
        while !said.contains("event: changed\n") {
            assert!(lines.read_line(&mut said).unwrap() > 0, "{option}: {said}");
        }
        let began = Instant::now();
        let (status, _) = daemon.terminate(Duration::from_secs(10));
        let took = began.elapsed();
        assert!(status.success(), "{option}: {status}");
        assert!(took < Duration::from_secs(3), "{option}: {took:?}");
        lines.read_to_string(&mut said).unwrap();
        assert!(curl.wait().unwrap().success(), "{option}: {said}");
        let end = format!("ended well by HTTP/{version}");
        assert!(said.ends_with(&end), "{option}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs openssl and curl"]
async fn versions_and_ciphers_are_those_that_openssl_and_curl_find() {
    let (directory, config, _) = place();
    let web = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  min_version: TLS12\n  \
               cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n  curve_preferences: [CurveP256]\n";
    let (daemon, address) = serve(&config, web, &[]);
    let openssl = |options: &[&str]| {
        said_by(
            Command::new("openssl")
                .args(["s_client", "-connect", &address.to_string(), "-CAfile"])
                .arg(directory.path().join("ca.crt"))
                .args(["-verify_return_error", "-cipher", "ALL:@SECLEVEL=0"])
                .args(options),
        )
    };
    for (options, good, says) in [
        (&["-tls1_3"][..], true, "TLSv1.3"),
        (&["-tls1_2"], true, "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
            false,
            "handshake failure",
        ),
        (
            &["-tls1_3", "-groups", "X25519"],
            false,
            "handshake failure",
        ),
        (&["-tls1_1"], false, "alert"),
        (&["-tls1"], false, "alert"),
    ] {
        let (ended_well, said) = openssl(options);
        assert_eq!(ended_well, good, "{options:?}: {said}");
        assert!(said.contains(says), "{options:?}: {said}");
    }
    let curl = |options: &[&str]| {
        let url = format!("https://{address}/metrics");
        said_by(
            Command::new("curl")
                .args([
                    "-sS",
                    "--noproxy",
                    "*",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_version} %{http_code}",
                    "--cacert",
                ])
                .arg(directory.path().join("ca.crt"))
                .args(options)
                .arg(url),
        )
    };
    assert_eq!(curl(&[]), (true, "2 200".to_owned()));
    assert_eq!(curl(&["--http1.1"]), (true, "1.1 200".to_owned()));
    let (ended_well, said) = curl(&["--tls-max", "1.1"]);
    assert!(!ended_well, "{said}");

    // Without HTTP/2.
    let mut daemon = daemon;
    write(
        directory.path(),
        "web.yml",
        &format!("{web}http_server_config: {{ http2: false }}\n"),
    );
    daemon.line("is in force", PATIENCE);
    assert_eq!(curl(&[]), (true, "1.1 200".to_owned()));
    assert!(daemon.terminate(PATIENCE).0.success());
}
