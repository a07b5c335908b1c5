//! `usher dev`: builds a plugin at each change, serves it on a router of its own with a data folder
//! that is thrown away, and shows in one stream what happens.
//!
//! Everything that happens is a [`Message`] in one bounded queue, which one thread takes from and
//! prints; the others end with the process.

mod child;
mod message;
mod screen;
mod watch;

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use usher_api::{StateQuery, StateValues, routes};
use usher_author::{BuildError, Project, build};
use usher_cli::ui::{CliError, Output};
use usher_client::Client;
use usher_event::{GivenAnswer, json};
use usher_fixtures::{Fixture, FixtureError};
use usher_runtime::Recompiler;

use super::args::DevArgs;
use super::stop::on_stop;
use crate::run::CACHE;
use child::{Child, Folders};
use message::Message;
use screen::Screen;

/// Messages that may wait; whoever has more waits itself.
const MESSAGES_MAX: usize = 1_024;
/// Events of a sample that are sent together.
const BATCH_EVENTS: usize = 64;
/// How long nothing must happen until state is looked at.
const QUIET: Duration = Duration::from_millis(150);
/// Values of state that are compared.
const STATE_VALUES_MAX: usize = 1_000;

/// Runs `usher dev`.
pub(crate) fn run(args: &DevArgs, out: &mut Output) -> Result<(), CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::new(error.to_string());
    let project = Project::read(&args.folder).map_err(|error| failed(&error))?;
    let (samples, _) = samples(&project);
    let (sender, messages) = sync_channel(MESSAGES_MAX);
    // So that the router is stopped and its folder removed.
    let stop = sender.clone();
    on_stop(move || {
        // Nobody listens any more if this fails.
        let _ = stop.send(Message::Stop);
    })
    .map_err(|error| failed(&error))?;
    read_lines(sender.clone());
    let folder = tempfile::tempdir().map_err(|error| failed(&error))?;
    let within = |name: &str| folder.path().join(name);
    let (data, plugins, stand_ins) = (within("data"), within("plugins"), within("answers.json"));
    let folders = Folders { data, plugins, stand_ins };
    let recompiler = Recompiler::new(&folders.data.join(CACHE)).map_err(|error| failed(&error))?;
    std::fs::create_dir(&folders.plugins).map_err(|error| failed(&error))?;
    let child = Child::start(&project, &folders, &args.listen, sender.clone())?;
    let _watcher = watch::watch(&project, sender).map_err(|error| failed(&error))?;
    let mut session = Session {
        project,
        folders,
        recompiler,
        samples,
        on_change: args.send.clone(),
        client: None,
        state: BTreeMap::new(),
        plugin: None,
        sent: 0,
        built: None,
        screen: Screen::new(out, args.json),
    };
    session.begin()?;
    session.rebuild()?;
    let ended = session.attend(&messages);
    drop(child);
    ended
}

/// What is known while it runs.
struct Session<'a> {
    project: Project,
    /// The router's.
    folders: Folders,
    /// Compiles for the router, which has to assume that it is given anything by anyone.
    recompiler: Recompiler,
    samples: Vec<Fixture>,
    /// The sample that is sent when a new version serves.
    on_change: Option<String>,
    client: Option<Client>,
    /// The plugin's state, as it was last seen.
    state: BTreeMap<(String, String), String>,
    /// The plugin's name, once it has served.
    plugin: Option<String>,
    /// Events sent; makes their ids unique.
    sent: u64,
    /// When the build began whose version does not serve yet.
    built: Option<Instant>,
    screen: Screen<'a>,
}

