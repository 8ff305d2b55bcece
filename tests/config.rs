//! What a user sees of the configuration: every mistake with its place and mend, the files that ship, and
//! what they come to.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sha2::{Digest, Sha256};
use vllm_prober::budget::Budget;
use vllm_prober::config::{Config, Mistakes, Severity};
use vllm_prober::deployment::MetricsSource;
use vllm_prober::discovery::source::Source;
use vllm_prober::endpoint::{
    ClientCertificate, HeaderSource, IpFamily, IpPreference, Login, Proxy, Route, Scheme,
    SecretSource, Tls,
};
use vllm_prober::environment::EnvironmentField;
use vllm_prober::guard::Guards;
use vllm_prober::validity::Validity;
use vllm_prober::workload::{Expectation, Limits, PrefixCache};

/// What `check` would print of `path`.
fn told(path: &Path) -> String {
    match Config::load(path) {
        Err(mistakes) => mistakes.to_string(),
        Ok(config) => {
            config
                .warnings
                .iter()
                .fold("can be used\n".to_owned(), |mut told, warning| {
                    let _ = write!(told, "\n{warning}");
                    told
                })
        }
    }
}

fn testdata() -> Vec<PathBuf> {
    let entries = fs::read_dir("tests/testdata/config").unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    files
}

/// Writes `text` as a configuration into a new directory that has what the shipped examples refer to.
fn beside_its_files(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let within = |name: &str| directory.path().join(name);
    fs::create_dir(within("secrets")).unwrap();
    fs::create_dir(within("prompts")).unwrap();
    fs::write(within("secrets/vllm-token"), "not-a-real-token\n").unwrap();
    fs::copy(
        "tests/testdata/config/ca.pem",
        within("secrets/internal-ca.pem"),
    )
    .unwrap();
    for (from, to) in [("client.pem", "prober.pem"), ("client.key", "prober.key")] {
        let from = Path::new("tests/testdata/config").join(from);
        fs::copy(from, within("secrets").join(to)).unwrap();
    }
    fs::copy(
        "config/prompts/reference.txt",
        within("prompts/reference.txt"),
    )
    .unwrap();
    fs::write(within("prober.yaml"), text).unwrap();
    let file = within("prober.yaml");
    (directory, file)
}

fn load_text(text: &str) -> Result<Config, Mistakes> {
    let (_directory, file) = beside_its_files(text);
    Config::load(&file)
}

#[test]
fn every_mistake_reads_as_it_should() {
    let files = testdata();
    assert!(files.len() > 80, "only {} files found", files.len());
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy();
        insta::assert_snapshot!(name.as_ref(), told(&file));
    }
}

#[test]
fn the_name_of_a_test_file_says_what_comes_of_it() {
    for file in testdata() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        match Config::load(&file) {
            Ok(config) if config.warnings.is_empty() => {
                assert!(name.starts_with("good_"), "{name}");
            }
            Ok(_) => assert!(name.starts_with("warning_"), "{name}"),
            Err(mistakes) => {
                let found = mistakes.findings();
                assert!(
                    !name.starts_with("good_") && !name.starts_with("warning_"),
                    "{mistakes}"
                );
                assert!(
                    found
                        .iter()
                        .all(|found| found.severity() == Severity::Mistake),
                    "{mistakes}"
                );
                assert!(
                    found.iter().all(|found| !found.mend().is_empty()),
                    "{mistakes}"
                );
            }
        }
    }
}

#[test]
fn a_dozen_mistakes_are_told_at_once_from_the_top_to_the_end() {
    let mistakes =
        Config::load(Path::new("tests/testdata/config/a_dozen_at_once.yaml")).unwrap_err();
    let lines: Vec<_> = mistakes
        .findings()
        .iter()
        .map(|found| found.line().unwrap())
        .collect();
    assert_eq!(lines, [2, 3, 5, 8, 9, 10, 13, 14, 16, 17, 18, 19, 20, 21]);
    assert!(
        mistakes
            .to_string()
            .ends_with("a_dozen_at_once.yaml: 14 mistakes")
    );
}

#[test]
fn no_message_repeats_a_secret() {
    for file in testdata() {
        assert!(!told(&file).contains("hunter2"), "{}", file.display());
    }
}

#[test]
fn what_is_no_file_of_text_is_told_plainly() {
    let directory = tempfile::tempdir().unwrap();
    let large = directory.path().join("large.yaml");
    fs::write(&large, vec![b'#'; 100 << 20]).unwrap();
    for (path, message) in [
        (
            Path::new("tests/absent.yaml"),
            "cannot read `tests/absent.yaml`: No such file or directory",
        ),
        (
            Path::new("tests/testdata"),
            "cannot read `tests/testdata`: it is a directory",
        ),
        (large.as_path(), "is larger than 16 MiB"),
    ] {
        let mistakes = Config::load(path).unwrap_err();
        let [found] = mistakes.findings() else {
            panic!("{mistakes}");
        };
        assert!(found.message().contains(message), "{mistakes}");
        assert!(!found.mend().is_empty());
    }
}

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

