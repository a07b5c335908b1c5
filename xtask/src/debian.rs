//! Debian's packages, installed where this may.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::cargo;
use crate::style::announce;

/// Installs packages; with fresh package lists, if it doesn't work without.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("this is not Debian");
    }
    if !rustix::process::geteuid().is_root() {
        bail!("its packages are not installed, and only root could do it");
    }
    announce(&format!("trying Debian's packages: {}", packages.join(" ")));
    if get(packages).is_err() {
        announce("once more, with fresh package lists");
        cargo::run(Command::new("apt-get").arg("update"))?;
        get(packages)?;
    }
    Ok(())
}

fn get(packages: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(["install", "-y", "--no-install-recommends"]).args(packages);
    cargo::run(command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()))
}
