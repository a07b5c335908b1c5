//! Finds or sets up a toolchain that compiles guests to `wasm32-wasip2`.
//!
//! First the toolchain in use, adding the target with rustup if it is missing; then Debian's
//! packages, which provide a compiler and the source of its standard library.
//! `USHER_GUEST_TOOLCHAIN=rustup` or `=debian` restricts the search to one of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::style::announce;
use crate::{cargo, debian};

const TARGET: &str = "wasm32-wasip2";
const DEBIAN_PACKAGES: [&str; 5] =
    ["rustc-web", "cargo-web", "rust-web-src", "lld-22", "wasi-libc"];
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LIBC: &str = "/usr/lib/wasm32-wasi";

/// A toolchain for guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The current Rust toolchain, with the target installed.
    InUse,
    /// Debian's Rust for the web, which builds the standard library along.
    Debian,
}

impl Toolchain {
    /// Returns the first toolchain that works.
    pub(crate) fn find(folder: &Path) -> Result<Self> {
        let wanted = std::env::var("USHER_GUEST_TOOLCHAIN").ok();
        let mut reasons = Vec::new();
        if wanted.as_deref() != Some("debian") {
            match in_use(folder) {
                Ok(()) => return Ok(Self::InUse),
                Err(reason) => reasons.push(format!("the Rust in use: {reason:#}")),
            }
        }
        if wanted.as_deref() != Some("rustup") {
            match debian() {
                Ok(()) => return Ok(Self::Debian),
                Err(reason) => reasons.push(format!("Debian's Rust: {reason:#}")),
            }
        }
        bail!("nothing here compiles to {TARGET}:\n  {}\n{RECIPES}", reasons.join("\n  "));
    }

    /// A one-line description.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::InUse => "the Rust in use, with its target wasm32-wasip2",
            Self::Debian => "Debian's Rust, building the standard library along (-Zbuild-std)",
        }
    }

    /// `cargo build --release` for the target, in the workspace `folder`.
    pub(crate) fn build(self, folder: &Path, target_dir: &Path) -> Command {
        let mut command = match self {
            Self::InUse => cargo::cargo(folder, "build", target_dir),
            Self::Debian => {
                let mut command = Command::new(DEBIAN_CARGO);
                command.arg("build").current_dir(folder).stdin(Stdio::null());
                cargo::clean(&mut command)
                    .env_remove("CARGO")
                    .env_remove("RUSTUP_TOOLCHAIN")
                    .env_remove("CARGO_ENCODED_RUSTFLAGS")
                    .env("RUSTC", DEBIAN_RUSTC)
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("RUSTFLAGS", format!("-L native={DEBIAN_LIBC}"))
                    .arg("-Zbuild-std=std,panic_abort")
                    .arg("--target-dir")
                    .arg(target_dir);
                command
            }
        };
        command.args(["--release", "--target", TARGET]);
        command
    }
}

const RECIPES: &str = "\
Either of these helps:
  1. rustup target add wasm32-wasip2
  2. on Debian, as root:
     apt-get install -y rustc-web cargo-web rust-web-src lld-22 wasi-libc
     (cargo xtask then builds guests with
     RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS=\"-L native=/usr/lib/wasm32-wasi\" \\
     /usr/bin/cargo build --release -Zbuild-std=std,panic_abort --target wasm32-wasip2)";

fn in_use(folder: &Path) -> Result<()> {
    if has_target(folder)? {
        return Ok(());
    }
    announce("the Rust in use has no target wasm32-wasip2: trying `rustup target add`");
    let mut rustup = Command::new("rustup");
    cargo::run(rustup.args(["target", "add", TARGET]).current_dir(folder))?;
    if !has_target(folder)? {
        bail!("`rustup target add {TARGET}` changed nothing for the Rust in use");
    }
    Ok(())
}

/// Whether the compiler that cargo would call has a standard library for the target.
fn has_target(folder: &Path) -> Result<bool> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not run {}", rustc.display()))?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    Ok(output.status.success() && holds(&libraries, "libstd-"))
}

fn holds(folder: &Path, prefix: &str) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
}

fn debian() -> Result<()> {
    if missing_from_debian().is_none() {
        return Ok(());
    }
    debian::install(&DEBIAN_PACKAGES)?;
    missing_from_debian().map_or(Ok(()), |missing| bail!("{missing} is still missing"))
}

/// The first missing prerequisite.
fn missing_from_debian() -> Option<String> {
    for file in [DEBIAN_CARGO, DEBIAN_RUSTC, DEBIAN_LIBC] {
        if !Path::new(file).exists() {
            return Some(file.to_owned());
        }
    }
    let output = Command::new(DEBIAN_RUSTC)
        .args(["--print", "sysroot"])
        .env_remove("RUSTUP_TOOLCHAIN")
        .output()
        .ok()?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let source = sysroot.join("lib/rustlib/src/rust/library/Cargo.toml");
    (!source.exists()).then(|| source.display().to_string())
}