#[test]
fn the_way_to_a_server_comes_to_what_is_written() {
    let directory = Path::new("tests/testdata/config");
    let config = Config::load(&directory.join("good_outbound.yaml")).unwrap();
    let within = |name: &str| directory.join(name);
    let token = || SecretSource::File(within("token.txt"));
    let [first, second] = config.deployments.as_slice() else {
        panic!("{:?}", config.deployments);
    };
    let endpoint = &first.deployment.endpoint;
    assert_eq!(
        endpoint.route,
        Route {
            tls: Tls {
                ca_file: Some(within("ca.pem")),
                certificate: Some(ClientCertificate {
                    cert_file: within("client.pem"),
                    key_file: within("client.key"),
                }),
                server_name: Some("vllm.internal".to_owned()),
                insecure_skip_verify: false,
            },
            proxy: Some(Proxy {
                url: "socks5://proxy:1080".parse().unwrap(),
                login: Some(Login {
                    username: "prober".to_owned(),
                    password: token(),
                }),
            }),
            ip: Some(IpPreference {
                family: IpFamily::V6,
                fallback: false,
            }),
            ..Route::default()
        }
    );
    let headers = [
        (
            "x-scope-orgid".to_owned(),
            HeaderSource::Plain("team-a".to_owned()),
        ),
        ("x-api-key".to_owned(), HeaderSource::Secret(token())),
    ];
    assert_eq!(endpoint.auth.headers, headers.into());
    let Some(Scheme::ClientCredentials(credentials)) = &endpoint.auth.scheme else {
        panic!("{:?}", endpoint.auth);
    };
    assert_eq!(credentials.client_id, "vllm-prober");
    assert_eq!(credentials.scopes, ["models.read", "models.probe"]);
    assert_eq!(credentials.params["audience"], "vllm");
    // The way to the token endpoint is its own.
    let route = &credentials.route;
    assert_eq!(route.tls.ca_file, Some(within("ca.pem")));
    assert_eq!(
        (&route.tls.certificate, &route.tls.server_name),
        (&None, &None)
    );
    assert!(
        route
            .ip
            .is_some_and(|ip| ip.family == IpFamily::V4 && ip.fallback)
    );
    let Some(Scheme::Basic(login)) = &second.deployment.endpoint.auth.scheme else {
        panic!("{:?}", second.deployment.endpoint.auth);
    };
    assert_eq!(
        (login.username.as_str(), &login.password),
        ("prober", &token())
    );

    // A deployment overrides the timeouts that it names, and stays comparable with the other.
    let limits = [first, second].map(|probed| probed.probes[0].workload.limits);
    assert_eq!(limits[1], config.workloads[0].limits);
    assert_eq!(limits[1].total, Duration::from_secs(600));
    assert_eq!(
        limits[0],
        Limits {
            connect: Duration::from_secs(3),
            run: Duration::from_secs(900),
            ..limits[1]
        }
    );
    let ids = [first, second].map(|probed| probed.probes[0].workload.id());
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn the_text_kept_of_a_configuration_shows_no_secret() {
    let text = fs::read_to_string("config/minimal.yaml").unwrap() + "# password: hunter2\n";
    let config = load_text(&text).unwrap();
    assert!(config.text.ends_with("# password: *******\n"));
    assert!(config.text.starts_with("# The least that probes"));
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

/// One thing done to the lines of a file.
#[derive(Clone, Debug)]
enum Mutation {
    Delete(usize),
    Duplicate(usize),
    Indent(usize, usize),
    Insert(usize, usize, String),
    Cut(usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let noise = prop_oneof![
        Just("[".to_owned()),
        Just("{ ".to_owned()),
        Just("\"".to_owned()),
        Just("*usual".to_owned()),
        Just("<<: *usual, ".to_owned()),
        Just("---".to_owned()),
        Just("\t".to_owned()),
        Just("- ".to_owned()),
        Just("99999999999999999999999".to_owned()),
        "\\PC{0,12}",
    ];
    prop_oneof![
        any::<usize>().prop_map(Mutation::Delete),
        any::<usize>().prop_map(Mutation::Duplicate),
        (any::<usize>(), 0..12_usize).prop_map(|(line, by)| Mutation::Indent(line, by)),
        (any::<usize>(), any::<usize>(), noise)
            .prop_map(|(line, at, text)| Mutation::Insert(line, at, text)),
        (any::<usize>(), any::<usize>()).prop_map(|(line, at)| Mutation::Cut(line, at)),
    ]
}

fn mutate(lines: &mut Vec<String>, mutation: Mutation) {
    if lines.is_empty() {
        return;
    }
    let count = lines.len();
    let split = |line: &str, at: usize| {
        let at = at % (line.chars().count() + 1);
        let (start, end): (Vec<_>, Vec<_>) = line.chars().enumerate().partition(|(n, _)| *n < at);
        [start, end].map(|half| half.into_iter().map(|(_, c)| c).collect::<String>())
    };
    match mutation {
        Mutation::Delete(line) => _ = lines.remove(line % count),
        Mutation::Duplicate(line) => lines.insert(line % count, lines[line % count].clone()),
        Mutation::Indent(line, by) => lines[line % count].insert_str(0, &" ".repeat(by)),
        Mutation::Insert(line, at, text) => {
            let [start, end] = split(&lines[line % count], at);
            lines[line % count] = format!("{start}{text}{end}");
        }
        Mutation::Cut(line, at) => lines[line % count] = split(&lines[line % count], at)[0].clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// However a file is garbled, it either loads or every finding has its message and its mend, and the
    /// places lie in the file.
    #[test]
    fn a_garbled_configuration_never_panics(mutations in prop::collection::vec(mutation(), 1..8)) {
        let text = include_str!("../config/prober.yaml");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for mutation in mutations {
            mutate(&mut lines, mutation);
        }
        if let Err(mistakes) = load_text(&lines.join("\n")) {
            let found = mistakes.findings();
            prop_assert!(found.iter().any(|found| found.severity() == Severity::Mistake));
            for found in found {
                prop_assert!(!found.message().is_empty() && !found.mend().is_empty(), "{mistakes}");
                prop_assert!(found.line().is_none_or(|line| (1..=lines.len() + 1).contains(&line)), "{mistakes}");
            }
            prop_assert!(!mistakes.to_string().is_empty());
        }
    }
}
