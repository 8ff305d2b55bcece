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

#[path = "../common/authority.rs"]
mod authority;
#[path = "../common/http.rs"]
mod http;
#[path = "../common/program.rs"]
mod program;
#[path = "../common/prometheus.rs"]
mod prometheus;

mod access;
mod buttons;
mod floods;
mod http2;
mod real;
mod told;
mod toolkit;

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
