//! Targets as lists have them, and the deployments that they come to.

use std::time::Duration;

use jiff::Timestamp;

use super::super::Config;
use super::*;
use crate::endpoint::Scheme;
use crate::environment::EnvironmentField;

const TEMPLATE: &str = "
    auth: prod
    family: qwen3-32b
    precision: BF16
    environment: { driver: '580' }
    labels: { team: a }
    timeouts: { total: 7s }
    probes: [{ workload: reference, every: 15m }, { workload: canary, every: 30s }]
";

fn source(more: &str) -> DeploymentSource {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prober.yaml");
    for token in ["prod", "lab"] {
        std::fs::write(directory.path().join(token), token).unwrap();
    }
    let text = format!(
        "auths: {{ prod: {{ bearer_token_file: prod }}, lab: {{ bearer_token_file: lab }} }}
workloads: {{ reference: {{ prompt: a }}, canary: {{ prompt: b, requests: 1, concurrency: 1, max_tokens: 8 }} }}
deployments_from:
  - file_sd: {{ files: ['*.yml'] }}{more}{TEMPLATE}"
    );
    std::fs::write(&file, text).unwrap();
    let config = Config::load(&file).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert!(config.deployments.is_empty());
    config.sources.into_iter().next().unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn find(source: &DeploymentSource, targets: &[&[(&str, &str)]]) -> Found {
    let targets = targets.iter().map(|pairs| labels(pairs)).collect();
    source.find(&targets, &mut BTreeSet::new())
}

fn one(pairs: &[(&str, &str)]) -> ProbedDeployment {
    let mut found = find(&source(""), &[pairs]);
    assert!(found.refused.is_empty(), "{}", found.refused[0]);
    found.deployments.pop().unwrap()
}

#[test]
fn an_address_is_all_that_a_target_needs() {
    for (address, scheme, base_url) in [
        ("gpu-0:8000", None, "http://gpu-0:8000"),
        ("gpu-0", None, "http://gpu-0"),
        ("gpu-0:8443", Some("https"), "https://gpu-0:8443"),
        ("[::1]:8000", None, "http://[::1]:8000"),
        ("https://gateway/team-a/v1", None, "https://gateway/team-a"),
        ("http://gpu-0:8000", Some("https"), "http://gpu-0:8000"),
    ] {
        let mut pairs = vec![("__address__", address), ("__metrics_path__", "/else")];
        pairs.extend(scheme.map(|scheme| ("__scheme__", scheme)));
        let ProbedDeployment { deployment, probes } = one(&pairs);
        assert_eq!(deployment.endpoint.base_url(), base_url);
        assert_eq!(deployment.name.as_str(), address);
        assert_eq!(deployment.lane.as_str(), address);
        assert_eq!(deployment.precision.as_deref(), Some("bf16"));
        assert_eq!(
            (probes.len(), probes[0].workload.limits.total),
            (2, Duration::from_secs(7))
        );
    }
}

#[test]
fn labels_override_the_template() {
    let ProbedDeployment { deployment, .. } = one(&[
        ("__address__", "gpu-0:8000"),
        ("__param_model", "m"),
        ("__param_other", "dropped"),
        ("instance", "not-me"),
        ("name", "qwen"),
        ("precision", "NVFP4"),
        ("lane", "gpu-0"),
        ("auth", "lab"),
        ("driver", "590"),
        ("gpu", "H100"),
        ("rack", "12"),
        ("job", "vllm"),
        ("le", "1"),
        ("not a label", "x"),
        ("long", &"x".repeat(500)),
    ]);
    assert_eq!(deployment.name.as_str(), "qwen");
    assert_eq!(deployment.model.as_deref(), Some("m"));
    assert_eq!(deployment.family.as_deref(), Some("qwen3-32b"));
    assert_eq!(deployment.precision.as_deref(), Some("nvfp4"));
    assert_eq!(deployment.lane.as_str(), "gpu-0");
    let declared = &deployment.environment.declared;
    assert_eq!(declared[&EnvironmentField::Driver], "590");
    assert_eq!(declared[&EnvironmentField::Gpu], "H100");
    assert_eq!(deployment.labels, labels(&[("team", "a"), ("rack", "12")]));
    let Some(Scheme::Bearer(token)) = &deployment.endpoint.auth.scheme else {
        panic!("{:?}", deployment.endpoint.auth);
    };
    assert!(format!("{token:?}").contains("lab"));
    let instance = one(&[
        ("__address__", "gpu-0"),
        ("instance", "me"),
        ("model", "n"),
        ("__param_model", "m"),
    ]);
    assert_eq!(instance.deployment.name.as_str(), "me");
    assert_eq!(instance.deployment.model.as_deref(), Some("n"));
}

#[test]
fn rules_for_the_multi_target_probe_lead_to_the_same_deployment() {
    let pairs = [
        ("__address__", "prober:10016"),
        ("__param_target", "gpu-0:8000"),
        ("__param_workload", "canary"),
        ("instance", "gpu-0:8000"),
    ];
    let ProbedDeployment { deployment, probes } = one(&pairs);
    assert_eq!(deployment.endpoint.base_url(), "http://gpu-0:8000");
    let names: Vec<_> = probes
        .iter()
        .map(|probe| probe.workload.name.as_str())
        .collect();
    assert_eq!(names, ["canary"]);
}

#[test]
fn a_discovered_deployment_has_the_slots_that_it_would_have_if_it_were_written() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prober.yaml");
    let text = "workloads: { reference: { prompt: a } }\ndeployments:\n  - { name: gpu-0, base_url: 'http://gpu-0', \
                probes: [{ workload: reference, every: 15m }] }\n";
    std::fs::write(&file, text).unwrap();
    let written = Config::load(&file).unwrap();
    let listed = one(&[("__address__", "gpu-0")]);
    let now = Timestamp::UNIX_EPOCH;
    assert_eq!(
        listed.probes[0].schedule.next_after(now),
        written.deployments[0].probes[0].schedule.next_after(now)
    );
    let other = one(&[("__address__", "gpu-1")]);
    assert_ne!(
        listed.probes[0].schedule.next_after(now),
        other.probes[0].schedule.next_after(now)
    );
}

