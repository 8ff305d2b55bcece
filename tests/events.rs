//! Listeners of the pages' events: each hears of a change, too many are turned away, none is in the way of a scrape
//! or of a shutdown.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use vllm_prober::board::Board;
use vllm_prober::server::{Served, serve};

#[path = "common/fleet.rs"]
mod fleet;

const PATIENCE: Duration = Duration::from_secs(30);

#[expect(clippy::disallowed_methods, reason = "what is shown is as of now")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// A server of a fleet, and what changes it.
struct Server {
    board: Arc<Board>,
    url: String,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let board = Arc::new(Board::new(fleet::long_lived(1_000, now())));
        let served = Served::new(Arc::clone(&board), Arc::default(), String::new(), now());
        let stop = CancellationToken::new();
        let serving = serve(
            vec![listener],
            Arc::new(served),
            Arc::default(),
            stop.clone(),
        );
        Self {
            board,
            url,
            stop,
            serving: tokio::spawn(serving),
        }
    }

    async fn ask(&self, client: &reqwest::Client, path: &str) -> reqwest::Response {
        let request = client.get(format!("{}{path}", self.url));
        let request = request.header("accept-encoding", "gzip");
        timeout(PATIENCE, request.send()).await.unwrap().unwrap()
    }
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// The next event; heartbeats are none.
async fn event(answer: &mut reqwest::Response) -> String {
    let reading = async {
        loop {
            let bytes = answer.chunk().await.unwrap().expect("it goes on");
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            if text.contains("event:") {
                return text;
            }
        }
    };
    timeout(PATIENCE, reading).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_listeners_are_in_nobodys_way() {
    let server = Server::start().await;
    let client = client();
    let scrape = async || {
        let began = Instant::now();
        let text = server.ask(&client, "/metrics").await.bytes().await.unwrap();
        assert!(text.len() > 1_000);
        began.elapsed()
    };
    // The first one warms it up.
    scrape().await;
    let alone = scrape().await;
    let answers = join_all((0..200).map(|_| server.ask(&client, "/events"))).await;
    let (mut heard, refused): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|answer| answer.status() == 200);
    assert_eq!((heard.len(), refused.len()), (64, 136));
    for answer in &refused {
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "60");
    }
    for answer in &mut heard {
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["x-accel-buffering"], "no");
        let is_whole = !answer.headers().contains_key("content-encoding");
        assert!(is_whole, "what is compressed is held back");
        assert!(event(answer).await.contains("data: 0\n"));
    }

    let took = scrape().await;
    println!("a scrape beside 64 listeners took {took:?}, {alone:?} without them");
    assert!(took < 3 * alone + Duration::from_millis(500), "{took:?}");

    for path in ["/", "/?q=qwen", "/deployments/qwen3-32b-bf16-0"] {
        let began = Instant::now();
        let page = server.ask(&client, path).await;
        assert_eq!(page.status(), 200);
        let page = page.bytes().await.unwrap();
        let took = began.elapsed();
        println!(
            "{path} beside 64 listeners took {took:?}, {} bytes",
            page.len()
        );
        assert!(took < Duration::from_secs(1), "{took:?}");
    }

    let began = Instant::now();
    server.board.update(0, |probe| probe.in_progress = true);
    for answer in &mut heard {
        assert!(event(answer).await.contains("data: 1\n"));
    }
    let took = began.elapsed();
    println!("64 listeners had heard of a change after {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");

    let began = Instant::now();
    server.stop.cancel();
    timeout(PATIENCE, server.serving)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "a shutdown took {took:?}");
    for answer in &mut heard {
        while let Some(rest) = answer.chunk().await.unwrap() {
            assert!(!rest.is_empty());
        }
    }
}

#[tokio::test]
async fn a_place_is_free_again_when_its_listener_has_gone() {
    let server = Server::start().await;
    let client = client();
    let heard = join_all((0..64).map(|_| server.ask(&client, "/events"))).await;
    assert_eq!(server.ask(&client, "/events").await.status(), 503);
    drop(heard);
    let deadline = Instant::now() + PATIENCE;
    while server.ask(&client, "/events").await.status() == 503 {
        assert!(Instant::now() < deadline, "no place became free");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop.cancel();
}
