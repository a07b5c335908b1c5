//! A row of the catalogue as an executable test: its plugins, what makes them misbehave, and what
//! must be observed.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::stage::Stage;
use super::text::Text;

/// Default limit on memory growth after a row: warm memory of an instance or two, and the log's
/// pages.
const GROWTH_MAX_BYTES: u64 = 48 * 1024 * 1024;

/// A row of the catalogue.
pub(crate) struct Row {
    /// Its number in the catalogue.
    pub(crate) number: u8,
    /// What the plugin tries.
    pub(crate) tries: &'static str,
    /// What must happen.
    pub(crate) expected: &'static str,
    /// Limit on memory growth after the row, in bytes.
    pub(crate) growth_max_bytes: u64,
    /// Trials; all of them run.
    pub(crate) trials: Vec<Trial>,
}

impl Row {
    /// A row with these trials.
    pub(crate) fn new(
        number: u8,
        tries: &'static str,
        expected: &'static str,
        trials: impl Into<Vec<Trial>>,
    ) -> Self {
        let trials = trials.into();
        Self { number, tries, expected, growth_max_bytes: GROWTH_MAX_BYTES, trials }
    }

    /// The names of its plugins, by trial. All have the same length, because some are patched into
    /// a component.
    pub(crate) fn names(&self) -> Vec<Vec<String>> {
        let mut letters = 'a'..='z';
        let mut name = || {
            let letter = letters.next().unwrap_or('?');
            format!("row-{:02}-{letter}", self.number)
        };
        let of = |trial: &Trial| trial.plugins().iter().map(|_| name()).collect();
        self.trials.iter().map(of).collect()
    }
}

/// A trial of a row.
pub(crate) enum Trial {
    /// A plugin serves, and events make it misbehave.
    Events(Plugin, Vec<(Value, Must)>),
    /// A plugin serves; its file is replaced by a bad one, which must be refused while the plugin
    /// keeps serving.
    File(BadFile),
    /// Anything more complex.
    Play(Vec<Plugin>, Play),
}

/// Takes the names of its plugins; returns what was observed, or fails if it isn't as expected.
pub(crate) type Play = Box<dyn Fn(&Stage, &[String]) -> Result<String>>;

impl Trial {
    /// The plugins that serve at the start.
    pub(crate) fn plugins(&self) -> &[Plugin] {
        match self {
            Self::Events(plugin, _) => std::slice::from_ref(plugin),
            Self::File(file) => std::slice::from_ref(&file.before),
            Self::Play(plugins, _) => plugins,
        }
    }
}

/// A plugin with its configuration.
pub(crate) struct Plugin {
    pub(crate) component: Component,
    /// Configuration tables; `NAME` is replaced by the plugin's name.
    pub(crate) config: String,
}

/// Source of a component.
pub(crate) enum Component {
    /// WebAssembly text.
    Text(Box<Text>),
    /// The guest `hostile`, renamed.
    Rust,
}

/// Expected result of an event.
pub(crate) enum Must {
    /// A dead letter; each attempt fails with this class and a reason that contains this text.
    Fail(&'static str, &'static str),
    /// Acked at the first attempt.
    Ack,
    /// Acked at the first attempt; the first emission's data satisfies the predicate.
    Emit(Box<dyn Fn(&Value) -> bool>),
}

/// A file that must be refused.
pub(crate) struct BadFile {
    /// The plugin that serves before and after.
    pub(crate) before: Plugin,
    /// Makes the file.
    pub(crate) make: MakeFile,
    /// Texts the reason must contain.
    pub(crate) says: &'static [&'static str],
}

/// Makes a file at this path, beside the plugin of this name. It then takes the plugin's place in one
/// step: a router that looked in between would see the plugin removed.
pub(crate) type MakeFile = Box<dyn Fn(&Path, &str) -> Result<()>>;

impl Plugin {
    /// A plugin written as text.
    pub(crate) fn text(text: Text) -> Self {
        Self { component: Component::Text(Box::new(text)), config: String::new() }
    }

    /// The guest `hostile`.
    pub(crate) fn rust() -> Self {
        Self { component: Component::Rust, config: String::new() }
    }

    /// Adds configuration tables; `NAME` is replaced by the plugin's name.
    pub(crate) fn with(mut self, tables: &str) -> Self {
        self.config.push_str(tables);
        self.config.push('\n');
        self
    }
}

/// A plugin that misbehaves on any event.
pub(crate) fn always(text: Text, must: Must) -> Trial {
    Trial::Events(Plugin::text(text), vec![(Value::Null, must)])
}

/// Like [`always`], with configuration tables.
pub(crate) fn always_with(text: Text, tables: &str, must: Must) -> Trial {
    Trial::Events(Plugin::text(text).with(tables), vec![(Value::Null, must)])
}

/// Replaces a serving plugin's file by these bytes, which must be refused.
pub(crate) fn refused(
    bytes: impl Fn(&str) -> Result<Vec<u8>> + 'static,
    says: &'static [&'static str],
) -> Trial {
    placed(move |path, name| Ok(std::fs::write(path, bytes(name)?)?), says)
}

/// Replaces a serving plugin's file by anything that `make` makes.
pub(crate) fn placed(
    make: impl Fn(&Path, &str) -> Result<()> + 'static,
    says: &'static [&'static str],
) -> Trial {
    Trial::File(BadFile { before: Plugin::text(Text::default()), make: Box::new(make), says })
}

/// A trial with custom logic.
pub(crate) fn play(
    plugins: impl Into<Vec<Plugin>>,
    play: impl Fn(&Stage, &[String]) -> Result<String> + 'static,
) -> Trial {
    Trial::Play(plugins.into(), Box::new(play))
}
