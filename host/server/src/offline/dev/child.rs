//! The router of `usher dev`: this program again, with folders of its own, its log read as JSON.

use std::io::{BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{self, Command, Stdio};
use std::sync::mpsc::SyncSender;
use std::thread;

use serde_json::Value;
use usher_author::Project;
use usher_cli::Log;
use usher_cli::ui::CliError;
use usher_client::Client;
use usher_plugins::sandbox;

use super::message::Message;

/// The operator's configuration, where the project has one.
const CONFIG: &str = "usher.toml";

/// What it works with.
pub(super) struct Folders {
    pub(super) data: PathBuf,
    pub(super) plugins: PathBuf,
    /// A file: what answers HTTP requests.
    pub(super) stand_ins: PathBuf,
}

/// The router; it is stopped when dropped.
pub(super) struct Child {
    process: process::Child,
}

impl Child {
    /// Starts it. Its log lines and events become messages.
    pub(super) fn start(
        project: &Project,
        Folders { data, plugins, stand_ins }: &Folders,
        listen: &str,
        sender: SyncSender<Message>,
    ) -> Result<Self, CliError> {
        let failed = |error: std::io::Error| CliError::new(format!("starting the router: {error}"));
        let mut command = Command::new(sandbox::program());
        command
            .args(["run", "--log", "info", "--log-format", "json", "--listen", listen])
            .arg("--data")
            .arg(data)
            .arg("--plugins")
            .arg(plugins);
        let config = project.folder.join(CONFIG);
        if config.is_file() {
            command.arg("--config").arg(config);
        }
        let mut process = command
            .env(crate::run::END_WITH_PARENT, "1")
            .env(crate::run::STAND_INS, stand_ins)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(stderr) = process.stderr.take() {
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    // What isn't JSON comes before the log begins: errors of the configuration.
                    let message = serde_json::from_str(&line).unwrap_or_else(
                        |_| serde_json::json!({ "level": "ERROR", "fields": { "message": line } }),
                    );
                    if let Some(url) = message.pointer("/fields/url").and_then(Value::as_str)
                        && message.pointer("/fields/message").is_some_and(|it| it == "listening")
                    {
                        follow(url.to_owned(), sender.clone());
                        if sender.send(Message::Listening(url.to_owned())).is_err() {
                            return;
                        }
                    } else if sender.send(Message::Log(message)).is_err() {
                        return;
                    }
                }
                // Nobody listens any more if this fails.
                let _ = sender.send(Message::Ended);
            });
        }
        Ok(Self { process })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Best effort: it may have ended, and its folder is thrown away.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Follows the log of events; ends with the process.
fn follow(url: String, sender: SyncSender<Message>) {
    thread::spawn(move || {
        let log = Log { client: Client::new(url), type_prefix: None, filter: None };
        // That the router is gone is told by its log.
        let _ = log.follow(1, |stored| {
            let sent = sender.send(Message::Event(Box::new(stored)));
            Ok(if sent.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        });
    });
}
