//! The `usher` command line: run a verb to its end, with a deadline.

use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::artefacts::usher_binary;
use crate::wait::wait_for;

/// What became of one call.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Finished {
    /// stdout as JSON.
    ///
    /// # Errors
    /// It is something else; the error shows it and stderr.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("not JSON: {self:?}"))
    }

    /// stdout as one JSON value a line.
    ///
    /// # Errors
    /// It is something else; the error shows it and stderr.
    pub fn json_lines(&self) -> Result<Vec<Value>> {
        let lines = self.stdout.lines().map(serde_json::from_str).collect::<Result<_, _>>();
        lines.with_context(|| format!("not JSON lines: {self:?}"))
    }
}

/// Runs the binary under test with these arguments and this on its stdin, until it exits.
///
/// # Errors
/// It can't be started or does not end; it is killed then.
pub fn usher<A: AsRef<OsStr>>(args: &[A], stdin: &[u8]) -> Result<Finished> {
    let mut child = Command::new(usher_binary()?)
        .args(args)
        .env_remove("USHER_LOG")
        .env_remove("USHER_URL")
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting usher")?;
    let mut input = child.stdin.take().context("no stdin")?;
    let given = stdin.to_vec();
    // A process that exits without reading its stdin breaks the pipe: no concern of ours.
    let writer = thread::spawn(move || drop(input.write_all(&given)));
    let stdout = collect(child.stdout.take().context("no stdout")?);
    let stderr = collect(child.stderr.take().context("no stderr")?);
    let status = wait_for("usher to exit", || Ok(child.try_wait()?));
    if status.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let joined = "a reader thread panicked";
    writer.join().map_err(|_| anyhow::anyhow!(joined))?;
    let stdout = stdout.join().map_err(|_| anyhow::anyhow!(joined))?;
    let stderr = stderr.join().map_err(|_| anyhow::anyhow!(joined))?;
    let code = status.with_context(|| format!("stderr: {stderr}"))?.code().unwrap_or(-1);
    Ok(Finished { code, stdout, stderr })
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still what the process wrote.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
