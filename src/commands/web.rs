//! Where the daemon listens, under which address others reach it, and who is let in: the `--web.…` options.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;
use listenfd::ListenFd;
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tracing::{info, warn};
use url::Url;

use crate::board::USUAL_LOGS;
use crate::config::Mistakes;
use crate::daemon::WebFile;
use crate::server::{Front, MAX_CONNECTIONS, ProbeSettings};

/// What the `serve` command is told of its endpoint.
#[derive(Args, Debug)]
pub(super) struct WebArgs {
    /// Where to listen, as host:port or :port; may be given several times
    #[arg(
        long = "web.listen-address",
        default_value = ":10016",
        value_name = "ADDRESS"
    )]
    listen_addresses: Vec<String>,
    /// Listen on the sockets that systemd hands over, and on no others
    #[arg(long = "web.systemd-socket")]
    systemd_socket: bool,
    /// TLS, client certificates and passwords, in the format of Prometheus' exporters; re-read when it changes
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_config_file: Option<PathBuf>,
    /// The URL that others reach it under, if there is a reverse proxy before it
    #[arg(long = "web.external-url", value_name = "URL", value_parser = external_url)]
    external_url: Option<Url>,
    /// What every path begins with; the path of the external URL unless given
    #[arg(long = "web.route-prefix", value_name = "PATH", value_parser = prefix)]
    route_prefix: Option<String>,
    /// Answer /-/healthy and /-/ready without a password
    #[arg(long = "web.open-health")]
    open_health: bool,
    /// The most connections at once; for one more, the one closes that has waited longest
    #[arg(
        long = "web.max-connections",
        default_value_t = MAX_CONNECTIONS,
        value_name = "NUMBER",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=65_535)
    )]
    max_connections: usize,
    /// How many logs of the last runs are kept in memory, and how many of troubled runs before them
    #[arg(
        long = "web.run-log-limit",
        default_value_t = USUAL_LOGS,
        value_name = "NUMBER",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(0..=100_000)
    )]
    pub(super) run_log_limit: usize,
    /// The most probes by /probe at once, those that wait for their lane included
    #[arg(
        long = "web.max-probes",
        default_value_t = ProbeSettings::default().at_once,
        value_name = "NUMBER",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000)
    )]
    max_probes: usize,
    /// How much of the scrape timeout /probe leaves for the way of its answer
    #[arg(
        long = "web.probe-timeout-offset",
        default_value = "500ms",
        value_name = "DURATION",
        value_parser = duration
    )]
    probe_timeout_offset: Duration,
    /// Allow runs to be acknowledged and baselines to be pinned over HTTP
    #[arg(long = "web.enable-lifecycle")]
    pub(super) enable_lifecycle: bool,
}

fn external_url(text: &str) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|error| format!("{error}; write it as https://host/path/"))?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err("it does not begin with http:// or https:// and a host".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it has a `?` or a `#`; write it up to the path only".to_owned());
    }
    if url.path().contains("//") {
        return Err("its path has `//` in it, which would lead to another host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it has a name or a password in it; leave them out".to_owned());
    }
    Ok(url)
}

