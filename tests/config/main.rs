//! What a user sees of the configuration: every mistake with its place and mend, the files that ship, and
//! what they come to.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use vllm_prober::config::{Config, Mistakes};

mod deployments;
mod garbled;
mod mistakes;
mod outbound;
mod shipped;

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
