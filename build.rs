//! Tells the program which compiler makes it: a run says what it was made with.

use std::io::Write as _;
use std::process::Command;

fn main() -> std::io::Result<()> {
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(compiler).arg("--version").output()?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let mut out = std::io::stdout();
    writeln!(out, "cargo:rustc-env=SWIRLDB_COMPILER={version}")?;
    writeln!(out, "cargo:rerun-if-changed=build.rs")
}
