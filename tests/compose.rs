//! The composition as it is shipped: nothing of it is reached from other machines, nothing moves by itself, and whatever
//! it mounts or asks of the program is there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(root().join(path)).unwrap()).unwrap()
}

/// Every service by its name, with what it takes from an anchor.
fn services() -> Vec<(String, Value)> {
    let composition = yaml("docker-compose.yml");
    let services = composition["services"].as_object().unwrap();
    services
        .iter()
        .map(|(name, service)| (name.clone(), service.clone()))
        .collect()
}

fn words(value: &Value) -> Vec<&str> {
    let list = value.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_str).collect()
}

#[test]
fn nothing_is_reached_from_other_machines_and_versions_are_pinned() {
    for (name, service) in services() {
        for port in words(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port}");
        }
        let image = service["image"].as_str().unwrap();
        let version = image.rsplit_once(':').map(|(_, version)| version);
        assert!(
            version.is_some_and(|version| version.split('.').count() == 3),
            "{name}: {image}"
        );
        assert_eq!(service["read_only"], true, "{name}");
        let text = service.to_string().to_lowercase();
        assert!(!text.contains("admin_password\":"), "{name}: a password");
    }
}

#[test]
fn what_is_mounted_is_there_and_read_only() {
    let volumes = yaml("docker-compose.yml")["volumes"].clone();
    let mut used = BTreeSet::new();
    for (name, service) in services() {
        for mount in words(&service["volumes"]) {
            let source = mount.split(':').next().unwrap();
            if let Some(path) = source.strip_prefix("./") {
                assert!(root().join(path).exists(), "{name}: there is no {path}");
                assert!(mount.ends_with(":ro"), "{name}: {mount}");
            } else {
                used.insert(source.to_owned());
            }
        }
    }
    let declared: BTreeSet<String> = volumes.as_object().unwrap().keys().cloned().collect();
    assert_eq!(used, declared);
}

#[test]
fn each_service_waits_for_one_that_tells_its_health() {
    let services = services();
    for (name, service) in &services {
        let Some(waits_for) = service["depends_on"].as_object() else {
            continue;
        };
        for (other, how) in waits_for {
            assert_eq!(how["condition"], "service_healthy", "{name}: {other}");
            let other = services.iter().find(|(name, _)| name == other).unwrap();
            // That of the prober is in its image.
            let tells = other.1["healthcheck"].is_object() || other.0 == "prober";
            assert!(tells, "{name} waits for {}, which never tells", other.0);
        }
    }
}

#[test]
fn prometheus_scrapes_and_the_prober_probes_what_is_in_the_composition() {
    let names: BTreeSet<String> = services().into_iter().map(|(name, _)| name).collect();
    let prometheus = yaml("config/compose/prometheus.yml");
    let scraped = &prometheus["scrape_configs"][0]["static_configs"][0]["targets"];
    let alerted = &prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"];
    assert_eq!(words(scraped), ["prober:10016"]);
    assert_eq!(words(alerted), ["alertmanager:9093"]);
    let demo = yaml("config/compose/demo.yaml");
    for deployment in demo["deployments"].as_array().unwrap() {
        let url: url::Url = deployment["base_url"].as_str().unwrap().parse().unwrap();
        let host = url.host_str().unwrap();
        assert!(names.contains(host), "{host} is no service");
    }
}

/// Their flags are read by the program itself; the addresses are moved to loopback and free ports.
#[test]
fn the_simulated_deployments_start_as_they_are_told() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    for (name, service) in services() {
        let mut command = words(&service["command"]);
        if command.first() != Some(&"simulate") {
            continue;
        }
        let address = command
            .iter()
            .position(|word| *word == "0.0.0.0:8000")
            .unwrap();
        command[address] = "127.0.0.1:0";
        let mut child = Command::new(env!("CARGO_BIN_EXE_vllm-prober"))
            .args(&command)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(line.starts_with("http://127.0.0.1:"), "{name}: {line:?}");
    }
}

#[test]
fn the_configurations_are_good() {
    for file in ["prober", "demo"] {
        let path = Path::new("config/compose")
            .join(file)
            .with_extension("yaml");
        let output = Command::new(env!("CARGO_BIN_EXE_vllm-prober"))
            .args(["check", "--config.file"])
            .arg(&path)
            .current_dir(root())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{said}");
        // `check` takes the demo's deployments for real ones, which are ten times as slow.
        assert_eq!(said.contains("warning"), file == "demo", "{said}");
    }
}
