//! A genuine Prometheus and a genuine Alertmanager with the shipped files, and whoever is woken by them. Only time
//! runs faster: the same factor for every constant.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path as InUrl, State};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::http;
use super::program::Program;
use super::rules;

/// What arrived at a receiver: its name, whether it fires or is resolved, and the labels and annotations.
#[derive(Clone, Debug)]
pub(crate) struct Delivered {
    pub(crate) receiver: String,
    pub(crate) status: String,
    pub(crate) labels: Value,
    pub(crate) annotations: Value,
}

impl Delivered {
    pub(crate) fn is(&self, alert: &str, deployment: &str) -> bool {
        self.labels["alertname"] == alert
            && self.labels["deployment"].as_str().unwrap_or_default() == deployment
    }
}

/// Prometheus, Alertmanager and the receiver of the webhooks.
pub(crate) struct Alerting {
    prometheus: String,
    alertmanager: String,
    delivered: Arc<Mutex<Vec<Delivered>>>,
    _programs: [Program; 2],
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
}

impl Alerting {
    /// Starts all of it for the daemon at `target`, with time constants multiplied by `factor`.
    pub(crate) async fn start(directory: &Path, target: &str, factor: f64) -> Self {
        let (prometheus, alertmanager) = (free_address(), free_address());
        let (hook, delivered) = receive().await;

        for name in ["recording.rules.yml", "alerts.rules.yml"] {
            let file = rules::yaml(&rules::shipped(&format!("config/prometheus/{name}")));
            rules::write(&directory.join(name), &rules::scaled(file, factor));
        }
        let mut config = rules::yaml(&rules::shipped("config/prometheus/prometheus.yml"));
        // The prober is scraped no faster than twice a second, whatever the factor.
        config["global"]["scrape_interval"] = "500ms".into();
        rules::scale_field(&mut config["global"], "evaluation_interval", factor);
        let target = target.strip_prefix("http://").expect("a plain HTTP target");
        config["scrape_configs"][0]["static_configs"][0]["targets"] = json!([target]);
        config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] =
            json!([alertmanager.to_string()]);
        rules::write(&directory.join("prometheus.yml"), &config);

        let mut config = rules::yaml(&rules::shipped("config/alertmanager/alertmanager.yml"));
        scale_route(&mut config["route"], factor);
        for receiver in config["receivers"].as_array_mut().expect("receivers") {
            let url = receiver["webhook_configs"][0]["url"]
                .as_str()
                .expect("a URL");
            let path = url.rsplit('/').next().expect("a path");
            let url = format!("http://{hook}/{path}");
            receiver["webhook_configs"][0]["url"] = url.into();
        }
        rules::write(&directory.join("alertmanager.yml"), &config);

        let at = |name: &str| directory.join(name).display().to_string();
        let programs = [
            Program::start(Command::new("prometheus-alertmanager").args([
                format!("--config.file={}", at("alertmanager.yml")),
                format!("--storage.path={}", at("alertmanager")),
                format!("--web.listen-address={alertmanager}"),
                "--cluster.listen-address=".to_owned(),
            ])),
            Program::start(Command::new("prometheus").args([
                format!("--config.file={}", at("prometheus.yml")),
                format!("--storage.tsdb.path={}", at("tsdb")),
                format!("--web.listen-address={prometheus}"),
            ])),
        ];
        Self {
            prometheus: format!("http://{prometheus}"),
            alertmanager: format!("http://{alertmanager}"),
            delivered,
            _programs: programs,
        }
    }

    /// The current value of `query` at Prometheus.
    pub(crate) async fn query(&self, query: &str) -> Vec<(Value, f64)> {
        http::query(&self.prometheus, query).await
    }

    /// Everything that was delivered so far.
    pub(crate) fn delivered(&self) -> Vec<Delivered> {
        self.delivered.lock().expect("no panic under it").clone()
    }

    /// Waits until something is delivered that `is` wanted.
    pub(crate) async fn until_delivered(
        &self,
        what: &str,
        patience: Duration,
        is: impl Fn(&Delivered) -> bool,
    ) -> Delivered {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(found) = self.delivered().into_iter().find(&is) {
                return found;
            }
            if Instant::now() > deadline {
                let firing = self.query("ALERTS").await;
                panic!(
                    "{what} was not delivered within {patience:?}; there were {:#?}, and Prometheus has {firing:#?}",
                    self.delivered()
                );
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until Alertmanager holds this alert of a deployment back for the sake of another.
    pub(crate) async fn until_inhibited(
        &self,
        alert: &str,
        deployment: &str,
        patience: Duration,
    ) -> Value {
        let deadline = Instant::now() + patience;
        loop {
            let url = format!("{}/api/v2/alerts", self.alertmanager);
            let (_, body) = http::get(&url).await.expect("Alertmanager answers");
            let alerts: Vec<Value> = serde_json::from_str(&body).expect("it answers in JSON");
            let found = alerts.iter().find(|found| {
                found["labels"]["alertname"] == alert
                    && found["labels"]["deployment"] == deployment
                    && found["status"]["inhibitedBy"]
                        .as_array()
                        .is_some_and(|by| !by.is_empty())
            });
            if let Some(found) = found {
                return found.clone();
            }
            assert!(
                Instant::now() < deadline,
                "{alert} of {deployment} is not inhibited: {alerts:#?}"
            );
            sleep(Duration::from_millis(100)).await;
        }
    }
}

fn scale_route(route: &mut Value, factor: f64) {
    for field in ["group_wait", "group_interval", "repeat_interval"] {
        rules::scale_field(route, field, factor);
    }
    for route in route
        .get_mut("routes")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        scale_route(route, factor);
    }
}

/// Starts the receiver of the webhooks: where it listens, and what it got.
async fn receive() -> (SocketAddr, Arc<Mutex<Vec<Delivered>>>) {
    let delivered = Arc::<Mutex<Vec<Delivered>>>::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let app = Router::new()
        .route("/{receiver}", post(take))
        .with_state(Arc::clone(&delivered));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, delivered)
}

async fn take(
    InUrl(receiver): InUrl<String>,
    State(delivered): State<Arc<Mutex<Vec<Delivered>>>>,
    body: String,
) {
    let message: Value = serde_json::from_str(&body).expect("Alertmanager speaks JSON");
    for alert in message["alerts"].as_array().expect("alerts") {
        let delivery = Delivered {
            receiver: receiver.clone(),
            status: alert["status"].as_str().expect("a status").to_owned(),
            labels: alert["labels"].clone(),
            annotations: alert["annotations"].clone(),
        };
        delivered.lock().expect("no panic under it").push(delivery);
    }
}
