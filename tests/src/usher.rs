//! The `usher` command line: run a verb to its end, with a deadline.

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

/// A call that goes on by itself: what it writes is read as it comes. Killed when dropped.
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

    /// Waits for a line of JSON on its stdout that `find` recognises, those that came before
    /// included.
    ///
    /// # Errors
    /// There was none; the error shows the end of its stdout.
    pub fn wait_for_line<T>(&self, what: &str, find: impl Fn(&Value) -> Option<T>) -> Result<T> {
        let tail = || format!("no line with {what}:\n{}", self.stdout.tail(30));
        self.stdout.wait_for(find).with_context(tail)
    }

    /// Waits until it has exited; answers its code, -1 if a signal ended it.
    ///
    /// # Errors
    /// It did not.
    pub fn exited(&mut self) -> Result<i32> {
        let status = wait_for("usher to exit", || Ok(self.child.try_wait()?))?;
        self.stdout.finish();
        Ok(status.code().unwrap_or(-1))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
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
        // What was read before an error is still what the process wrote.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
