//! What `/buildinfo` says about the build.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=BUILD_REVISION");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let rustc = Command::new(variable("RUSTC")).arg("--version").output();
    let rustc = rustc
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok());
    for (name, value) in [
        ("REVISION", variable("BUILD_REVISION")),
        ("RUSTC", rustc.unwrap_or_default()),
        ("PROFILE", variable("PROFILE")),
        ("TARGET", variable("TARGET")),
    ] {
        let value = value.trim();
        let value = if value.is_empty() { "unknown" } else { value };
        println!("cargo:rustc-env=CHASSIS_BUILD_{name}={value}");
    }
}
