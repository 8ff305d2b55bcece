//! Who is let in, and how the endpoint follows its files, a proxy and systemd.

use super::*;

const SUCCESSFUL: &str = "vllm_probe_web_config_last_reload_successful";
const RELOADED: &str = "vllm_probe_web_config_last_reload_success_timestamp_seconds";

/// The value of a series without labels.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.and_then(|value| value.trim().parse().ok())
        .unwrap_or_else(|| panic!("no {series}: {text}"))
}

async fn page(client: &reqwest::Client, url: &str) -> String {
    let answer = client.get(url).send().await.unwrap();
    answer.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_a_password_let_in_whom_they_should() {
    let (_directory, config, authority) = place();
    let web = TLS.to_owned() + &users(&[("prometheus", "right"), ("other", "")]);
    let (daemon, address) = serve(&config, &web, &["--web.open-health"]);
    let client = client(&authority).build().unwrap();
    let url = |path: &str| format!("https://{address}{path}");
    for (path, user, expected) in [
        ("/metrics", Some(("prometheus", "right")), 200),
        ("/metrics", Some(("prometheus", "wrong")), 401),
        ("/metrics", Some(("nobody", "right")), 401),
        ("/metrics", None, 401),
        ("/", None, 401),
        ("/config", None, 401),
        ("/nowhere", None, 401),
        ("/api/v1/deployments", None, 401),
        ("/api/v1/run-logs", None, 401),
        ("/probe?target=a", None, 401),
        ("/probe", Some(("prometheus", "right")), 400),
        ("/-/healthy", None, 200),
        ("/-/ready", None, 200),
    ] {
        let found = status(&client, &url(path), user).await;
        assert_eq!(found, expected, "{path} {user:?}");
    }
    let refused = client.get(url("/api/v1/deployments")).send().await.unwrap();
    let headers = refused.headers().clone();
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert!(
        headers["www-authenticate"]
            .to_str()
            .unwrap()
            .starts_with("Basic")
    );

    let (code, plain) = http::get(&format!("http://{address}/metrics"))
        .await
        .unwrap();
    assert_eq!(code, 400, "{plain}");
    assert!(plain.contains("HTTP request to an HTTPS server"), "{plain}");
    assert!(daemon.terminate(PATIENCE).0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_unnamed_clients_do_not_get_past_the_handshake() {
    let (directory, config, authority) = place();
    let web = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  client_ca_file: ca.crt\n  \
               client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: [prometheus.example]\n";
    let (daemon, address) = serve(&config, web, &["--web.open-health"]);
    authority.issue_into(directory.path(), "unnamed", &["grafana.example"]);
    Authority::new("another").issue_into(directory.path(), "stranger", &["prometheus.example"]);
    for (name, good) in [
        (Some("client"), true),
        (Some("unnamed"), false),
        (Some("stranger"), false),
        (None, false),
    ] {
        let mut builder = client(&authority);
        if let Some(name) = name {
            builder = builder.identity(identity(directory.path(), name));
        }
        let client = builder.build().unwrap();
        let answer = client
            .get(format!("https://{address}/-/healthy"))
            .send()
            .await;
        assert_eq!(answer.is_ok(), good, "{name:?}: {answer:?}");
    }
    assert!(daemon.terminate(PATIENCE).0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_trusted_no_longer_does_not_stay_on_an_open_connection() {
    let (directory, config, authority) = place();
    let web = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  client_ca_file: ca.crt\n  \
               client_auth_type: RequireAndVerifyClientCert\n";
    for http2 in [true, false] {
        write(directory.path(), "ca.crt", &authority.pem);
        let web = format!("{web}http_server_config: {{ http2: {http2} }}\n");
        let (mut daemon, address) = serve(&config, &web, &[]);
        let kept = client(&authority)
            .pool_max_idle_per_host(1)
            .identity(identity(directory.path(), "client"))
            .build()
            .unwrap();
        let url = format!("https://{address}/-/healthy");
        assert_eq!(status(&kept, &url, None).await, 200);
        write(directory.path(), "ca.crt", &Authority::new("another").pem);
        daemon.line("is in force", PATIENCE);
        let mut refused = false;
        // The connection may take one more request before it hears that it is over.
        for _ in 0..50 {
            refused = kept.get(&url).send().await.is_err();
            if refused {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(refused, "http2: {http2}");
        assert!(daemon.terminate(PATIENCE).0.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_on_disk_holds_and_what_is_wrong_does_not() {
    let (directory, config, authority) = place();
    let (mut daemon, address) = serve(&config, TLS, &[]);
    let url = format!("https://{address}/-/healthy");
    let of_old = client(&authority).build().unwrap();
    assert_eq!(status(&of_old, &url, None).await, 200);
    let started = page(&of_old, &format!("https://{address}/metrics")).await;
    assert_eq!(value(&started, SUCCESSFUL), 1.0);

    // Another certificate in the same files.
    let renewed = Authority::new("the next authority");
    renewed.issue_into(directory.path(), "server", &["127.0.0.1"]);
    daemon.line("is in force", PATIENCE);
    let of_new = client(&renewed).build().unwrap();
    assert_eq!(status(&of_new, &url, None).await, 200);
    assert!(
        of_old.get(&url).send().await.is_err(),
        "the old certificate is gone"
    );

    // A key that does not belong to it.
    let key = std::fs::read_to_string(directory.path().join("client.key")).unwrap();
    let good_key = std::fs::read_to_string(directory.path().join("server.key")).unwrap();
    write(directory.path(), "server.key", &key);
    daemon.line("the one before stays in force", PATIENCE);
    assert_eq!(status(&of_new, &url, None).await, 200);
    write(directory.path(), "server.key", &good_key);

    // A slip of the pen, with its line.
    write(
        directory.path(),
        "web.yml",
        &(TLS.to_owned() + "basic_auth_user: {}\n"),
    );
    let told = daemon.line("did you mean `basic_auth_users`", PATIENCE);
    assert!(told.contains("line=2"), "{told}");
    assert_eq!(status(&of_new, &url, None).await, 200);
    daemon.line("the one before stays in force", PATIENCE);
    let text = page(&of_new, &format!("https://{address}/metrics")).await;
    assert_eq!(value(&text, SUCCESSFUL), 0.0);
    let before = value(&text, RELOADED);
    assert!(before > value(&started, RELOADED), "the certificates since");
    let about = page(&of_new, &format!("https://{address}/about")).await;
    assert!(about.contains("The web configuration has a mistake"));

    // A password from now on.
    let web = TLS.to_owned() + &users(&[("prometheus", "right")]);
    write(directory.path(), "web.yml", &web);
    daemon.line("is in force", PATIENCE);
    assert_eq!(status(&of_new, &url, None).await, 401);
    assert_eq!(
        status(&of_new, &url, Some(("prometheus", "right"))).await,
        200
    );

    // And plain HTTP.
    write(directory.path(), "web.yml", "");
    daemon.line("is in force", PATIENCE);
    assert_eq!(
        http::get(&format!("http://{address}/-/healthy"))
            .await
            .unwrap()
            .0,
        200
    );
    let (_, text) = http::get(&format!("http://{address}/metrics"))
        .await
        .unwrap();
    assert_eq!(value(&text, SUCCESSFUL), 1.0);
    assert!(value(&text, RELOADED) > before);
    let (status, log) = daemon.terminate(PATIENCE);
    assert!(status.success());
    assert!(
        !log.iter().any(|line| line.contains("$2b$")),
        "{}",
        log.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_reads_both_configurations_at_once_and_tells_the_mistakes_of_both() {
    let (directory, config, _) = place();
    let (mut daemon, address) = serve(&config, "", &["--web.enable-lifecycle"]);
    let at = |path: &str| format!("http://{address}{path}");
    let metrics = async || http::get(&at("/metrics")).await.unwrap().1;
    let good = std::fs::read_to_string(&config).unwrap();
    let started = value(&metrics().await, RELOADED);
    let (code, told) = http::post(&at("/-/reload")).await.unwrap();
    assert_eq!(
        (code, told.as_str()),
        (200, "The configuration was read anew.\n")
    );
    assert!(
        value(&metrics().await, RELOADED) > started,
        "it was asked for"
    );
    let before = value(&metrics().await, RELOADED);
    let hangup = Command::new("kill")
        .args(["-HUP", &daemon.id().to_string()])
        .status();
    assert!(hangup.unwrap().success());
    let read_anew = async {
        while value(&metrics().await, RELOADED) <= before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let read_anew = tokio::time::timeout(PATIENCE, read_anew).await;
    read_anew.expect("a signal reads it too");

    write(directory.path(), "web.yml", "basic_auth_user: {}\n");
    let (code, told) = http::post(&at("/-/reload")).await.unwrap();
    assert_eq!(code, 500, "{told}");
    assert!(
        told.starts_with("the configuration was read anew\nthe web"),
        "{told}"
    );
    assert!(told.contains("did you mean `basic_auth_users`"), "{told}");
    assert!(!told.contains("nothing has changed"), "{told}");
    let text = metrics().await;
    assert_eq!(value(&text, SUCCESSFUL), 0.0);
    assert_eq!(
        value(&text, "vllm_probe_config_last_reload_successful"),
        1.0
    );

    std::fs::write(&config, good.replace("base_url", "base_ur")).unwrap();
    let (code, told) = http::post(&at("/-/reload")).await.unwrap();
    assert_eq!(code, 500, "{told}");
    for says in [
        "nothing has changed",
        "did you mean `base_url`",
        "the one before stays in force",
        "did you mean `basic_auth_users`",
    ] {
        assert!(told.contains(says), "{says}: {told}");
    }

    std::fs::write(&config, good).unwrap();
    write(
        directory.path(),
        "web.yml",
        &users(&[("prometheus", "right")]),
    );
    daemon.line("is in force", PATIENCE);
    assert_eq!(http::get(&at("/metrics")).await.unwrap().0, 401);
    assert!(daemon.terminate(PATIENCE).0.success());
}

#[test]
fn a_bad_web_configuration_keeps_the_daemon_from_starting() {
    let (directory, config, _) = place();
    let web = write(
        directory.path(),
        "web.yml",
        "tls_server_config:\n  cert_file: absent.crt\n",
    );
    let arguments = [
        "serve",
        "--config.file",
        config.to_str().unwrap(),
        "--web.config.file",
        web.to_str().unwrap(),
    ];
    let (code, _, told) = program::run(&arguments);
    assert_eq!(code, 1, "{told}");
    for says in [
        "web.yml:2:",
        "absent.crt",
        "`key_file` or `key` is missing",
        "help:",
    ] {
        assert!(told.contains(says), "{says}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_moves_below_the_prefix_of_a_proxy() {
    let (_directory, config, authority) = place();
    let external = ["--web.external-url", "https://monitoring.example/prober/"];
    let (daemon, address) = serve(&config, "", &external);
    let client = client(&authority).build().unwrap();
    for (path, expected) in [
        ("/prober/metrics", 200),
        ("/prober/-/healthy", 200),
        ("/prober/api/v1/deployments", 200),
        ("/metrics", 404),
        ("/prober", 302),
        ("/", 302),
    ] {
        let found = status(&client, &format!("http://{address}{path}"), None).await;
        assert_eq!(found, expected, "{path}");
    }
    let url = format!("http://{address}/prober");
    let (code, shown, told) =
        tokio::task::spawn_blocking(move || program::run(&["baseline", "show", "--url", &url]))
            .await
            .unwrap();
    assert!(code == 0 && shown.starts_with("deployment"), "{told}");
    assert!(daemon.terminate(PATIENCE).0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_bring_what_the_daemon_asks_for() {
    let (directory, config, _) = place();
    let web = "tls_server_config: { cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt, \
               client_auth_type: RequireAndVerifyClientCert }\n";
    let (daemon, address) = serve(
        &config,
        &(web.to_owned() + &users(&[("ops", "right")])),
        &[],
    );
    write(directory.path(), "password", "right\n");
    let url = format!("https://{address}");
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let ca = ["--ca-file".to_owned(), file("ca.crt")];
    let certificate = [
        "--cert-file",
        &file("client.crt"),
        "--key-file",
        &file("client.key"),
    ]
    .map(str::to_owned);
    let password = ["--user", "ops", "--password-file", &file("password")].map(str::to_owned);
    for (parts, good, says) in [
        (vec![&ca[..], &certificate, &password], true, "deployment"),
        (vec![&ca[..], &certificate], false, "--user"),
        (vec![&ca[..], &password], false, "--cert-file"),
        (vec![&certificate[..], &password], false, "--ca-file"),
    ] {
        let health = format!("{url}/-/ready");
        for (command, says) in [
            (&["baseline", "show", "--url", &url][..], Some(says)),
            (&["health", "--url", &health], good.then_some("is ready")),
        ] {
            let arguments: Vec<String> = command
                .iter()
                .map(|word| (*word).to_owned())
                .chain(parts.concat())
                .collect();
            let ended = tokio::task::spawn_blocking(move || {
                program::run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
            });
            let (code, shown, told) = ended.await.unwrap();
            assert_eq!(code == 0, good, "{command:?}: {told}");
            assert!(
                (shown + &told).contains(says.unwrap_or_default()),
                "{says:?}: {told}"
            );
        }
    }
    assert!(daemon.terminate(PATIENCE).0.success());
}

/// The YAML blocks of the documentation that are web configurations.
fn documented() -> Vec<String> {
    let blocks = include_str!("../../docs/security.md")
        .split("```yaml\n")
        .skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap().to_owned());
    blocks
        .filter(|block| block.contains("tls_server_config:"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_documentation_work_as_written() {
    let (directory, config, authority) = place();
    write(directory.path(), "clients-ca.crt", &authority.pem);
    let examples = documented();
    assert_eq!(examples.len(), 3, "{examples:?}");
    for example in &examples {
        let file = write(directory.path(), "web.yml", example);
        let read = vllm_prober::config::WebConfig::load(&file).unwrap();
        assert!(read.warnings.is_empty(), "{:?}", read.warnings);
    }
    let (daemon, address) = serve(&config, &examples[1], &[]);
    let url = format!("https://{address}/metrics");
    let client = client(&authority).build().unwrap();
    for (password, expected) in [("correct horse", 200), ("correct house", 401)] {
        let found = status(&client, &url, Some(("prometheus", password))).await;
        assert_eq!(found, expected, "{password}");
    }
    assert!(daemon.terminate(PATIENCE).0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_systemd_is_listened_on() {
    let (directory, config, _) = place();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let script = "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            script,
            "sh",
            env!("CARGO_BIN_EXE_vllm-prober"),
            "serve",
        ])
        .args([
            "--web.systemd-socket",
            "--config.file",
            config.to_str().unwrap(),
        ])
        .args([
            "--storage.path",
            directory.path().join("data").to_str().unwrap(),
        ]);
    let mut daemon = Program::start_on(&mut command, OwnedFd::from(socket));
    let line = daemon.line("message=listening", PATIENCE);
    assert!(line.contains(&address.to_string()), "{line}");
    assert_eq!(
        http::get(&format!("http://{address}/-/healthy"))
            .await
            .unwrap()
            .0,
        200
    );
    assert!(daemon.terminate(PATIENCE).0.success());

    let none = [
        "serve",
        "--web.systemd-socket",
        "--config.file",
        config.to_str().unwrap(),
    ];
    let (code, _, told) = program::run(&none);
    assert!(
        code == 1 && told.contains("no socket was handed over"),
        "{told}"
    );
}
