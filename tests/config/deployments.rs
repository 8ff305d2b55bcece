//! Deployments and workloads: what is written for one of them, for all, or in a list, and what holds without a word.

use std::time::Duration;

use vllm_prober::budget::Budget;
use vllm_prober::deployment::MetricsSource;
use vllm_prober::discovery::source::Source;
use vllm_prober::endpoint::Route;
use vllm_prober::environment::EnvironmentField;
use vllm_prober::guard::Guards;
use vllm_prober::validity::Validity;
use vllm_prober::workload::PrefixCache;

use super::*;

#[test]
fn lists_of_deployments_come_to_what_is_written_and_else_to_prometheus_defaults() {
    let directory = Path::new("tests/testdata/config");
    let config = Config::load(&directory.join("good_deployments_from.yaml")).unwrap();
    assert_eq!(config.deployments.len(), 1);
    let names: Vec<_> = config.sources.iter().map(|list| &list.name).collect();
    let inventory = "https://inventory/targets";
    assert_eq!(
        names,
        [
            "targets.yml, lists/*.json",
            inventory,
            "https://inventory/targets #2"
        ]
    );
    let [
        Source::Files(files),
        Source::Http(first),
        Source::Http(second),
    ] = [0, 1, 2].map(|at| &config.sources[at].source)
    else {
        panic!("{:?}", config.sources);
    };
    assert_eq!(files.refresh_interval, Duration::from_secs(60));
    assert_eq!(files.patterns[1].directory, directory.join("lists"));
    assert_eq!(first.url.query(), Some("site=a"));
    assert!(first.auth.is_secret() && first.route.tls.ca_file.is_some());
    assert!(!second.auth.is_secret() && second.route == Route::default());
    let intervals = [first, second].map(|http| http.refresh_interval.as_secs());
    assert_eq!(intervals, [30, 60]);

    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let target = |address: &str| [label("__address__", address), label("zone", "b")].into();
    let targets = [target("gpu-0:8000"), target("written:1")].into();
    let mut taken = [config.deployments[0].deployment.name.clone()].into();
    let found = config.sources[0].find(&targets, &mut taken);
    assert_eq!(found.refused.len(), 1, "{:?}", found.refused);
    let deployment = &found.deployments[0].deployment;
    assert_eq!(deployment.name.as_str(), "gpu-0");
    assert_eq!(deployment.lane.as_str(), "shared");
    assert_eq!(deployment.labels["zone"], "b");
    assert_eq!(deployment.budget.duty_cycle, Some(0.5));
    assert_eq!(deployment.endpoint.base_url(), "http://gpu-0:8000");
    assert!(deployment.endpoint.auth.is_secret());
    assert!(deployment.endpoint.route.tls.ca_file.is_some());
}

#[test]
fn anchors_and_merges_share_what_deployments_have_in_common() {
    let config = Config::load(Path::new(
        "tests/testdata/config/good_anchors_and_merges.yaml",
    ))
    .unwrap();
    let [first, second] = config.deployments.as_slice() else {
        panic!("{:?}", config.deployments);
    };
    assert_eq!(
        first.deployment.endpoint.base_url(),
        second.deployment.endpoint.base_url()
    );
    assert_eq!(second.deployment.name.as_str(), "second");
    assert_eq!(second.deployment.lane.as_str(), "second");
    assert_eq!(second.deployment.precision.as_deref(), Some("nvfp4"));
    // As written, and no number that was rounded.
    assert_eq!(
        second.deployment.environment.declared[&EnvironmentField::Cuda],
        "12.10"
    );
    assert_eq!(config.workloads[1].requests, 32);
    assert_eq!(config.workloads[1].prefix_cache, PrefixCache::Cold);
}

#[test]
fn guards_budgets_and_validity_come_to_what_is_written_and_else_to_the_defaults() {
    let config = Config::load(Path::new(
        "tests/testdata/config/good_guards_budgets_and_validity.yaml",
    ))
    .unwrap();
    let [first, second] = config.deployments.as_slice() else {
        panic!("{:?}", config.deployments);
    };
    let of_all = Guards {
        max_foreign_requests: Some(3),
        wedged_after: Duration::from_secs(10),
        ..Guards::default()
    };
    assert_eq!(second.deployment.guards, of_all);
    // A deployment overrides the fields that it names, and no others.
    let own = Guards {
        max_foreign_requests: None,
        max_kv_cache_usage: Some(1.0),
        abort_above_waiting: Some(0),
        ..of_all
    };
    assert_eq!(first.deployment.guards, own);

    let tokens = |tokens| Budget {
        tokens_per_day: Some(tokens),
        duty_cycle: None,
    };
    assert_eq!(config.global.budget, tokens(10_000_000));
    assert_eq!(second.deployment.budget, Budget::default());
    let own = Budget {
        duty_cycle: Some(0.2),
        ..tokens(4_000_000)
    };
    assert_eq!(first.deployment.budget, own);

    let at = "http://gpu-host:9000/vllm/metrics/".parse().unwrap();
    assert_eq!(first.deployment.metrics, MetricsSource::At(at));
    assert_eq!(second.deployment.metrics, MetricsSource::Off);

    let [reference, canary] = config.workloads.as_slice() else {
        panic!("{:?}", config.workloads);
    };
    assert_eq!(reference.priority, Some(-1));
    assert_eq!(
        serde_json::Value::Object(reference.extra_body.clone()),
        serde_json::json!({"seed": 7, "logit_bias": {"50256": -100}, "stop": [], "user": null})
    );
    let validity = Validity {
        max_failed_ratio: 0.0,
        max_foreign_tokens_ratio: None,
        max_client_delay: Duration::from_millis(50),
        ..Validity::default()
    };
    assert_eq!(reference.validity, validity);
    let validity = Validity {
        max_foreign_prompt_ratio: Some(2.0),
        ..Validity::of_light_run()
    };
    assert_eq!(canary.validity, validity);
}