impl Session<'_> {
    fn begin(&mut self) -> Result<(), CliError> {
        let names: Vec<_> = self.samples.iter().map(|sample| sample.name.clone()).collect();
        self.screen.welcome(&self.project.folder, &names)
    }

    /// Shows and does what the messages say, until the author or the router ends.
    fn attend(&mut self, messages: &Receiver<Message>) -> Result<(), CliError> {
        let mut is_dirty = false;
        loop {
            let message = match messages.recv_timeout(QUIET) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => {
                    if std::mem::take(&mut is_dirty) {
                        self.show_state()?;
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            match message {
                Message::Listening(url) => {
                    self.screen.listening(&url)?;
                    self.client = Some(Client::new(url));
                }
                Message::Log(line) => self.log(&line)?,
                Message::Event(stored) => {
                    is_dirty = true;
                    self.screen.event(&stored)?;
                }
                Message::Changed => self.rebuild()?,
                Message::Line(line) => match line.trim() {
                    "q" | "quit" => return Ok(()),
                    name => self.send(name)?,
                },
                Message::Ended => return Err(CliError::new("the router ended: see above")),
                Message::Stop => return Ok(()),
            }
        }
    }

    fn log(&mut self, line: &Value) -> Result<(), CliError> {
        let fields = &line["fields"];
        if fields["message"] == "plugin serving" {
            self.plugin = fields["plugin"].as_str().map(str::to_owned);
            let took = self.built.take().map(|built| built.elapsed());
            self.screen.serving(fields, took)?;
            if let Some(name) = self.on_change.clone() {
                self.send(&name)?;
            }
            return Ok(());
        }
        self.screen.log(line)
    }

    /// Builds, and hands the component to the router. What doesn't build changes nothing.
    fn rebuild(&mut self) -> Result<(), CliError> {
        let begun = Instant::now();
        self.screen.building()?;
        match Project::read(&self.project.folder) {
            Ok(project) => self.project = project,
            Err(error) => return self.screen.broken(&error.to_string(), ""),
        }
        match build(&self.project, true) {
            Ok(()) => {}
            Err(error) => {
                let output = match &error {
                    BuildError::Failed { output, .. } => output.as_str(),
                    BuildError::Tool { .. } | BuildError::NoComponent(_) => "",
                };
                return self.screen.broken(&error.to_string(), output);
            }
        }
        self.read_samples()?;
        self.stand_in(None)?;
        let plugins = &self.folders.plugins;
        let failed = |error| CliError::new(format!("{}: {error}", plugins.display()));
        let component = std::fs::read(&self.project.component).map_err(failed)?;
        // What can't be compiled is for the router to tell.
        let _ = self.recompiler.compile(&component);
        let name = self.project.component.file_name().unwrap_or_default();
        let served = plugins.join(name);
        let is_same = std::fs::read(&served).is_ok_and(|served| served == component);
        let partial = plugins.with_file_name("next.wasm");
        std::fs::write(&partial, component)
            .and_then(|()| std::fs::rename(&partial, served))
            .map_err(failed)?;
        self.built = Some(begun);
        self.screen.built(begun.elapsed(), is_same)
    }

    /// Reads the samples again, which may have been edited.
    fn read_samples(&mut self) -> Result<(), CliError> {
        let (samples, errors) = samples(&self.project);
        self.samples = samples;
        errors.iter().try_for_each(|error| self.screen.note(&error.to_string()))
    }

    /// Has the HTTP answers of the samples stand in for the servers of their URLs: one sample's own, and
    /// of the others those to requests that it has no answer to.
    fn stand_in(&self, chosen: Option<usize>) -> Result<(), CliError> {
        let answers = |sample: &Fixture| sample.given.http.clone();
        let mut all =
            chosen.and_then(|chosen| self.samples.get(chosen)).map_or(Vec::new(), answers);
        for sample in &self.samples {
            let is_answered = |one: &GivenAnswer| {
                all.iter().any(|known| (&known.method, &known.url) == (&one.method, &one.url))
            };
            let more: Vec<_> =
                answers(sample).into_iter().filter(|one| !is_answered(one)).collect();
            all.extend(more);
        }
        let json = serde_json::to_vec(&all).unwrap_or_default();
        let file = &self.folders.stand_ins;
        if std::fs::read(file).is_ok_and(|before| before == json) {
            return Ok(());
        }
        let partial = file.with_extension("partial");
        std::fs::write(&partial, json)
            .and_then(|()| std::fs::rename(&partial, file))
            .map_err(|error| CliError::new(format!("{}: {error}", file.display())))
    }

    /// Sends the events of a sample: of the first, unless one is named.
    fn send(&mut self, name: &str) -> Result<(), CliError> {
        self.read_samples()?;
        let mut samples = self.samples.iter();
        let found = samples.position(|sample| name.is_empty() || sample.name.starts_with(name));
        self.stand_in(found)?;
        let Some(client) = &self.client else { return Ok(()) };
        let Some(sample) = found.and_then(|found| self.samples.get(found)) else {
            let names: Vec<_> = self.samples.iter().map(|sample| sample.name.clone()).collect();
            return self.screen.no_sample(name, &names);
        };
        for events in sample.events.chunks(BATCH_EVENTS) {
            let mut batch = Vec::with_capacity(events.len());
            for event in events {
                self.sent += 1;
                let mut event: Value =
                    serde_json::from_slice(&json::to_vec(event)).unwrap_or_default();
                if let Some(id) = event.get_mut("id") {
                    *id = format!("dev-{}", self.sent).into();
                }
                batch.push(event);
            }
            let request = client.call(routes::PUBLISH, &[]);
            let batch = Value::from(batch).to_string();
            let request = request.body("application/cloudevents-batch+json", batch);
            if let Err(error) = request.bytes() {
                self.screen.note(&format!("{} was not taken: {error}", sample.name))?;
            }
        }
        Ok(())
    }

    /// Shows what has changed in the plugin's state.
    fn show_state(&mut self) -> Result<(), CliError> {
        let (Some(client), Some(plugin)) = (&self.client, &self.plugin) else { return Ok(()) };
        let query = StateQuery { max: Some(STATE_VALUES_MAX), ..StateQuery::default() };
        let values = client.call(routes::PLUGIN_STATE, &[plugin]).query(&query);
        // Best effort: the router may be on its way out.
        let Ok(values) = values.fetch::<StateValues>() else { return Ok(()) };
        let now: BTreeMap<_, _> = values
            .values
            .into_iter()
            .map(|value| {
                let text = screen::value(&value);
                ((value.bucket, value.key), text)
            })
            .collect();
        let before = std::mem::replace(&mut self.state, now);
        self.screen.state(&before, &self.state)
    }
}

/// The project's fixtures: their events are the samples. The errors are of those that can't be read.
fn samples(project: &Project) -> (Vec<Fixture>, Vec<FixtureError>) {
    let found = Fixture::read_all(&project.fixtures).unwrap_or_default();
    let (mut samples, mut errors) = (Vec::new(), Vec::new());
    for one in found {
        match one {
            Ok(sample) => samples.push(sample),
            Err(error) => errors.push(error),
        }
    }
    (samples, errors)
}

/// Hands on what the author enters. The thread ends with the input, or with the process.
fn read_lines(sender: SyncSender<Message>) {
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(Message::Line(line)).is_err() {
                break;
            }
        }
    });
}
