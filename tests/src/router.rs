//! The real router as a child process: started, found, stopped, killed, started again.

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

/// A running `usher run`. Killed when dropped, and when the thread that started it is no more.
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
    /// It did not come up; the error shows the end of its log.
    pub fn start(folder: &Folder) -> Result<Self> {
        Self::start_with(&usher_binary()?, folder, &[])
    }

    /// Starts `binary` with extra environment variables.
    ///
    /// # Errors
    /// It did not come up; the error shows the end of its log.
    pub fn start_with(binary: &Path, folder: &Folder, env: &[(&str, &str)]) -> Result<Self> {
        let mut command = Command::new(binary);
        command.args(["run", "--config"]).arg(folder.config()).envs(env.iter().copied());
        Self::start_command(command, folder)
    }

    /// Starts the binary under test on this folder and waits until it listens, ready or not.
    ///
    /// # Errors
    /// It did not come up; the error shows the end of its log.
    pub fn start_unready(folder: &Folder) -> Result<Self> {
        let mut command = Command::new(usher_binary()?);
        command.args(["run", "--config"]).arg(folder.config());
        Self::listen(command, folder)
    }

    /// Starts any command that becomes a router with a log in JSON, in this folder.
    ///
    /// # Errors
    /// It did not come up; the error shows the end of its log.
    pub fn start_command(command: Command, folder: &Folder) -> Result<Self> {
        let router = Self::listen(command, folder)?;
        wait_for("the router to be ready", || {
            Ok((router.client.get("/readyz")?.status == 200).then_some(()))
        })?;
        Ok(router)
    }

    fn listen(mut command: Command, folder: &Folder) -> Result<Self> {
        // What the command sets itself stays as it is.
        for key in ["USHER_LOG", "USHER_URL", "RUST_LOG"] {
            if !command.get_envs().any(|(set, _)| set == key) {
                command.env_remove(key);
            }
        }
        // Ctrl-C at the terminal is for the harness alone, which then stops the router as it sees
        // fit: of two signals the router takes the second as an order to drop everything.
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
        let Some(address) = log.wait_for(listening) else {
            let tail = log.tail(30);
            let _ = child.kill();
            let status = child.wait()?;
            bail!("the router did not start listening ({status}):\n{tail}");
        };
        Ok(Self { child, log, client: Client::new(format!("http://{address}")) })
    }

    /// A client for it.
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

    /// Asks it to stop (SIGTERM), without waiting.
    ///
    /// # Errors
    /// The signal can't be sent.
    pub fn terminate(&self) -> Result<()> {
        let process = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(process.context("no such process id")?, Signal::TERM).context("SIGTERM")
    }

    /// Waits until it has exited.
    ///
    /// # Errors
    /// It did not.
    pub fn exited(&mut self) -> Result<ExitStatus> {
        let status = wait_for("the router to exit", || Ok(self.child.try_wait()?))?;
        self.log.finish();
        Ok(status)
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Errors
    /// It did not, or with another code than 0; the error shows the end of its log.
    pub fn stop(mut self) -> Result<()> {
        self.terminate()?;
        let status = self.exited()?;
        if !status.success() {
            bail!("the router ended with {status}:\n{}", self.log.tail(30));
        }
        Ok(())
    }

    /// Ends it on the spot (SIGKILL): it gets no chance to do anything more.
    ///
    /// # Errors
    /// It can't be killed.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.exited().map(drop)
    }

    /// Waits for a line of the log that `find` recognises, those that came before included.
    ///
    /// # Errors
    /// There was none; the error shows the end of the log.
    pub fn wait_for_log<T>(&self, what: &str, find: impl Fn(&Value) -> Option<T>) -> Result<T> {
        self.log
            .wait_for(find)
            .with_context(|| format!("no log line with {what}:\n{}", self.log.tail(30)))
    }

    /// The newest lines of its log, for an error.
    pub fn log_tail(&self, lines: usize) -> String {
        self.log.tail(lines)
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.log.finish();
    }
}

/// Has the child killed when the thread that starts it ends: without a process group in common,
/// what ends the harness would not reach it.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "the child has to ask for it itself, before it becomes the router")]
pub(crate) fn die_with_parent(command: &mut Command) {
    let ask = || Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?);
    // SAFETY: between fork and exec only what is safe in a signal handler may be done. `ask` makes
    // one system call; it allocates nothing, takes no lock and touches no memory but its own.
    unsafe { command.pre_exec(ask) };
}

/// Other systems have no such thing.
#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with_parent(_: &mut Command) {}

/// The address in the log line that tells it.
pub(crate) fn listening(line: &Value) -> Option<String> {
    let fields = line.get("fields")?;
    let listening = fields.get("message")?.as_str()? == "listening";
    listening.then(|| fields.get("address")?.as_str().map(ToOwned::to_owned))?
}
