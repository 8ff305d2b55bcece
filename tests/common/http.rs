//! A plain HTTP client for tests: status and body, nothing else.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::time::Duration;

use serde_json::Value;

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build()
        .expect("an HTTP client")
}

/// GETs `url`; an answer with any status is an answer.
pub(crate) async fn get(url: &str) -> Result<(u16, String), reqwest::Error> {
    let response = client().get(url).send().await?;
    let status = response.status().as_u16();
    Ok((status, response.text().await?))
}

/// POSTs nothing to `url`.
pub(crate) async fn post(url: &str) -> Result<(u16, String), reqwest::Error> {
    let response = client().post(url).send().await?;
    let status = response.status().as_u16();
    Ok((status, response.text().await?))
}

/// POSTs JSON to `url`.
pub(crate) async fn post_json(url: &str, body: &Value) -> Result<(u16, String), reqwest::Error> {
    let request = client()
        .post(url)
        .header("content-type", "application/json");
    let response = request.body(body.to_string()).send().await?;
    let status = response.status().as_u16();
    Ok((status, response.text().await?))
}

/// Asks the Prometheus at `base_url` for the current value of `query`: labels and value of each series.
pub(crate) async fn query(base_url: &str, query: &str) -> Vec<(Value, f64)> {
    let mut url: reqwest::Url = format!("{base_url}/api/v1/query").parse().expect("a URL");
    url.query_pairs_mut().append_pair("query", query);
    let answer = match get(url.as_str()).await {
        Ok((200, body)) => {
            serde_json::from_str::<Value>(&body).expect("Prometheus answers in JSON")
        }
        // It is still starting: nobody listens yet, or it says so.
        Err(_) | Ok((503, _)) => return Vec::new(),
        Ok((status, body)) => panic!("{query}: {status} {body}"),
    };
    let series = answer["data"]["result"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let value = |series: &Value| {
        series["value"][1]
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("a number")
    };
    series
        .iter()
        .map(|series| (series["metric"].clone(), value(series)))
        .collect()
}
