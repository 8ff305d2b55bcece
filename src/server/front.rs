//! What a request passes before it comes to a route: limits, the name and password, the prefix of a proxy.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::Service;
use url::Url;

use super::api::Problem;
use super::passwords::{Admission, Passwords};
use super::provenance::{Provenance, Reached};
use super::web::Web;

/// The most bytes of a request's body. What is said to the API takes a few hundred.
const BODY_BYTES: usize = 64 << 10;

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Connections at once, unless told otherwise: as Prometheus itself has it.
pub const MAX_CONNECTIONS: usize = 512;

/// How the endpoint is reached and protected.
#[derive(Debug)]
pub struct Front {
    web: ArcSwap<Web>,
    terms: ArcSwap<CancellationToken>,
    passwords: Passwords,
    prefix: String,
    home: String,
    /// The origin of `home`, if that is a whole address.
    external: Option<String>,
    open_health: bool,
    body_time: Duration,
    pub(super) max_connections: usize,
}

impl Default for Front {
    fn default() -> Self {
        Self {
            web: ArcSwap::default(),
            terms: ArcSwap::default(),
            passwords: Passwords::default(),
            prefix: String::new(),
            home: "/".to_owned(),
            external: None,
            open_health: false,
            body_time: BODY_TIME,
            max_connections: MAX_CONNECTIONS,
        }
    }
}

impl Front {
    /// Every path begins with `prefix`, which is empty or begins with a slash and ends with none. Whoever asks for
    /// `/` is sent to `home`. If that is a whole address, it is where browsers see this endpoint.
    #[must_use]
    pub fn at(mut self, prefix: &str, home: &str) -> Self {
        let external = Url::parse(home).ok();
        self.external = external.map(|url| url.origin().ascii_serialization());
        (self.prefix, self.home) = (prefix.to_owned(), home.to_owned());
        self
    }

    /// `/-/healthy` and `/-/ready` need no password.
    #[must_use]
    pub fn with_open_health(mut self, open: bool) -> Self {
        self.open_health = open;
        self
    }

    /// No more than so many connections at once.
    #[must_use]
    pub fn with_max_connections(mut self, max: usize) -> Self {
        self.max_connections = max;
        self
    }

    /// From now on it is protected like this. Connections that are open end after the answers that are under way:
    /// whoever was let in by another certificate, or by none, has to come again.
    pub fn protect(&self, web: Web) {
        self.web.store(Arc::new(web));
        self.terms.swap(Arc::default()).cancel();
    }

    /// Cancelled once it is protected otherwise. Whoever wants to know how it is protected until then asks for this
    /// first.
    pub(super) fn terms(&self) -> Arc<CancellationToken> {
        self.terms.load_full()
    }

    /// How it is protected at present.
    pub fn web(&self) -> Arc<Web> {
        self.web.load_full()
    }

    /// Answers one request from `address`, with `routes` if it is fit to.
    pub(super) async fn answer(
        &self,
        request: Request<Body>,
        address: IpAddr,
        routes: Router,
    ) -> Response {
        let web = self.web();
        let mut response = match self.pass(&web, request, address).await {
            Ok(request) => {
                let Ok(response) = routes.clone().call(request).await;
                response
            }
            Err(refusal) => refusal,
        };
        web.dress(response.headers_mut());
        response
    }

