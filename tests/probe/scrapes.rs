//! A real Prometheus that has targets probed.

use super::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs prometheus and promtool"]
async fn prometheus_probes_several_targets_by_relabelling() {
    let directory = tempfile::tempdir().unwrap();
    let profile = Profile::named("nvfp4").unwrap();
    let simulator = Simulator::start(Settings {
        speedup: 10.0,
        ..Settings::new(profile)
    })
    .await
    .unwrap();
    let deployments = [
        ("nvfp4", simulator.base_url(), RARELY),
        ("down", "http://127.0.0.1:1".to_owned(), RARELY),
    ];
    let config = write(directory.path(), "", &deployments);
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("model: m, metrics_url: off, ", "")).unwrap();
    let (daemon, base_url) = Program::serve(&config);
    let address = base_url.strip_prefix("http://").unwrap();
    // As docs/probe.md has it.
    let job = format!(
        "metrics_path: /probe
params: {{ workload: [canary] }}
http_sd_configs: [{{ url: '{base_url}/discovery', refresh_interval: 1s }}]
relabel_configs:
  - {{ source_labels: [__address__], target_label: __param_target }}
  - {{ source_labels: [__param_target], target_label: instance }}
  - {{ target_label: __address__, replacement: '{address}' }}"
    );
    let prometheus = Prometheus::start_with(directory.path(), &job);
    let success = prometheus.until("probe_success", 2).await;
    for (labels, value) in success {
        let expected = if labels["instance"] == "nvfp4" {
            1.0
        } else {
            0.0
        };
        assert_eq!(value, expected, "{labels}");
    }
    let (labels, ttft) = prometheus
        .until("probe_time_to_first_token_seconds", 1)
        .await
        .remove(0);
    assert!(
        labels["instance"] == "nvfp4" && ttft > 0.0,
        "{labels} {ttft}"
    );
    // The scrape timeout of a second, less the half.
    let limits = prometheus.until("probe_timeout_seconds == 0.5", 2).await;
    assert_eq!(limits.len(), 2);
    assert_eq!(prometheus.query("up == 1").await.len(), 2);
    for target in ["nvfp4", "down"] {
        let (_, text) = probe(&base_url, &[("target", target)], Some("10")).await;
        promtool_finds_nothing(&text);
    }
    assert!(daemon.terminate(PATIENCE).0.success());
    simulator.stop().await.unwrap();
}