/// A path with a slash before it and none behind; `/` is empty.
fn prefix(text: &str) -> Result<String, String> {
    let path = text.trim_matches('/');
    let fit = |c: char| c.is_ascii_alphanumeric() || "/-._~%".contains(c);
    if !path.chars().all(fit) || path.contains("//") || path.split('/').any(|part| part == "..") {
        return Err("write a path as in /prober".to_owned());
    }
    Ok(if path.is_empty() {
        String::new()
    } else {
        format!("/{path}")
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    let span = text.parse::<SignedDuration>().ok();
    span.and_then(|span| Duration::try_from(span).ok())
        .ok_or_else(|| "write a duration as 500ms or 1s".to_owned())
}

impl WebArgs {
    /// How `/probe` is to be answered.
    pub(super) fn probes(&self) -> ProbeSettings {
        ProbeSettings {
            at_once: self.max_probes,
            offset: self.probe_timeout_offset,
        }
    }

    /// Listens wherever it is told to.
    pub(super) async fn listeners(&self) -> Result<Vec<TcpListener>, String> {
        let mut listeners = Vec::new();
        if self.systemd_socket {
            listeners = handed_over().map_err(|error| format!("--web.systemd-socket: {error}"))?;
        } else {
            for address in &self.listen_addresses {
                let listener = listen(address)
                    .await
                    .map_err(|error| format!("--web.listen-address {address}: {error}"))?;
                listeners.push(listener);
            }
        }
        Ok(listeners)
    }

    /// The endpoint as it is asked for.
    pub(super) fn front(&self) -> Arc<Front> {
        let external_path = self.external_url.as_ref().map(|url| url.path());
        let prefix = match (&self.route_prefix, external_path) {
            (Some(prefix), _) => prefix.clone(),
            (None, Some(path)) => path.trim_end_matches('/').to_owned(),
            (None, None) => String::new(),
        };
        let home = self.external_url.as_ref().map_or_else(
            || format!("{prefix}/"),
            |url| format!("{}/", url.as_str().trim_end_matches('/')),
        );
        let front = Front::default()
            .at(&prefix, &home)
            .with_open_health(self.open_health)
            .with_max_connections(self.max_connections);
        Arc::new(front)
    }

    /// The file that protects `front` from now on, if there is one.
    pub(super) fn protection(&self, front: &Arc<Front>) -> Result<Option<WebFile>, Mistakes> {
        let file = self.web_config_file.clone();
        file.map(|file| WebFile::open(file, Arc::clone(front)))
            .transpose()
    }

    /// Says where it listens, and how.
    pub(super) fn announce(&self, listeners: &[TcpListener], front: &Front) {
        let web = front.web();
        for address in listeners.iter().filter_map(|of| of.local_addr().ok()) {
            info!(%address, tls = web.tls.is_some(), basic_auth = !web.users.is_empty(), "listening");
        }
        if web.tls.is_none() && !web.users.is_empty() {
            warn!(
                "passwords are asked for without TLS, so whoever listens on the way can read them"
            );
        }
    }
}

/// The sockets that systemd has opened.
fn handed_over() -> Result<Vec<TcpListener>, String> {
    let mut sockets = ListenFd::from_env();
    let mut listeners = Vec::new();
    for at in 0..sockets.len() {
        let listener = sockets.take_tcp_listener(at).map_err(|error| {
            format!("socket {at}: {error}; write `ListenStream=` with a port or an address in the socket unit")
        })?;
        let Some(listener) = listener else { continue };
        listener
            .set_nonblocking(true)
            .and_then(|()| TcpListener::from_std(listener))
            .map(|listener| listeners.push(listener))
            .map_err(|error| format!("socket {at}: {error}"))?;
    }
    if listeners.is_empty() {
        return Err(
            "no socket was handed over; start the socket unit, or use --web.listen-address"
                .to_owned(),
        );
    }
    Ok(listeners)
}

/// Connections that the system keeps until they are accepted; it may keep fewer. A burst that does not fit waits a
/// second until it is tried again, and a scrape among it does, too.
const BACKLOG: u32 = 4096;

/// Listens on `host:port`, or with `:port` on every address of the machine.
async fn listen(address: &str) -> io::Result<TcpListener> {
    let Some(port) = address.strip_prefix(':') else {
        let mut refused = io::Error::other("the host has no address");
        for address in lookup_host(address).await? {
            match open(address) {
                Ok(listener) => return Ok(listener),
                Err(error) => refused = error,
            }
        }
        return Err(refused);
    };
    let port: u16 = port
        .parse()
        .map_err(|_| io::Error::other("the port is not a number from 0 to 65535"))?;
    match open((Ipv6Addr::UNSPECIFIED, port).into()) {
        // A machine without IPv6.
        Err(error)
            if error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(97) =>
        {
            open((Ipv4Addr::UNSPECIFIED, port).into())
        }
        listener => listener,
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A daemon that is started anew takes over the port of the one before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        web: WebArgs,
    }

    #[test]
    fn an_external_url_is_one_that_links_can_begin_with() {
        for good in ["http://host", "https://host:8443/prober/"] {
            assert!(external_url(good).is_ok(), "{good}");
        }
        for (bad, says) in [
            ("/prober", "https://host/path/"),
            ("ftp://host/", "http://"),
            ("http://host/?a=b", "`?`"),
            ("http://me:pw@host/", "password"),
            ("http://host//evil", "`//`"),
        ] {
            let told = external_url(bad).unwrap_err();
            assert!(told.contains(says) && !told.contains("pw"), "{bad}: {told}");
        }
    }

    #[test]
    fn a_prefix_is_a_plain_path() {
        for (text, path) in [
            ("/", ""),
            ("", ""),
            ("prober", "/prober"),
            ("/a/b/", "/a/b"),
        ] {
            assert_eq!(prefix(text).unwrap(), path, "{text}");
        }
        for bad in ["/a b", "/a?b", "/a/../b", "/a//b", "/{x}"] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_prefix_is_that_of_the_external_url_unless_it_is_given() {
        for (arguments, prefix, home) in [
            (&[][..], "\"\"", "\"/\""),
            (
                &["--web.external-url=http://h/p/"],
                "\"/p\"",
                "\"http://h/p/\"",
            ),
            (
                &["--web.external-url=http://h/p", "--web.route-prefix=/"],
                "\"\"",
                "\"http://h/p/\"",
            ),
            (&["--web.route-prefix=/q"], "\"/q\"", "\"/q/\""),
        ] {
            let line = Line::parse_from([&["x"], arguments].concat());
            let front = format!("{:?}", line.web.front());
            let expected = format!("prefix: {prefix}, home: {home}");
            assert!(front.contains(&expected), "{front}");
        }
    }
}
