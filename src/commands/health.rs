//! `health`: asks a running daemon whether it is ready, for places where there is nothing else to ask with.
//!
//! An image without a shell has no curl. A plain request is written by hand: it goes to a daemon beside this
//! process, and must work where there are neither certificates nor a resolver.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::{Host, Url};

use super::api::{AccessArgs, send, tls_fault};

/// More of an answer is not read.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// What the `health` command is told.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  vllm-prober health --url http://127.0.0.1:10016/-/healthy\n\nExit status: 0 if the answer is HTTP 200; 1 if it is another, or there is none."
)]
pub struct HealthArgs {
    /// What to ask
    #[arg(long, default_value = "http://127.0.0.1:10016/-/ready", value_parser = web_address)]
    url: Url,
    #[command(flatten)]
    access: AccessArgs,
    /// How many seconds the answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
}

fn web_address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match (url.scheme(), url.host()) {
        ("http" | "https", Some(_)) => Ok(url),
        _ => Err("it does not begin with http:// or https:// and a host".to_owned()),
    }
}

/// Prints what the daemon says.
pub async fn run(args: HealthArgs) -> ExitCode {
    let patience = Duration::from_secs(args.timeout);
    let answer = match timeout(patience, answer(&args, patience)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", args.timeout)),
    };
    match answer {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("vllm-prober health: {}: {why}", args.url);
            ExitCode::FAILURE
        }
    }
}

/// The body of an answer of HTTP 200, or else why there is none.
async fn answer(args: &HealthArgs, patience: Duration) -> Result<String, String> {
    if args.url.scheme() == "http" && !args.access.has_password() {
        return ask(&args.url).await;
    }
    let request = args
        .access
        .request(Method::GET, args.url.clone(), patience)?;
    let told = |error: reqwest::Error| {
        tls_fault(&error).unwrap_or_else(|| error.without_url().to_string())
    };
    let response = send(request).await.map_err(told)?;
    let status = response.status();
    let body = response.text().await.map_err(told)?;
    if status == StatusCode::OK {
        Ok(body.trim_end().to_owned())
    } else {
        Err(format!("HTTP {}: {}", status.as_u16(), body.trim_end()))
    }
}

async fn ask(url: &Url) -> Result<String, String> {
    let port = url.port_or_known_default().unwrap_or(80);
    let stream = match url.host() {
        Some(Host::Ipv4(address)) => TcpStream::connect((address, port)).await,
        Some(Host::Ipv6(address)) => TcpStream::connect((address, port)).await,
        Some(Host::Domain(name)) => TcpStream::connect((name, port)).await,
        None => return Err("it has no host".to_owned()),
    };
    let mut stream = stream.map_err(|error| error.to_string())?;
    // HTTP/1.0: the answer ends with the connection, and comes in one piece.
    let request = format!(
        "GET {} HTTP/1.0\r\nHost: {}\r\n\r\n",
        &url[url::Position::BeforePath..url::Position::AfterQuery],
        &url[url::Position::BeforeHost..url::Position::AfterPort],
    );
    let mut answer = Vec::new();
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        let mut stream = stream.take(MAX_ANSWER_BYTES);
        stream.read_to_end(&mut answer).await
    };
    exchange.await.map_err(|error| error.to_string())?;
    judge(&String::from_utf8_lossy(&answer))
}

fn judge(answer: &str) -> Result<String, String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.lines().next().unwrap_or_default();
    let mut words = status.split_whitespace();
    match (words.next(), words.next()) {
        (Some(protocol), Some("200")) if protocol.starts_with("HTTP/") => {
            Ok(body.trim_end().to_owned())
        }
        (Some(protocol), Some(code)) if protocol.starts_with("HTTP/") => {
            Err(format!("HTTP {code}: {}", body.trim_end()))
        }
        _ => Err("the answer is not HTTP".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_200_is_good() {
        assert_eq!(
            judge("HTTP/1.1 200 OK\r\na: b\r\n\r\nready.\n"),
            Ok("ready.".to_owned())
        );
        for (answer, why) in [
            (
                "HTTP/1.1 503 Service Unavailable\r\n\r\nnot ready\n",
                "HTTP 503: not ready",
            ),
            ("HTTP/1.1 404 Not Found\r\n\r\n", "HTTP 404"),
            ("SSH-2.0-OpenSSH 200\r\n", "not HTTP"),
            ("", "not HTTP"),
        ] {
            let found = judge(answer).unwrap_err();
            assert!(found.contains(why), "{answer:?}: {found}");
        }
    }

    #[test]
    fn only_the_web_is_asked() {
        for text in ["http://127.0.0.1:1/-/ready", "https://[::1]:1/"] {
            assert!(web_address(text).is_ok(), "{text}");
        }
        for text in ["ftp://localhost/-/ready", "localhost:10016", "/-/ready"] {
            assert!(web_address(text).is_err(), "{text}");
        }
    }
}
