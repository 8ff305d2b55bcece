//! The daemon's own endpoint as operators protect it: TLS, passwords, certificates, prefixes, sockets, and what it
//! withstands.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

#[path = "common/authority.rs"]
mod authority;
#[path = "common/http.rs"]
mod http;
#[path = "common/program.rs"]
mod program;
#[path = "common/prometheus.rs"]
mod prometheus;

use authority::{Authority, write};
use program::Program;
use prometheus::Prometheus;

const PATIENCE: Duration = Duration::from_secs(30);

/// The server's certificate and key, and nothing else.
const TLS: &str = "tls_server_config: { cert_file: server.crt, key_file: server.key }\n";

/// A directory with a configuration whose one deployment is not there, and with certificates.
fn place() -> (TempDir, PathBuf, Authority) {
    let directory = tempfile::tempdir().unwrap();
    let config = write(
        directory.path(),
        "prober.yaml",
        "workloads: { burst: { prompt: hello } }\ndeployments:\n  - name: absent\n    base_url: http://127.0.0.1:9\n    \
         model: m\n    probes: [{ workload: burst, every: 1d }]\n",
    );
    let authority = Authority::new("the authority of a test");
    write(directory.path(), "ca.crt", &authority.pem);
    authority.issue_into(directory.path(), "server", &["127.0.0.1", "localhost"]);
    authority.issue_into(directory.path(), "client", &["prometheus.example"]);
    (directory, config, authority)
}

/// The daemon with a web configuration, and its address.
fn serve(config: &Path, web: &str, more: &[&str]) -> (Program, SocketAddr) {
    let web = write(config.parent().unwrap(), "web.yml", web);
    let arguments = [&["--web.config.file", web.to_str().unwrap()], more].concat();
    let (program, base_url) = Program::serve_with(config, &arguments);
    let address = base_url.strip_prefix("http://").unwrap().parse().unwrap();
    (program, address)
}

/// `name: hash` for each of the names and passwords.
fn users(all: &[(&str, &str)]) -> String {
    let line = |(name, password): &(&str, &str)| {
        // The least cost there is; a real one is checked in the tests with other programs.
        format!("  {name}: {}\n", bcrypt::hash(password, 4).unwrap())
    };
    let lines: String = all.iter().map(line).collect();
    format!("basic_auth_users:\n{lines}")
}

/// A client that opens a connection for every request.
fn client(authority: &Authority) -> reqwest::ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root = reqwest::Certificate::from_pem(authority.pem.as_bytes()).unwrap();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .timeout(Duration::from_secs(20))
        .tls_certs_only([root])
}

fn identity(directory: &Path, name: &str) -> reqwest::Identity {
    let read =
        |kind: &str| std::fs::read_to_string(directory.join(format!("{name}.{kind}"))).unwrap();
    reqwest::Identity::from_pem((read("crt") + &read("key")).as_bytes()).unwrap()
}

