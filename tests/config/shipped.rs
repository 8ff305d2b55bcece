//! The files that ship and the example of the documentation: they can be used, and come to what they say.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use vllm_prober::deployment::MetricsSource;
use vllm_prober::endpoint::{Scheme, SecretSource};
use vllm_prober::environment::EnvironmentField;
use vllm_prober::workload::{Expectation, PrefixCache};

use super::*;

#[test]
fn the_shipped_examples_can_be_used_without_a_warning() {
    for file in [
        "config/prober.yaml",
        "config/minimal.yaml",
        "config/discovery.yaml",
    ] {
        let config = Config::load(Path::new(file)).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert!(config.warnings.is_empty(), "{file}: {}", config.warnings[0]);
    }
    let minimal = fs::read_to_string("config/minimal.yaml").unwrap();
    assert!(minimal.lines().count() <= 10);
}

#[test]
fn what_the_full_example_switches_off_can_be_switched_on() {
    let text = fs::read_to_string("config/prober.yaml").unwrap();
    let mut switched = 0;
    let mut on: Vec<String> = Vec::new();
    for line in text.lines() {
        // `#    auth: prod` is a setting, `# Whom to probe.` and a bare `#` are not.
        let setting = line.strip_prefix('#').filter(|rest| {
            let words = rest.trim_start();
            rest.starts_with("  ") || ["auths:", "probe:"].contains(&words)
        });
        switched += usize::from(setting.is_some());
        on.push(setting.unwrap_or(line).to_owned());
    }
    // An environment variable cannot be set safely in a process with threads.
    on.retain(|line| !line.contains("VLLM_GATEWAY_TOKEN"));
    assert!(switched > 10, "{switched}");
    let config = load_text(&on.join("\n")).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let endpoint = &config.deployments[0].deployment.endpoint;
    assert!(
        matches!(&endpoint.auth.scheme, Some(Scheme::Bearer(SecretSource::File(file))) if file.ends_with("secrets/vllm-token"))
    );
    assert!(endpoint.route.tls.ca_file.is_some() && endpoint.route.proxy.is_some());
    assert_eq!(config.global.buckets.e2e, [1.0, 2.0, 5.0, 10.0, 20.0, 60.0]);
    assert_eq!(config.workloads[0].min_tokens, Some(256));
    assert_eq!(config.workloads[0].priority, Some(10));
    assert_eq!(config.workloads[0].extra_body["seed"], 42);
    assert!(config.global.budget.tokens_per_day.is_some());
    assert!(config.targets.allowed[0].auth.is_secret());
    let deployment = &config.deployments[0].deployment;
    assert!(deployment.budget.tokens_per_day.is_some() && deployment.budget.duty_cycle.is_some());
    assert!(matches!(&deployment.metrics, MetricsSource::At(url) if url.path() == "/metrics"));
}

#[test]
fn values_shown_as_defaults_are_the_defaults() {
    let full = Config::load(Path::new("config/prober.yaml")).unwrap();
    let minimal = Config::load(Path::new("config/minimal.yaml")).unwrap();
    assert_eq!(full.global, minimal.global);
    assert_eq!(full.workloads[0].id(), minimal.workloads[0].id());
    assert_eq!(full.workloads[0].limits, minimal.workloads[0].limits);
    assert_eq!(full.workloads[0].expect, minimal.workloads[0].expect);
    assert_eq!(full.workloads[0].validity, minimal.workloads[0].validity);
    let [full, minimal] =
        [full, minimal].map(|config| Arc::clone(&config.deployments[0].deployment));
    assert_eq!(full.guards, minimal.guards);
    assert_eq!(full.budget, minimal.budget);
    assert_eq!(full.metrics, minimal.metrics);
}

#[test]
fn the_documented_example_comes_to_what_it_says() {
    let documentation = fs::read_to_string("docs/configuration.md").unwrap();
    let (_, rest) = documentation.split_once("```yaml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let config = load_text(example).unwrap_or_else(|mistakes| panic!("{mistakes}"));

    assert_eq!(config.global.max_concurrent_runs, NonZero::<usize>::MIN);
    assert_eq!(config.global.stale_after, 3);
    assert!(config.warnings.is_empty());
    let [reference, canary] = config.workloads.as_slice() else {
        panic!("{:?}", config.workloads);
    };
    assert_eq!(
        (
            reference.requests,
            reference.concurrency,
            reference.max_tokens
        ),
        (64, 16, 256)
    );
    assert_eq!(reference.expect, Expectation::FullLength);
    assert_eq!(reference.prefix_cache, PrefixCache::Warm);
    assert!(
        reference
            .prompt
            .starts_with("You run a large language model")
            && !reference.prompt.ends_with('\n')
    );
    assert!(canary.is_light());

    let [probed] = config.deployments.as_slice() else {
        panic!("{:?}", config.deployments);
    };
    let deployment = &probed.deployment;
    assert_eq!(deployment.name.as_str(), "qwen3-32b-nvfp4");
    assert_eq!(deployment.endpoint.base_url(), "https://gpu-host:8000");
    assert_eq!(deployment.lane.as_str(), "gpu-host/gpu0");
    assert_eq!(deployment.precision.as_deref(), Some("nvfp4"));
    assert_eq!(
        deployment.environment.declared[&EnvironmentField::Driver],
        "580.95.05"
    );
    let now = jiff::Timestamp::UNIX_EPOCH;
    let intervals: Vec<_> = probed
        .probes
        .iter()
        .map(|probe| probe.schedule.interval(now).unwrap())
        .collect();
    assert_eq!(
        intervals,
        [Duration::from_secs(900), Duration::from_secs(30)]
    );
}

#[test]
fn the_reference_prompt_is_the_one_that_was_counted() {
    // config/prompts/README.md says how its 110 tokens were counted; another text needs another count.
    let digest = Sha256::digest(fs::read("config/prompts/reference.txt").unwrap());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        digest,
        "ab1fe46c2b764ab469164fb206054c619d3f8a6662db955497e8d00d60eed432"
    );
}
