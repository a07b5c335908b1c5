//! The browser for tests of the page: Chromium and its driver, as Debian packages them.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::debian;

/// The driver; it finds the browser.
const DRIVER: &str = "chromedriver";
const DEBIAN_PACKAGES: [&str; 2] = ["chromium", "chromium-driver"];

/// Finds a browser, or installs it.
///
/// # Errors
/// There is none, and it can't be installed.
pub(crate) fn find() -> Result<()> {
    if !is_there() {
        debian::install(&DEBIAN_PACKAGES)?;
        if !is_there() {
            bail!("{DRIVER} is still missing");
        }
    }
    Ok(())
}

fn is_there() -> bool {
    let mut version = Command::new(DRIVER);
    version.arg("--version").stdin(Stdio::null()).stdout(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}
