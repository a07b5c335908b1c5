//! The router of `usher dev`: this program again, with folders of its own, its log read as JSON.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use usher_api::{StreamQuery, routes};
use usher_author::Project;
use usher_cli::ui::CliError;
use usher_client::{Client, Outcome, Streamed};
use usher_plugins::sandbox;

use super::message::Message;

/// The operator's configuration, where the project has one.
const CONFIG: &str = "usher.toml";
/// How long to wait before the event stream is opened again.
const AGAIN: Duration = Duration::from_millis(200);

/// The router; it is stopped when dropped.
pub(super) struct Child {
    process: process::Child,
}

impl Child {
    /// Starts it. Its log lines and events become messages.
    pub(super) fn start(
        project: &Project,
        data: &Path,
        plugins: &Path,
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
        let client = Client::new(url);
        let mut next = 1;
        loop {
            let query = StreamQuery { from: Some(next), ..StreamQuery::default() };
            let stream = client.call(routes::STREAM, &[]).query(&query).stream();
            if let Ok(Outcome::Done(mut stream)) = stream {
                while let Ok(Some(streamed)) = stream.read() {
                    let Streamed::Event { data, .. } = streamed else { continue };
                    let Ok(stored) = serde_json::from_str::<usher_api::Stored>(&data) else {
                        continue;
                    };
                    next = stored.sequence.saturating_add(1);
                    if sender.send(Message::Event(Box::new(stored))).is_err() {
                        return;
                    }
                }
            }
            thread::sleep(AGAIN);
        }
    });
}
