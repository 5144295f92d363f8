//! Tells the program which compiler makes it: a run says what it was made with.

use std::process::Command;

fn main() {
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(compiler).arg("--version").output();
    let version = version.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    println!("cargo:rustc-env=SWIRLDB_COMPILER={}", version.unwrap_or_default());
    println!("cargo:rerun-if-changed=build.rs");
}
