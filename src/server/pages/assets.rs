//! What the pages load: a style, scripts and a picture, each under a name that holds its content's hash, so that a
//! browser may keep it for good and never shows a page with the style of another version.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

/// Characters of the hash within a name.
const HASH: usize = 12;

/// The style of every page.
pub(super) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("page", "css", "text/css", include_str!("assets/page.css")));

/// What keeps a page up to date, where scripts run.
pub(super) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "page",
        "js",
        "text/javascript",
        include_str!("assets/page.js"),
    )
});

/// What tells instants in the reader's zone, where scripts run.
pub(super) static TIMES: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "times",
        "js",
        "text/javascript",
        include_str!("assets/times.js"),
    )
});

/// What reads charts off, where scripts run.
pub(super) static CHARTS: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "charts",
        "js",
        "text/javascript",
        include_str!("assets/charts.js"),
    )
});

/// What makes a PNG of a chart, where scripts run.
pub(super) static PICTURES: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "pictures",
        "js",
        "text/javascript",
        include_str!("assets/pictures.js"),
    )
});

/// What a browser shows beside a title.
pub(super) static ICON: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "icon",
        "svg",
        "image/svg+xml",
        include_str!("assets/icon.svg"),
    )
});

/// A file that comes with the program.
#[derive(Debug)]
pub(super) struct Asset {
    name: String,
    etag: String,
    kind: &'static str,
    text: &'static str,
}

impl Asset {
    fn new(stem: &str, extension: &str, kind: &'static str, text: &'static str) -> Self {
        let digest = Sha256::digest(text);
        let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let hash = &hash[..HASH];
        Self {
            name: format!("{stem}-{hash}.{extension}"),
            etag: format!("\"{hash}\""),
            kind,
            text,
        }
    }

    /// Where it is, below the root of all paths.
    pub(super) fn path(&self) -> String {
        format!("assets/{}", self.name)
    }
}

/// Answers with the asset of that name.
pub(super) async fn answer(Path(name): Path<String>, asked: HeaderMap) -> Response {
    let all = [&*STYLE, &*SCRIPT, &*TIMES, &*CHARTS, &*PICTURES, &*ICON];
    let Some(asset) = all.into_iter().find(|asset| asset.name == name) else {
        return (
            StatusCode::NOT_FOUND,
            "there is no such asset; load the page again, it may be of another version\n",
        )
            .into_response();
    };
    let known = asked.get(header::IF_NONE_MATCH);
    let is_known = known
        .and_then(|known| known.to_str().ok())
        .is_some_and(|known| known.contains(&asset.etag));
    let headers = [
        (header::ETAG, asset.etag.as_str()),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::CONTENT_TYPE, asset.kind),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    if is_known {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, asset.text).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked_for(name: &str, known: Option<&str>) -> Response {
        let mut headers = HeaderMap::new();
        if let Some(known) = known {
            headers.insert(header::IF_NONE_MATCH, known.parse().unwrap());
        }
        answer(Path(name.to_owned()), headers).await
    }

    #[tokio::test]
    async fn an_asset_is_kept_under_the_name_of_its_content() {
        let found = asked_for(&STYLE.name, None).await;
        assert_eq!(found.status(), StatusCode::OK);
        assert_eq!(found.headers()[header::CONTENT_TYPE], "text/css");
        let cache = found.headers()[header::CACHE_CONTROL].to_str().unwrap();
        assert!(cache.contains("immutable"), "{cache}");
        let etag = found.headers()[header::ETAG].to_str().unwrap().to_owned();
        assert!(STYLE.name.contains(etag.trim_matches('"')), "{etag}");

        let again = asked_for(&STYLE.name, Some(&etag)).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        let other = asked_for(&STYLE.name, Some("\"000000000000\"")).await;
        assert_eq!(other.status(), StatusCode::OK);
        let missing = asked_for("page-000000000000.css", None).await;
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    }
}
