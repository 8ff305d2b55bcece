//! What is answered where there is nothing: to a person the way back, to a program a line.

use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::html;

use super::frame;
use super::{Page, now};

/// Answers for a path that leads nowhere.
pub(in crate::server) async fn lost(uri: Uri, headers: HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT);
    let accepted = accepted.and_then(|accepted| accepted.to_str().ok());
    if !accepted.is_some_and(|accepted| accepted.contains("text/html")) {
        return (StatusCode::NOT_FOUND, "there is no such path\n").into_response();
    }
    let page = Page {
        status: StatusCode::NOT_FOUND,
        html: page(uri.path(), now()),
    };
    page.into_response()
}

/// Renders that nothing is at `path`.
fn page(path: &str, now: Timestamp) -> String {
    // As deep as the path is, so far is the way back.
    let root = "../".repeat(path.matches('/').count().saturating_sub(1));
    let fleet = if root.is_empty() { "./" } else { &root };
    let main = html! {
        h1 { "No such page" }
        p.empty { "There is nothing at " b { (path) } ". " a href=(fleet) { "Show the fleet" } }
    };
    frame::page("No such page · vllm-prober", &root, None, &main, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(path: &str, accepted: Option<&str>) -> (Response, String) {
        let mut headers = HeaderMap::new();
        if let Some(accepted) = accepted {
            headers.insert(header::ACCEPT, accepted.parse().unwrap());
        }
        let mut answer = lost(path.parse().unwrap(), headers).await;
        let body = std::mem::take(answer.body_mut());
        let body = axum::body::to_bytes(body, 100_000).await.unwrap();
        (answer, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_person_is_led_back_from_however_deep_a_path() {
        for (path, fleet) in [
            ("/nothing", "./"),
            ("/deployments/", "../"),
            ("/a/b/c", "../../"),
        ] {
            let (answer, body) = answer(path, Some("text/html,*/*;q=0.8")).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND);
            assert!(
                answer
                    .headers()
                    .contains_key(header::CONTENT_SECURITY_POLICY)
            );
            let back = format!("<a href=\"{fleet}\">Show the fleet</a>");
            assert!(body.contains(&back), "{body}");
        }
        let body = page("/<script>", Timestamp::UNIX_EPOCH);
        assert!(!body.contains("<script>"), "{body}");
    }

    #[tokio::test]
    async fn a_program_gets_a_line() {
        for accepted in [None, Some("*/*"), Some("application/json")] {
            let (answer, body) = answer("/nothing", accepted).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND);
            assert_eq!(body, "there is no such path\n");
        }
    }
}
