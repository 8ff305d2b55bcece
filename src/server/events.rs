//! Tells the pages that something has changed, as server-sent events, so that they ask anew when there is something
//! new and need not ask all the time.
//!
//! What has changed is not told: a page is rendered in one place, and whoever shows it asks for it again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, StatusCode, header};
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Response, Sse};
use futures_util::stream::{Stream, unfold};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Listeners at once. Only a page that is being looked at listens.
const MOST_LISTENERS: usize = 64;

/// Of so many connections one may listen: a listener never makes room for another connection.
const SHARE: usize = 4;

/// How often a listener hears something.
#[derive(Clone, Copy, Debug)]
struct Rhythm {
    /// Between two events at least.
    pace: Duration,
    /// Between two signs of life: less than a proxy waits for an answer to go on.
    heartbeat: Duration,
}

const RHYTHM: Rhythm = Rhythm {
    pace: Duration::from_secs(1),
    heartbeat: Duration::from_secs(15),
};

/// When a listener whose stream has ended comes again.
const RETRY: Duration = Duration::from_secs(3);

/// Tells the proxies that would hold back an answer until it is whole to let it through.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// Who listens.
#[derive(Clone, Debug)]
pub(super) struct Listening {
    places: Arc<Semaphore>,
    rhythm: Rhythm,
    stop: CancellationToken,
}

impl Listening {
    /// Has room for listeners on a part of so many `connections`, and sends them away at `stop`.
    pub(super) fn new(connections: usize, stop: CancellationToken) -> Self {
        let places = (connections / SHARE).clamp(1, MOST_LISTENERS);
        Self {
            places: Arc::new(Semaphore::new(places)),
            rhythm: RHYTHM,
            stop,
        }
    }

    /// Answers one who wants to hear of each change of `version`, or says that there is no room.
    pub(super) fn answer(&self, version: watch::Receiver<u64>) -> Response {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let told =
                "as many listen as may; ask for what you want to know now and then instead\n";
            let headers = [(header::RETRY_AFTER, "60")];
            return (StatusCode::SERVICE_UNAVAILABLE, headers, told).into_response();
        };
        let events = Sse::new(events(version, place, self.rhythm.pace, self.stop.clone()))
            .keep_alive(KeepAlive::new().interval(self.rhythm.heartbeat));
        ([UNBUFFERED], events).into_response()
    }
}

/// An event at once, since something may have changed after the page was rendered; then one after each change, or
/// after several of them that came within the pace.
fn events(
    mut version: watch::Receiver<u64>,
    place: OwnedSemaphorePermit,
    pace: Duration,
    stop: CancellationToken,
) -> impl Stream<Item = Result<Event, Infallible>> {
    version.mark_changed();
    let not_before = Instant::now();
    unfold(
        (version, place, stop, not_before),
        move |(mut version, place, stop, not_before)| async move {
            let news = async {
                version.changed().await.ok()?;
                sleep_until(not_before).await;
                Some(*version.borrow_and_update())
            };
            let number = tokio::select! {
                () = stop.cancelled() => None,
                number = news => number,
            }?;
            let event = Event::default()
                .event("changed")
                .retry(RETRY)
                .data(number.to_string());
            let not_before = Instant::now() + pace;
            Some((Ok(event), (version, place, stop, not_before)))
        },
    )
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, BodyDataStream};
    use futures_util::StreamExt;
    use tokio::time::timeout;

    use super::*;

    fn body(response: Response) -> BodyDataStream {
        assert_eq!(response.status(), StatusCode::OK);
        Body::into_data_stream(response.into_body())
    }

    async fn next(stream: &mut BodyDataStream) -> String {
        let bytes = timeout(Duration::from_secs(60), stream.next()).await;
        String::from_utf8(bytes.unwrap().unwrap().unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn changes_are_told_at_a_pace_and_the_last_of_them_for_sure() {
        let (versions, version) = watch::channel(7);
        let rhythm = Rhythm {
            pace: Duration::from_millis(300),
            heartbeat: Duration::from_millis(700),
        };
        let listening = Listening {
            rhythm,
            ..Listening::new(512, CancellationToken::new())
        };
        let mut stream = body(listening.answer(version));
        let began = Instant::now();
        assert!(next(&mut stream).await.contains("data: 7\n"));
        for number in 8..12 {
            versions.send_replace(number);
        }
        let told = next(&mut stream).await;
        assert!(told.contains("event: changed\n") && told.contains("data: 11\n"));
        assert!(began.elapsed() >= rhythm.pace, "{:?}", began.elapsed());
        assert_eq!(next(&mut stream).await, ":\n\n", "a heartbeat");
        assert!(began.elapsed() >= rhythm.heartbeat, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn it_ends_with_the_server() {
        let (_versions, version) = watch::channel(0);
        let stop = CancellationToken::new();
        let mut stream = body(Listening::new(512, stop.clone()).answer(version));
        next(&mut stream).await;
        stop.cancel();
        let end = timeout(Duration::from_secs(60), stream.next()).await;
        assert!(end.unwrap().is_none());
    }

    #[tokio::test]
    async fn who_finds_no_room_is_told_so_until_another_leaves() {
        for (connections, places) in [(512, 64), (100, 25), (4, 1), (1, 1)] {
            let (_versions, version) = watch::channel(0);
            let listening = Listening::new(connections, CancellationToken::new());
            let mut heard: Vec<_> = (0..places)
                .map(|_| body(listening.answer(version.clone())))
                .collect();
            let refused = listening.answer(version.clone());
            assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(refused.headers()[header::RETRY_AFTER], "60");
            heard.pop();
            let _ = body(listening.answer(version));
        }
    }
}