async fn status(client: &reqwest::Client, url: &str, user: Option<(&str, &str)>) -> u16 {
    let mut request = client.get(url);
    if let Some((name, password)) = user {
        request = request.basic_auth(name, Some(password));
    }
    request.send().await.unwrap().status().as_u16()
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
async fn what_changes_on_disk_holds_and_what_is_wrong_does_not() {
    let (directory, config, authority) = place();
    let (mut daemon, address) = serve(&config, TLS, &[]);
    let url = format!("https://{address}/-/healthy");
    let of_old = client(&authority).build().unwrap();
    assert_eq!(status(&of_old, &url, None).await, 200);

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
    let (status, log) = daemon.terminate(PATIENCE);
    assert!(status.success());
    assert!(
        !log.iter().any(|line| line.contains("$2b$")),
        "{}",
        log.join("\n")
    );
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
    let blocks = include_str!("../docs/security.md")
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

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_wrong_passwords_keeps_no_scraper_out() {
    let (_directory, config, authority) = place();
    let hash = bcrypt::hash("right", 10).unwrap();
    let (daemon, address) = serve(
        &config,
        &format!("basic_auth_users: {{ prometheus: {hash} }}\n"),
        &[],
    );
    let url = format!("http://{address}/metrics");
    let scraper = client(&authority).build().unwrap();
    let right = Some(("prometheus", "right"));
    assert_eq!(status(&scraper, &url, right).await, 200);

    let floods: Vec<_> = (2..10u8)
        .map(|host| {
            let from = IpAddr::from([127, 0, 0, host]);
            let client = client(&authority).local_address(from).build().unwrap();
            let url = url.clone();
            tokio::spawn(async move {
                let mut answers = [0; 3];
                for guess in 0..100 {
                    let name = if guess % 2 == 0 {
                        "prometheus"
                    } else {
                        "nobody"
                    };
                    match status(&client, &url, Some((name, "wrong"))).await {
                        401 => answers[0] += 1,
                        429 => answers[1] += 1,
                        503 => answers[2] += 1,
                        other => panic!("{other}"),
                    }
                }
                answers
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    while !floods.iter().all(|flood| flood.is_finished()) {
        let begun = Instant::now();
        assert_eq!(status(&scraper, &url, right).await, 200);
        slowest = slowest.max(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let newcomer = client(&authority)
        .local_address(IpAddr::from([127, 0, 1, 1]))
        .build()
        .unwrap();
    assert_eq!(
        status(&newcomer, &url, Some(("prometheus", "wrong"))).await,
        401
    );
    let mut total = [0; 3];
    for flood in floods {
        let answers = flood.await.unwrap();
        total
            .iter_mut()
            .zip(answers)
            .for_each(|(sum, count)| *sum += count);
    }
    println!(
        "800 guesses: {} checked, {} told to slow down, {} found no seat; slowest scrape {slowest:?}",
        total[0], total[1], total[2]
    );
    assert!(total[0] <= 8 * 30, "{total:?}");
    assert!(total[1] >= 400, "{total:?}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert!(daemon.terminate(PATIENCE).0.success());
}

/// What no client should send, by the number of the attempt.
fn malformed(number: usize) -> Vec<u8> {
    let long = "x".repeat(40_000);
    let many: String = (0..300).map(|at| format!("a{at}: b\r\n")).collect();
    match number % 12 {
        0 => b"\r\n\r\n\0\0\0\0".to_vec(),
        1 => b"GET\r\n\r\n".to_vec(),
        2 => b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        3 => format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes(),
        4 => format!("GET / HTTP/1.1\r\n{many}\r\n").into_bytes(),
        5 => b"POST /api/v1/deployments/absent/acknowledgements HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n".to_vec(),
        6 => b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n".to_vec(),
        7 => b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET".to_vec(),
        8 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        9 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(),
        10 => format!("GET / HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n").into_bytes(),
        // Bytes that are all over the place, and the same every time.
        _ => (0..200u64)
            .map(|at| (number as u64 + at).wrapping_mul(6_364_136_223_846_793_005) >> 56)
            .map(|byte| byte as u8)
            .collect(),
    }
}

/// Sends `count` of them from several threads, and reads what comes back.
async fn send_malformed(address: SocketAddr, count: usize) {
    const THREADS: usize = 8;
    let send = move |first: usize| {
        for number in (first..count).step_by(THREADS) {
            let mut socket = TcpStream::connect(address).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            // It may hang up before it has read all of it.
            let _ = socket.write_all(&malformed(number));
            let _ = socket.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            match socket.read_to_end(&mut answer) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{number}"),
            }
            let is_alert = answer.first() == Some(&0x15);
            let answer = String::from_utf8_lossy(&answer);
            assert!(
                answer.is_empty()
                    || is_alert
                    || answer.starts_with("HTTP/1.") && !answer.contains(" 500 "),
                "{number}: {answer}"
            );
        }
    };
    let threads: Vec<_> = (0..THREADS)
        .map(|first| tokio::task::spawn_blocking(move || send(first)))
        .collect();
    for thread in threads {
        thread.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_malformed_requests_leave_it_as_it_was() {
    for (web, count) in [("", 10_000), (TLS, 2_000)] {
        let (_directory, config, authority) = place();
        let (daemon, address) = serve(&config, web, &[]);
        let begun = Instant::now();
        send_malformed(address, count).await;
        println!("{count} malformed requests in {:?}", begun.elapsed());
        let scheme = if web.is_empty() { "http" } else { "https" };
        let client = client(&authority).build().unwrap();
        let answer = client.get(format!("{scheme}://{address}/metrics")).send();
        let text = answer.await.unwrap().text().await.unwrap();
        let open = text
            .lines()
            .find_map(|line| line.strip_prefix("process_open_fds "))
            .unwrap();
        assert!(open.parse::<f64>().unwrap() < 100.0, "{open} open files");
        let (status, log) = daemon.terminate(PATIENCE);
        assert!(status.success());
        let log = log.join("\n");
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "holds 2,000 sockets for a while, and measures time"]
async fn two_thousand_slow_clients_do_not_slow_a_scrape_down() {
    const SLOW: usize = 2_000;
    let (_directory, config, authority) = place();
    let (daemon, address) = serve(&config, "", &[]);
    let slow = std::thread::spawn(move || {
        let open = || {
            let mut socket = TcpStream::connect(address).ok()?;
            socket
                .set_write_timeout(Some(Duration::from_secs(1)))
                .ok()?;
            socket
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\nX-Slow: ")
                .ok()?;
            Some(socket)
        };
        let mut sockets: Vec<Option<TcpStream>> = (0..SLOW).map(|_| open()).collect();
        let until = Instant::now() + Duration::from_secs(15);
        let mut reopened = 0;
        while Instant::now() < until {
            for socket in &mut sockets {
                // A byte now and then; whoever is hung up on comes back.
                let alive = socket
                    .as_mut()
                    .is_some_and(|socket| socket.write_all(b"x").is_ok());
                if !alive {
                    *socket = open();
                    reopened += 1;
                }
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        reopened
    });
    let url = format!("http://{address}/metrics");
    let anew = client(&authority).build().unwrap();
    let kept = client(&authority)
        .pool_max_idle_per_host(1)
        .build()
        .unwrap();
    let (mut took, mut closed) = (Vec::new(), 0);
    while !slow.is_finished() {
        for client in [&anew, &kept] {
            let begun = Instant::now();
            // In the middle of a burst of newcomers it may be among those that make room. It comes again, as
            // Prometheus' client does.
            let answer = match client.get(&url).send().await {
                Ok(answer) => answer,
                Err(_) => {
                    closed += 1;
                    client.get(&url).send().await.unwrap()
                }
            };
            assert_eq!(answer.status(), 200);
            answer.bytes().await.unwrap();
            took.push(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "{} scrapes beside {SLOW} slow clients, who came back {} times: median {:?}, p99 {:?}, worst {:?}",
        took.len(),
        slow.join().unwrap(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    assert!(
        closed * 50 <= took.len(),
        "{closed} of {} closed",
        took.len()
    );
    assert!(at(0.99) < Duration::from_millis(100), "{:?}", at(0.99));
    // Machines that others use, too, have moments of their own.
    assert!(at(1.0) < Duration::from_secs(1), "{:?}", at(1.0));
    assert!(daemon.terminate(PATIENCE).0.success());
}

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

/// Web configurations, whether they can be used, and whether Debian's Prometheus, which is older than some fields and
/// less strict in some places, says so, too.
const CASES: &[(&str, &str, bool, bool)] = &[
    ("nothing", "", true, true),
    (
        "TLS",
        "tls_server_config: {cert_file: server.crt, key_file: server.key}",
        true,
        true,
    ),
    ("junk", "hha_junk", false, true),
    (
        "an unknown key",
        "tls_server_configg:\n  cert_file: server.crt",
        false,
        true,
    ),
    (
        "an unknown key within",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, cert_fil: x}",
        false,
        true,
    ),
    (
        "an empty certificate path",
        "tls_server_config: {cert_file: '', key_file: server.key}",
        false,
        true,
    ),
    (
        "an empty key path",
        "tls_server_config: {cert_file: server.crt, key_file: ''}",
        false,
        true,
    ),
    (
        "no key",
        "tls_server_config: {cert_file: server.crt}",
        false,
        true,
    ),
    (
        "both paths empty, with a policy",
        "tls_server_config: {cert_file: '', key_file: '', client_auth_type: RequireAnyClientCert}",
        false,
        true,
    ),
    (
        "a certificate that is not there",
        "tls_server_config: {cert_file: somefile, key_file: server.key}",
        false,
        true,
    ),
    (
        "a key that is not there",
        "tls_server_config: {cert_file: server.crt, key_file: somefile}",
        false,
        true,
    ),
    (
        "a key of another",
        "tls_server_config: {cert_file: server.crt, key_file: client.key}",
        false,
        true,
    ),
    (
        "a certificate for a key",
        "tls_server_config: {cert_file: server.crt, key_file: server.crt}",
        false,
        true,
    ),
    (
        "an invented policy",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireFoo}",
        false,
        true,
    ),
    (
        "authorities without a policy",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt}",
        false,
        true,
    ),
    (
        "authorities that are not there",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireAndVerifyClientCert, client_ca_file: somefile}",
        false,
        true,
    ),
    (
        "every certificate verified",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt}",
        true,
        true,
    ),
    (
        "those given verified",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.crt}",
        true,
        true,
    ),
    (
        "any certificate",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireAnyClientCert}",
        true,
        true,
    ),
    (
        "any certificate, in older words",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireClientCert}",
        true,
        true,
    ),
    (
        "a certificate asked for",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequestClientCert}",
        true,
        true,
    ),
    (
        "a bad version",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, min_version: TLS111}",
        false,
        true,
    ),
    (
        "TLS 1.3 only",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, min_version: TLS13}",
        true,
        true,
    ),
    (
        "old TLS allowed",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, min_version: TLS10}",
        true,
        true,
    ),
    (
        "an invented cipher",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, cipher_suites: [TLS_FOO]}",
        false,
        true,
    ),
    (
        "some ciphers",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]}",
        true,
        true,
    ),
    (
        "all ciphers of Go",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA, TLS_RSA_WITH_AES_256_CBC_SHA, TLS_RSA_WITH_AES_128_GCM_SHA256, TLS_RSA_WITH_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]}",
        true,
        true,
    ),
    (
        "the client chooses",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, prefer_server_cipher_suites: false}",
        true,
        true,
    ),
    (
        "no cipher of HTTP/2, and none wanted",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, max_version: TLS12, cipher_suites: [TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]}\nhttp_server_config: {http2: false}",
        true,
        true,
    ),
    (
        "an invented curve",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, curve_preferences: [CurveP257]}",
        false,
        true,
    ),
    (
        "all curves",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]}",
        true,
        true,
    ),
    (
        "users",
        "basic_auth_users: {alice: $2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze, bob: $2y$10$hLqFl9jSjoAAy95Z/zw8Ye8wkdMBM8c5Bn1ptYqP/AXyV0.oy0S8m}",
        true,
        true,
    ),
    (
        "a password for a hash",
        "basic_auth_users: {john: doe}",
        false,
        true,
    ),
    (
        "headers",
        "http_server_config: {headers: {Content-Security-Policy: default-src 'self', X-Frame-Options: deny, X-Content-Type-Options: nosniff, X-XSS-Protection: '1', Strict-Transport-Security: max-age=1}}",
        true,
        true,
    ),
    (
        "a bad value of X-Content-Type-Options",
        "http_server_config: {headers: {X-Content-Type-Options: foo}}",
        false,
        true,
    ),
    (
        "a bad value of X-Frame-Options",
        "http_server_config: {headers: {X-Frame-Options: foo}}",
        false,
        true,
    ),
    (
        "a header that cannot be set",
        "http_server_config: {headers: {Server: foo}}",
        false,
        true,
    ),
    (
        "HTTP/2 off",
        "http_server_config: {http2: false}",
        true,
        true,
    ),
    // Where it is stricter: an endpoint that would be open or dead is a mistake.
    (
        "a version and no certificate",
        "tls_server_config: {min_version: TLS13}",
        false,
        false,
    ),
    (
        "verified by nobody",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireAndVerifyClientCert}",
        false,
        false,
    ),
    (
        "no version left",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, min_version: TLS13, max_version: TLS12}",
        false,
        false,
    ),
    // Prometheus finds this one when it starts to serve, and not before.
    (
        "no cipher of HTTP/2",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, cipher_suites: [TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]}",
        false,
        false,
    ),
    (
        "a curve that is not spoken",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, curve_preferences: [CurveP521]}",
        false,
        false,
    ),
    // Younger than Debian's Prometheus.
    (
        "a rate limit",
        "rate_limit: {interval: 1s, burst: 20}",
        true,
        false,
    ),
    (
        "names of clients",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequireAnyClientCert, client_allowed_sans: [a.example]}",
        true,
        false,
    ),
    (
        "names of clients without a policy",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_allowed_sans: [a.example]}",
        false,
        true,
    ),
    (
        "names of clients that may stay away",
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_auth_type: RequestClientCert, client_allowed_sans: [a.example]}",
        false,
        true,
    ),
];

