//! Tells the program what it was built from: the commit, and the compiler.

use std::process::Command;

fn main() {
    // Whoever builds from a part of the checkout, as the image is built, says the commit. Without git, such as from
    // a source archive, it builds too.
    let revision = std::env::var("VLLM_PROBER_REVISION")
        .ok()
        .filter(|revision| !revision.is_empty())
        .or_else(|| output("git", &["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned());
    let rustc = std::env::var("RUSTC")
        .ok()
        .and_then(|rustc| output(&rustc, &["--version"]))
        .unwrap_or_default();
    println!("cargo::rustc-env=VLLM_PROBER_REVISION={revision}");
    println!("cargo::rustc-env=VLLM_PROBER_RUSTC={rustc}");
    println!("cargo::rerun-if-env-changed=VLLM_PROBER_REVISION");
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/refs/heads");
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
