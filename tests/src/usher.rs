//! The `usher` command line: runs a command to completion, with a timeout.

use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::artefacts::usher_binary;
use crate::log::Log;
use crate::wait::wait_for;

/// Result of a command.
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
    /// It isn't JSON; the error includes stdout and stderr.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("not JSON: {self:?}"))
    }

    /// stdout as one JSON value per line.
    ///
    /// # Errors
    /// It isn't JSON lines; the error includes stdout and stderr.
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
    usher_with(args, stdin, &[])
}

/// As [`usher`], with extra environment variables.
///
/// # Errors
/// It can't be started or does not end; it is killed then.
pub fn usher_with<A: AsRef<OsStr>>(
    args: &[A],
    stdin: &[u8],
    env: &[(&str, &str)],
) -> Result<Finished> {
    let mut child = command(args)?
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting usher")?;
    let mut input = child.stdin.take().context("no stdin")?;
    let given = stdin.to_vec();
    // A process that exits without reading stdin closes the pipe; not an error.
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

/// A command running in the background, its stdout followed. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Log,
}

impl Running {
    /// Starts the binary under test with these arguments, its stdout copied to the file `copy`.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start<A: AsRef<OsStr>>(args: &[A], copy: &Path) -> Result<Self> {
        let mut child = command(args)?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting usher")?;
        let stdout = Log::follow(child.stdout.take().context("no stdout")?, copy)?;
        Ok(Self { child, stdout })
    }

    /// Waits for a JSON line on stdout that `find` recognises, including past lines.
    ///
    /// # Errors
    /// There was none; the error includes the end of stdout.
    pub fn wait_for_line<T>(&self, what: &str, find: impl Fn(&Value) -> Option<T>) -> Result<T> {
        let tail = || format!("no line with {what}:\n{}", self.stdout.tail(30));
        self.stdout.wait_for(find).with_context(tail)
    }

    /// Sends it SIGTERM.
    ///
    /// # Errors
    /// It has exited already.
    pub fn terminate(&self) -> Result<()> {
        crate::router::terminate(self.child.id())
    }

    /// Waits for it to exit; returns the exit code, -1 if killed by a signal.
    ///
    /// # Errors
    /// It didn't exit in time.
    pub fn exited(&mut self) -> Result<i32> {
        let status = wait_for("usher to exit", || Ok(self.child.try_wait()?))?;
        self.stdout.finish();
        Ok(status.code().unwrap_or(-1))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if the process has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stdout.finish();
    }
}

fn command<A: AsRef<OsStr>>(args: &[A]) -> Result<Command> {
    let mut command = Command::new(usher_binary()?);
    command.args(args).env_remove("USHER_LOG").env_remove("USHER_URL").env_remove("RUST_LOG");
    Ok(command)
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // Keep what was read before an error.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