    /// The request as the routes take it, or the answer to one that does not come so far.
    async fn pass(
        &self,
        web: &Web,
        request: Request<Body>,
        address: IpAddr,
    ) -> Result<Request<Body>, Response> {
        let path = request.uri().path();
        let inner = path.strip_prefix(&self.prefix);
        let is_api = inner.is_some_and(|inner| inner.starts_with("/api/"));
        let refuse = |status, detail: &str| refusal(is_api, status, detail);
        if !web.has_room() {
            let answer = refuse(
                StatusCode::TOO_MANY_REQUESTS,
                "more requests than the rate limit allows",
            );
            return Err(with(answer, header::RETRY_AFTER, "1"));
        }
        let asks_for_health = [Method::GET, Method::HEAD].contains(request.method())
            && inner.is_some_and(|inner| ["/-/healthy", "/-/ready"].contains(&inner));
        let is_open = web.users.is_empty() || (self.open_health && asks_for_health);
        if !is_open {
            let authorization = request.headers().get(header::AUTHORIZATION);
            let admission = self.passwords.admit(&web.users, authorization, address);
            match admission.await {
                Admission::Granted => {}
                Admission::Denied => {
                    let challenge = "Basic realm=\"vllm-prober\", charset=\"UTF-8\"";
                    let answer = refuse(
                        StatusCode::UNAUTHORIZED,
                        "a name and a password are needed, and these are not right",
                    );
                    return Err(with(answer, header::WWW_AUTHENTICATE, challenge));
                }
                Admission::SlowDown => {
                    let answer = refuse(
                        StatusCode::TOO_MANY_REQUESTS,
                        "too many wrong passwords came from your address; wait a minute",
                    );
                    return Err(with(answer, header::RETRY_AFTER, "60"));
                }
                Admission::Busy => {
                    let answer = refuse(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "too many passwords are waiting to be checked; try again",
                    );
                    return Err(with(answer, header::RETRY_AFTER, "5"));
                }
            }
        }
        let provenance = self.provenance(web, &request);
        let request = self.below_the_prefix(request).map_err(|answer| *answer)?;
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(provenance);
        let body = match timeout(self.body_time, to_bytes(body, BODY_BYTES)).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => {
                return Err(refuse(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "the body is larger than 64 KiB, or was cut off",
                ));
            }
            Err(_) => {
                return Err(refuse(
                    StatusCode::REQUEST_TIMEOUT,
                    "the body took longer than 10 s to arrive",
                ));
            }
        };
        Ok(Request::from_parts(parts, body.into()))
    }

    /// Whose page it was sent from.
    fn provenance(&self, web: &Web, request: &Request<Body>) -> Provenance {
        let headers = request.headers();
        let named = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        // HTTP/2 has the host before the path.
        let host = request.uri().authority().map(Authority::as_str);
        let reached = Reached {
            host: host.or(named),
            external: self.external.as_deref(),
            tls: web.tls.is_some(),
        };
        Provenance::of(headers, reached)
    }

    /// The request with its path as the routes know it.
    fn below_the_prefix(&self, mut request: Request<Body>) -> Result<Request<Body>, Box<Response>> {
        if self.prefix.is_empty() {
            return Ok(request);
        }
        let uri = request.uri();
        let path = uri.path();
        let answer = match path.strip_prefix(&self.prefix) {
            // Links on the page are relative, and want the slash.
            Some("") => see(&format!("{}/", self.prefix)),
            Some(inner) if inner.starts_with('/') => {
                let query = uri
                    .query()
                    .map_or(String::new(), |query| format!("?{query}"));
                if let Ok(inner) = format!("{inner}{query}").parse() {
                    *request.uri_mut() = inner;
                    return Ok(request);
                }
                StatusCode::BAD_REQUEST.into_response()
            }
            _ if path == "/" => see(&self.home),
            _ => refusal(false, StatusCode::NOT_FOUND, "there is no such path"),
        };
        Err(Box::new(answer))
    }
}

fn see(place: &str) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, place)]).into_response()
}

/// What was wrong, for a program or for people.
fn refusal(is_api: bool, status: StatusCode, detail: impl Display) -> Response {
    if is_api {
        Problem::new(status, detail.to_string()).into_response()
    } else {
        (status, format!("{detail}\n")).into_response()
    }
}

