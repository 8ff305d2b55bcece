//! Tells the program what it was built from: the commit, and the compiler.

use std::process::Command;

fn main() {
    // A checkout without git, such as a source archive, builds too.
    let revision =
        output("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let rustc = std::env::var("RUSTC")
        .ok()
        .and_then(|rustc| output(&rustc, &["--version"]))
        .unwrap_or_default();
    println!("cargo::rustc-env=VLLM_PROBER_REVISION={revision}");
    println!("cargo::rustc-env=VLLM_PROBER_RUSTC={rustc}");
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
