//! Who is a target, by which name, and who is none.

use super::*;
use crate::endpoint::SecretSource;
use crate::workload::WorkloadName;

fn workload(name: &str, concurrency: u32) -> Arc<Workload> {
    let mut workload = Workload::reference("hi");
    workload.name = WorkloadName::new(name);
    (workload.concurrency, workload.requests, workload.max_tokens) = (concurrency, 4, 16);
    Arc::new(workload)
}

fn deployment(name: &str, url: &str) -> Arc<Deployment> {
    let mut endpoint = Endpoint::new(Url::parse(url).unwrap());
    endpoint.auth = Auth::bearer(SecretSource::Env("TOKEN".to_owned()));
    Arc::new(Deployment::new(name, endpoint))
}

fn allowed(url: &str, local: &[&str]) -> AllowedTargets {
    AllowedTargets {
        url: Pattern::new(url).unwrap(),
        auth: Auth::default(),
        ca_file: None,
        lane: None,
        local_addresses: local.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

fn resolve(
    target: &str,
    workload_name: Option<&str>,
) -> Result<(Arc<Deployment>, Arc<Workload>), TargetRefusal> {
    let (canary, burst) = (workload("canary", 1), workload("burst", 4));
    let targets = Targets {
        workloads: vec![Arc::clone(&canary), Arc::clone(&burst)],
        allowed: vec![
            allowed("http://127\\.0\\.0\\.9:8000", &["127.0.0.9"]),
            allowed(
                "https?://.*\\.gpu:8000|http://[0-9.]+:8000|http://\\[.*\\]:8000",
                &[],
            ),
        ],
    };
    let (a, b) = (
        deployment("a", "http://one:8000/v1"),
        deployment("b", "http://two:8000"),
    );
    let c = deployment("c", "http://two:8000/");
    let mut own = Workload::clone(&canary);
    own.limits.run = Duration::from_secs(7);
    let own = Arc::new(own);
    let configured = [(&a, &burst), (&a, &own), (&b, &canary), (&c, &canary)];
    targets.resolve(configured.into_iter(), target, workload_name)
}

#[test]
fn a_deployment_is_found_by_its_name_and_by_its_address() {
    for target in [
        "a",
        "http://one:8000",
        "HTTP://ONE:8000/v1/",
        "http://one:8000/",
    ] {
        let (found, workload) = resolve(target, None).unwrap();
        assert_eq!(found.name.as_str(), "a", "{target}");
        assert!(found.endpoint.auth.is_secret());
        assert_eq!(found.endpoint.route.reach, Reach::Anywhere);
        assert_eq!(
            workload.limits.run,
            Duration::from_secs(7),
            "its own timeouts"
        );
    }
    let several = TargetRefusal::Ambiguous(vec!["b".to_owned(), "c".to_owned()]);
    assert_eq!(resolve("http://two:8000", None).unwrap_err(), several);
    let all = ["a", "b", "c"].map(str::to_owned).into();
    assert_eq!(resolve("d", None).unwrap_err(), TargetRefusal::Unknown(all));
}

#[test]
fn what_is_no_deployment_is_probed_only_if_it_is_allowed_and_gets_nothing_of_theirs() {
    let (found, _) = resolve("http://x.gpu:8000/v1", None).unwrap();
    assert_eq!(found.name.as_str(), "http://x.gpu:8000");
    assert_eq!(found.lane.as_str(), "http://x.gpu:8000");
    assert!(!found.endpoint.auth.is_secret());
    assert_eq!(found.endpoint.route.reach, Reach::Elsewhere(Vec::new()));
    for target in [
        "http://x.gpu:8001",
        "http://x.gpu.evil.example:8000",
        "http://evil.example/x.gpu:8000/v2",
        "http://one:8000/other",
    ] {
        assert_eq!(
            resolve(target, None).unwrap_err(),
            TargetRefusal::NotAllowed,
            "{target}"
        );
    }
    for target in [
        "http://me:pw@x.gpu:8000",
        "http://x.gpu:8000?a=b",
        "http://x.gpu:8000#a",
        "file:///etc/passwd",
        "http://",
    ] {
        let refusal = resolve(target, None).unwrap_err();
        assert!(
            matches!(refusal, TargetRefusal::NoBaseUrl(_)),
            "{target}: {refusal}"
        );
        assert!(!refusal.to_string().contains("pw@"), "{refusal}");
    }
}

#[test]
fn no_spelling_of_this_machine_is_a_target_unless_it_is_named() {
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "169.254.169.254",
        "0xa9fea9fe",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "[64:ff9b::a9fe:a9fe]",
        "１２７.0.0.1",
        "127。0。0。1",
    ] {
        let refusal = resolve(&format!("http://{host}:8000"), None).unwrap_err();
        assert!(
            matches!(refusal, TargetRefusal::Local { .. }),
            "{host}: {refusal}"
        );
    }
    assert!(resolve("http://127.0.0.9:8000", None).is_ok());
    assert!(resolve("http://10.0.0.9:8000", None).is_ok());
}

#[test]
fn only_a_light_workload_is_replayed() {
    assert_eq!(
        resolve("a", Some("canary")).unwrap().1.name.as_str(),
        "canary"
    );
    let told = resolve("a", Some("burst")).unwrap_err().to_string();
    assert!(told.contains("`burst` is not light"), "{told}");
    let told = resolve("a", Some("nothing")).unwrap_err().to_string();
    assert_eq!(told, "there is no workload of that name; there is `canary`");
    let told = Targets::default().workload(None).unwrap_err().to_string();
    assert!(told.ends_with("; there is none"), "{told}");
}

#[test]
fn the_scraper_s_patience_and_the_workload_s_bound_a_probe() {
    let mut workload = Workload::reference("hi");
    let half = Duration::from_millis(500);
    for (run, scrape, limit) in [
        (20, Some(10_000), 9_500),
        (20, Some(500), 500),
        (20, Some(400), 400),
        (20, Some(60_000), 20_000),
        (20, None, 20_000),
        // Who does not say how long it waits does not wait for half an hour.
        (1_800, None, 120_000),
        (1_800, Some(600_000), 599_500),
    ] {
        workload.limits.run = Duration::from_secs(run);
        let scrape = scrape.map(Duration::from_millis);
        let expected = Duration::from_millis(limit);
        assert_eq!(time_limit(scrape, half, &workload), expected, "{scrape:?}");
    }
}