#[test]
fn a_target_that_cannot_be_probed_is_refused_and_the_others_go_on() {
    let source = source("");
    for (pairs, words) in [
        (vec![("instance", "a")], "has no address"),
        (vec![("__address__", "a/metrics")], "is none of a server"),
        (vec![("__address__", "a:99999")], "cannot be read"),
        (
            vec![("__address__", "a"), ("__scheme__", "ftp")],
            "`ftp` is not spoken",
        ),
        (
            vec![("__address__", "http://me:pw@a")],
            "carries credentials",
        ),
        (
            vec![("__address__", "a"), ("name", " a")],
            "`name` cannot be used",
        ),
        (
            vec![("__address__", "a"), ("auth", "prd")],
            "there is no auth `prd`, did you mean `prod`?",
        ),
        (
            vec![("__address__", "a"), ("__param_workload", "canry")],
            "`canry`, did you mean `canary`?",
        ),
        (
            vec![("__address__", "a"), ("name", "good")],
            "already a deployment `good`",
        ),
    ] {
        let good: &[(&str, &str)] = &[("__address__", "https://0-good"), ("name", "good")];
        let found = find(&source, &[&pairs, good]);
        let [refused] = found.refused.as_slice() else {
            panic!("{words}: {:?}", found.refused);
        };
        assert!(refused.message.contains(words), "{}", refused.message);
        assert!(!refused.mend.is_empty());
        assert_eq!(found.deployments.len(), 1);
    }
}

#[test]
fn a_target_that_is_listed_twice_is_one_and_a_name_that_is_taken_stays_so() {
    let source = source("");
    let mut taken = BTreeSet::from([DeploymentName::new("written")]);
    let target = |file: &str, name: &str| {
        labels(&[
            ("__address__", "gpu-0"),
            ("__meta_filepath", file),
            ("name", name),
        ])
    };
    let targets = [target("a", "x"), target("b", "x"), target("a", "written")];
    let found = source.find(&targets.into(), &mut taken);
    assert_eq!((found.deployments.len(), found.refused.len()), (1, 1));
    assert_eq!(
        found.refused[0].target(),
        r#"{__address__="gpu-0", name="written"}"#
    );
    assert!(taken.contains(&DeploymentName::new("x")));
    // Another source with the same target finds its name taken.
    let again = source.find(&[target("c", "x")].into(), &mut taken);
    assert_eq!((again.deployments.len(), again.refused.len()), (0, 1));
}

#[test]
fn rules_find_the_scheme_and_the_path_that_prometheus_sets() {
    let source = source(
        "
    relabel_configs:
      - { source_labels: [__scheme__, __address__], separator: '://', target_label: instance }
      - { source_labels: [__metrics_path__], regex: /metrics, action: keep }",
    );
    let other = [("__address__", "gpu-1"), ("__metrics_path__", "/other")];
    let found = find(&source, &[&[("__address__", "gpu-0")], &other]);
    let [probed] = found.deployments.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(probed.deployment.name.as_str(), "http://gpu-0");
}

#[test]
fn a_list_without_end_has_an_end() {
    let targets: BTreeSet<Labels> = (0..MOST_TARGETS + 7)
        .map(|n| labels(&[("__address__", &format!("gpu-{n}"))]))
        .collect();
    let found = source("").find(&targets, &mut BTreeSet::new());
    assert_eq!((found.deployments.len(), found.beyond), (MOST_TARGETS, 7));
}

#[test]
fn a_secret_that_crosses_the_network_is_told() {
    let found = find(
        &source(""),
        &[
            &[("__address__", "gpu-0")],
            &[("__address__", "https://gpu-1")],
        ],
    );
    let [warning] = found.warnings.as_slice() else {
        panic!("{:?}", found.warnings);
    };
    assert!(warning.message.contains("bearer token") && warning.target().contains("gpu-0"));
}

#[test]
fn shards_by_hashmod_cover_the_list_exactly_once() {
    let shard = |n: u64| {
        source(&format!(
            "
    relabel_configs:
      - {{ source_labels: [__address__], modulus: 3, target_label: __tmp_shard, action: hashmod }}
      - {{ source_labels: [__tmp_shard], regex: '{n}', action: keep }}"
        ))
    };
    let targets: BTreeSet<Labels> = (0..60)
        .map(|n| labels(&[("__address__", &format!("gpu-{n}:8000"))]))
        .collect();
    let mut taken = BTreeSet::new();
    for n in 0..3 {
        let found = shard(n).find(&targets, &mut taken);
        assert!(found.refused.is_empty() && found.deployments.len() > 5);
        // The label of the shard is Prometheus' own scratch space, and none of a deployment.
        assert!(
            found
                .deployments
                .iter()
                .all(|one| one.deployment.labels.len() == 1)
        );
    }
    assert_eq!(taken.len(), 60);
}
