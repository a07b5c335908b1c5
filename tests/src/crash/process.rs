//! The router as a process that can be killed at any moment, including before it is ready.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::folder::Folder;
use crate::http::Client;
use crate::log::Log;
use crate::router::{die_with_parent, freeze, listening, send};
use crate::wait::poll;

/// Polling interval. Shorter than the harness's default: a round has many waits.
const PAUSE: Duration = Duration::from_millis(3);

/// Polls `look` until it returns a value.
pub(super) fn wait_for<T>(what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    poll(what, PAUSE, look)
}

/// A router. Killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: Log,
}

impl Process {
    /// Starts the binary in this folder without waiting.
    pub(super) fn spawn(binary: &Path, folder: &Folder) -> Result<Self> {
        let mut command = Command::new(binary);
        command.args(["run", "--config"]).arg(folder.config()).current_dir(folder.root());
        for key in ["USHER_LOG", "USHER_URL", "RUST_LOG"] {
            command.env_remove(key);
        }
        die_with_parent(&mut command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let stderr = child.stderr.take().context("the child has no stderr")?;
        let log = Log::follow(stderr, &folder.root().join("router.log"))?;
        Ok(Self { child, log })
    }

    /// Waits until it listens.
    ///
    /// # Errors
    /// It didn't come up; the error includes the end of its log.
    pub(super) fn listening(&self) -> Result<Client> {
        let url = self.log.wait_for(listening);
        let url = url.with_context(|| format!("it did not come up:\n{}", self.log.tail(30)))?;
        Ok(Client::new(url))
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// It didn't come up; the error includes the end of its log.
    pub(super) fn ready(&self) -> Result<Client> {
        let client = self.listening()?;
        // A standby that becomes the owner ends its connections.
        wait_for("the router to be ready", || Ok(client.is_ready().then_some(())))
            .with_context(|| self.log.tail(30))?;
        Ok(client)
    }

    /// The exit status, if the process has exited by itself.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for the process to exit by itself.
    pub(super) fn exited(&mut self) -> Result<ExitStatus> {
        let status = wait_for("the router to exit", || Ok(self.child.try_wait()?))?;
        self.log.finish();
        Ok(status)
    }

    /// Sends SIGTERM.
    pub(super) fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Sends SIGSTOP and waits until no thread runs, or the process has exited.
    pub(super) fn freeze(&mut self) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        freeze(self.child.id())
    }

    /// Sends SIGCONT.
    pub(super) fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        send(self.child.id(), signal)
    }

    /// Sends SIGKILL; returns the status if the process had exited before.
    pub(super) fn kill(&mut self) -> Result<Option<ExitStatus>> {
        let before = self.ended()?;
        self.child.kill()?;
        self.child.wait()?;
        self.log.finish();
        Ok(before)
    }

    /// Number of log lines.
    pub(super) fn logged(&self) -> usize {
        self.log.count()
    }

    /// Waits until it has logged this many lines in total, or the log ended.
    pub(super) fn wait_for_lines(&self, count: usize) {
        self.log.wait_for_count(count);
    }

    /// The newest log lines.
    pub(super) fn tail(&self, lines: usize) -> String {
        self.log.tail(lines)
    }

    /// The log lines around a panic of the host, if there was one.
    pub(super) fn panic(&self) -> Option<String> {
        let all = self.log.tail(usize::MAX);
        let lines: Vec<&str> = all.lines().collect();
        let at = lines.iter().position(|line| line.contains("panicked at"))?;
        let around = lines.get(at.saturating_sub(8)..lines.len().min(at + 4))?;
        Some(format!("it panicked:\n{}", around.join("\n")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the process has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.log.finish();
    }
}
