//! What the Debian package installs.

use std::fs;
use std::process::Command;

use anyhow::Result;
use usher_tests::{Folder, repository, usher};

#[test]
fn the_packaged_configuration_is_valid() -> Result<()> {
    let packaged = fs::read_to_string(repository().join("packaging/usher.toml"))?;
    let folder = Folder::new()?;
    let moved = packaged.replace("/var/lib/usher", &folder.root().display().to_string());
    assert_ne!(moved, packaged);
    fs::write(folder.config(), moved)?;
    let checked = usher(&["check", "--config", folder.config().to_str().unwrap()], b"")?;
    assert_eq!(checked.code, 0, "{checked:?}");
    Ok(())
}

/// The score of `systemd-analyze security`, in tenths: 0 is a service that can do nothing.
const EXPOSURE_MAX_TENTHS: &str = "20";

#[test]
fn the_unit_is_hardened() -> Result<()> {
    let unit = repository().join("packaging/usher.service");
    let threshold = format!("--threshold={EXPOSURE_MAX_TENTHS}");
    let mut analyze = Command::new("systemd-analyze");
    match analyze.args(["security", "--offline=true", &threshold]).arg(unit).output() {
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{told}");
        }
        Err(error) => println!("left out: systemd-analyze can't be started: {error}"),
    }
    Ok(())
}