fn with(mut response: Response, name: HeaderName, value: &'static str) -> Response {
    let value = HeaderValue::from_static(value);
    response.headers_mut().insert(name, value);
    response
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;
    use axum::routing::{get, post};

    use super::*;

    fn routes() -> Router {
        Router::new()
            .route("/", get(|| async { "home" }))
            .route("/-/healthy", get(|| async { "healthy" }))
            .route("/echo", post(|body: String| async { body }))
            .route("/metrics", get(|uri: Uri| async move { uri.to_string() }))
    }

    async fn ask(front: &Front, method: Method, path: &str, body: Body) -> (u16, String, Response) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(body)
            .unwrap();
        let answer = front.answer(request, [127, 0, 0, 1].into(), routes()).await;
        let (parts, body) = answer.into_parts();
        let text = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(text.to_vec()).unwrap();
        let status = parts.status.as_u16();
        (status, text, Response::from_parts(parts, Body::empty()))
    }

    fn location(response: &Response) -> &str {
        let location = response.headers().get(header::LOCATION);
        location.map_or("", |location| location.to_str().unwrap())
    }

    #[tokio::test]
    async fn everything_lies_below_the_prefix() {
        let front = Front::default().at("/prober", "https://example.com/prober/");
        for (path, status, says, sent_to) in [
            ("/prober/", 200, "home", ""),
            ("/prober", 302, "", "/prober/"),
            ("/prober/metrics?a=b%20c", 200, "/metrics?a=b%20c", ""),
            ("/", 302, "", "https://example.com/prober/"),
            ("/metrics", 404, "there is no such path\n", ""),
            ("/probers/metrics", 404, "there is no such path\n", ""),
            ("/prober//evil.example", 404, "", ""),
        ] {
            let (found, text, response) = ask(&front, Method::GET, path, Body::empty()).await;
            assert_eq!((found, text.as_str()), (status, says), "{path}");
            assert_eq!(location(&response), sent_to, "{path}");
        }
    }

    #[tokio::test]
    async fn health_is_open_only_by_choice_and_only_to_be_looked_at() {
        let users = [("alice".to_owned(), "no hash".to_owned())];
        for open in [false, true] {
            let front = Front::default().with_open_health(open);
            front.protect(Web {
                users: users.iter().cloned().collect(),
                ..Web::default()
            });
            for (method, path, is_open) in [
                (Method::GET, "/-/healthy", open),
                (Method::HEAD, "/-/healthy", open),
                (Method::POST, "/-/healthy", false),
                (Method::GET, "/-/healthy/", false),
                (Method::GET, "//-/healthy", false),
                (Method::GET, "/metrics", false),
                (Method::GET, "/nowhere", false),
            ] {
                let (status, _, response) = ask(&front, method.clone(), path, Body::empty()).await;
                assert_eq!(status == 401, !is_open, "{method} {path}: {status}");
                let challenged = response.headers().contains_key(header::WWW_AUTHENTICATE);
                assert_eq!(challenged, !is_open, "{method} {path}");
            }
        }
    }

    #[tokio::test]
    async fn a_body_is_bounded_in_size_and_in_time() {
        let mut front = Front::default();
        let exact = "x".repeat(BODY_BYTES);
        let (status, text, _) = ask(&front, Method::POST, "/echo", exact.clone().into()).await;
        assert_eq!((status, text.len()), (200, BODY_BYTES));
        let (status, _, _) = ask(&front, Method::POST, "/echo", (exact + "x").into()).await;
        assert_eq!(status, 413);
        front.body_time = Duration::from_millis(50);
        let never = futures_util::stream::pending::<Result<&str, std::io::Error>>();
        let (status, _, _) = ask(&front, Method::POST, "/echo", Body::from_stream(never)).await;
        assert_eq!(status, 408);
    }

    #[tokio::test]
    async fn every_answer_is_dressed_and_the_dress_can_be_changed() {
        let front = Front::default();
        let values = |response: &Response| {
            [
                "content-security-policy",
                "x-content-type-options",
                "x-frame-options",
                "referrer-policy",
            ]
            .map(|name| {
                response
                    .headers()
                    .get(name)
                    .map(|value| value.to_str().unwrap().to_owned())
            })
        };
        for path in ["/", "/nowhere"] {
            let (_, _, response) = ask(&front, Method::GET, path, Body::empty()).await;
            let [policy, sniff, frame, referrer] = values(&response).map(Option::unwrap_or_default);
            assert!(
                policy.contains("frame-ancestors 'none'")
                    && policy.starts_with("default-src 'none'"),
                "{policy}"
            );
            assert_eq!(
                (sniff.as_str(), frame.as_str(), referrer.as_str()),
                ("nosniff", "deny", "no-referrer")
            );
        }
        front.protect(Web {
            headers: vec![
                (header::X_FRAME_OPTIONS, Some("sameorigin".parse().unwrap())),
                (header::CONTENT_SECURITY_POLICY, None),
            ],
            ..Web::default()
        });
        let (_, _, response) = ask(&front, Method::GET, "/", Body::empty()).await;
        let [policy, _, frame, _] = values(&response);
        assert_eq!((policy, frame.as_deref()), (None, Some("sameorigin")));
    }

    #[tokio::test]
    async fn more_than_the_rate_limit_is_refused() {
        let front = Front::default();
        front.protect(Web {
            rate_limit: Some(super::super::web::RateLimit::new(
                2,
                Duration::from_secs(3600),
            )),
            ..Web::default()
        });
        for status in [200, 200, 429] {
            assert_eq!(ask(&front, Method::GET, "/", Body::empty()).await.0, status);
        }
    }
}