#[test]
fn the_cases_of_the_exporters_toolkit_come_out_as_they_should() {
    let (directory, _, _) = place();
    for (name, text, good, _) in CASES {
        let file = write(directory.path(), "web.yml", text);
        let found = vllm_prober::config::WebConfig::load(&file);
        assert_eq!(found.is_ok(), *good, "{name}: {found:?}");
    }
    // In place instead of in files.
    let inline = |name: &str| {
        let text = std::fs::read_to_string(directory.path().join(name)).unwrap();
        text.replace('\n', "\n    ")
    };
    let text = format!(
        "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n  client_ca: |\n    {}\n  client_auth_type: RequireAndVerifyClientCert\n",
        inline("server.crt"),
        inline("server.key"),
        inline("ca.crt")
    );
    let file = write(directory.path(), "web.yml", &text);
    vllm_prober::config::WebConfig::load(&file).unwrap();
}

#[test]
#[ignore = "needs promtool"]
fn promtool_judges_the_cases_alike() {
    let (directory, _, _) = place();
    for (name, text, good, alike) in CASES {
        let file = write(directory.path(), "web.yml", text);
        let output = Command::new("promtool")
            .args(["check", "web-config"])
            .arg(&file)
            .output()
            .unwrap();
        let agrees = output.status.success() == *good;
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(agrees, *alike, "{name}: {said}");
    }
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
