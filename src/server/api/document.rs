//! The interface described for programs, in the form of OpenAPI 3.1: put together from the routes and the types
//! themselves, so that it cannot say anything else than what is done.

use axum::Router;
use axum::http::header;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

/// What is said of all routes together.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "vllm-prober",
        description = "What is known of the probed vLLM deployments: how they are, what their runs came to, and what is \
                       judged of them. What is not known is `null`, never 0."
    ),
    // Seen from the document: wherever a proxy shows the daemon.
    servers((url = "../..")),
    tags(
        (name = "look", description = "What is known."),
        (name = "intervene", description = "What can be asked for; only with `--web.enable-lifecycle`.")
    )
)]
struct Everything;

/// The routes, and one more that describes them.
pub(super) fn described<S: Clone + Send + Sync + 'static>(routes: OpenApiRouter<S>) -> Router<S> {
    let root = OpenApiRouter::with_openapi(Everything::openapi());
    let (router, document) = root.nest("/api/v1", routes).split_for_parts();
    let text = document.to_pretty_json();
    // Strings, maps and numbers: nothing in it that JSON has not.
    let text = text.unwrap_or_default();
    let answer = async move || ([(header::CONTENT_TYPE, "application/json")], text.clone());
    router.route("/api/v1/openapi.json", get(answer))
}
