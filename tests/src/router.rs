//! The real router as a child process: start, stop, kill, restart.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::artefacts::usher_binary;
use crate::folder::Folder;
use crate::http::Client;
use crate::log::Log;
use crate::wait::wait_for;

/// `usher run` on this folder.
fn run(binary: &Path, folder: &Folder) -> Command {
    let mut command = Command::new(binary);
    command.args(["run", "--config"]).arg(folder.config());
    command
}

/// A running `usher run`. Killed when dropped or when the thread that started it ends.
#[derive(Debug)]
pub struct Router {
    child: Child,
    log: Log,
    client: Client,
}

impl Router {
    /// Starts the binary under test on this folder and waits until it is ready.
    ///
    /// # Errors
    /// It didn't become ready; the error includes the end of its log.
    pub fn start(folder: &Folder) -> Result<Self> {
        Self::start_with(&usher_binary()?, folder, &[])
    }

    /// Starts `binary` with extra environment variables.
    ///
    /// # Errors
    /// It didn't become ready; the error includes the end of its log.
    pub fn start_with(binary: &Path, folder: &Folder, env: &[(&str, &str)]) -> Result<Self> {
        let mut command = run(binary, folder);
        command.envs(env.iter().copied());
        Self::start_command(command, folder)
    }

    /// Starts the binary under test on this folder and waits until it listens, ready or not.
    ///
    /// # Errors
    /// It didn't come up; the error includes the end of its log.
    pub fn start_unready(folder: &Folder) -> Result<Self> {
        Self::start_unready_with(&usher_binary()?, folder)
    }

    /// Starts `binary` and waits until it listens, ready or not.
    ///
    /// # Errors
    /// It didn't come up; the error includes the end of its log.
    pub fn start_unready_with(binary: &Path, folder: &Folder) -> Result<Self> {
        Self::listen(run(binary, folder), folder)
    }

    /// Starts a command that runs a router with a JSON log, in this folder.
    ///
    /// # Errors
    /// It didn't become ready; the error includes the end of its log.
    pub fn start_command(command: Command, folder: &Folder) -> Result<Self> {
        let router = Self::listen(command, folder)?;
        wait_for("the router to be ready", || {
            Ok((router.client.get("/readyz")?.status == 200).then_some(()))
        })?;
        Ok(router)
    }

    fn listen(mut command: Command, folder: &Folder) -> Result<Self> {
        // Variables set on the command itself are kept.
        for key in ["USHER_LOG", "USHER_URL", "RUST_LOG"] {
            if !command.get_envs().any(|(set, _)| set == key) {
                command.env_remove(key);
            }
        }
        // Ctrl-C in the terminal must reach the harness only, which then stops the router; the
        // router takes a second signal as an order to abort.
        command.process_group(0);
        die_with_parent(&mut command);
        let mut child = command
            .current_dir(folder.root())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        let stderr = child.stderr.take().context("the child has no stderr")?;
        let log = Log::follow(stderr, &folder.root().join("router.log"))?;
        let Some(url) = log.wait_for(listening) else {
            let tail = log.tail(30);
            let _ = child.kill();
            let status = child.wait()?;
            bail!("the router did not start listening ({status}):\n{tail}");
        };
        Ok(Self { child, log, client: Client::new(url) })
    }

    /// A client for this router.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        self.client.base()
    }

    /// Its process id.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM without waiting.
    ///
    /// # Errors
    /// The signal can't be sent.
    pub fn terminate(&self) -> Result<()> {
        terminate(self.child.id())
    }

    /// Waits for the process to exit.
    ///
    /// # Errors
    /// It didn't exit in time.
    pub fn exited(&mut self) -> Result<ExitStatus> {
        let status = wait_for("the router to exit", || Ok(self.child.try_wait()?))?;
        self.log.finish();
        Ok(status)
    }

    /// Sends SIGTERM and waits for the process to exit.
    ///
    /// # Errors
    /// It didn't exit in time, or with a code other than 0; the error includes the end of its log.
    pub fn stop(mut self) -> Result<()> {
        self.terminate()?;
        let status = self.exited()?;
        if !status.success() {
            bail!("the router ended with {status}:\n{}", self.log.tail(30));
        }
        Ok(())
    }

    /// Sends SIGKILL and waits for the process to exit.
    ///
    /// # Errors
    /// The process can't be killed.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.exited().map(drop)
    }

    /// Waits until it listens at a place that starts with this, such as `https://`.
    ///
    /// # Errors
    /// It does not.
    pub fn listening(&self, start: &str) -> Result<String> {
        self.wait_for_log(start, |line| listening(line).filter(|url| url.starts_with(start)))
    }

    /// Waits for a log line that `find` recognises, including past lines.
    ///
    /// # Errors
    /// There was none; the error includes the end of the log.
    pub fn wait_for_log<T>(&self, what: &str, find: impl Fn(&Value) -> Option<T>) -> Result<T> {
        self.log
            .wait_for(find)
            .with_context(|| format!("no log line with {what}:\n{}", self.log.tail(30)))
    }

    /// The newest log lines, for error messages.
    pub fn log_tail(&self, lines: usize) -> String {
        self.log.tail(lines)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // Both fail only if the process has already exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.log.finish();
    }
}

/// Sends a signal to a process.
pub(crate) fn send(process: u32, signal: Signal) -> Result<()> {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    let process = process.context("no such process id")?;
    kill_process(process, signal).with_context(|| format!("sending {signal:?}"))
}

/// Sends SIGSTOP and waits until no thread of the process runs.
pub(crate) fn freeze(process: u32) -> Result<()> {
    send(process, Signal::STOP)?;
    let tasks = Path::new("/proc").join(process.to_string()).join("task");
    wait_for("every thread to stop", || {
        for task in fs::read_dir(&tasks)? {
            // A thread that has exited no longer runs.
            let Ok(stat) = fs::read_to_string(task?.path().join("stat")) else { continue };
            let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
            if !state.is_some_and(|state| "TtZX".contains(state)) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
}

/// Kills the child when the thread that started it ends: it has a process group of its own, so
/// signals to the harness don't reach it.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "the child has to ask for it itself, before it becomes the router")]
pub(crate) fn die_with_parent(command: &mut Command) {
    let ask = || Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?);
    // SAFETY: between fork and exec, only async-signal-safe operations are allowed. `ask` makes one
    // system call; it doesn't allocate, takes no lock and touches no shared memory.
    unsafe { command.pre_exec(ask) };
}

/// Not supported on other systems.
#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with_parent(_: &mut Command) {}

/// The URL in the log line `listening`.
pub(crate) fn listening(line: &Value) -> Option<String> {
    let fields = line.get("fields")?;
    let listening = fields.get("message")?.as_str()? == "listening";
    listening.then(|| fields.get("url")?.as_str().map(ToOwned::to_owned))?
}

/// Sends a process SIGTERM.
pub(crate) fn terminate(process: u32) -> Result<()> {
    send(process, Signal::TERM)
}
