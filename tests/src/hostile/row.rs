//! One row of the catalogue, as it is tried: which plugins it takes, what makes them misbehave, and
//! what must be seen of it.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::stage::Stage;
use super::text::Text;

/// How much more memory the router may have after a row, unless the row says otherwise: what is
/// kept warm of an instance or two, and the log's pages.
const GROWTH_MAX_BYTES: u64 = 48 * 1024 * 1024;

/// One row.
pub(crate) struct Row {
    /// Its number in the catalogue.
    pub(crate) number: u8,
    /// What the plugin tries.
    pub(crate) tries: &'static str,
    /// What must happen.
    pub(crate) expected: &'static str,
    /// How much more memory the router may have afterwards.
    pub(crate) growth_max_bytes: u64,
    /// All of these are tried.
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

    /// The names of its plugins, trial by trial. They all have the same length, because some are
    /// written over another's in a component.
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

/// One way to try it.
pub(crate) enum Trial {
    /// A plugin serves, and events make it misbehave.
    Events(Plugin, Vec<(Value, Must)>),
    /// A plugin serves, and a file takes the place of its own that must be refused; it serves on.
    File(BadFile),
    /// What takes more than that.
    Play(Vec<Plugin>, Play),
}

/// Is given the names of its plugins; answers what was seen, or fails where that isn't as it must
/// be.
pub(crate) type Play = Box<dyn Fn(&Stage, &[String]) -> Result<String>>;

impl Trial {
    /// The plugins that serve when it begins.
    pub(crate) fn plugins(&self) -> &[Plugin] {
        match self {
            Self::Events(plugin, _) => std::slice::from_ref(plugin),
            Self::File(file) => std::slice::from_ref(&file.before),
            Self::Play(plugins, _) => plugins,
        }
    }
}

/// A plugin, with what the operator wrote about it.
pub(crate) struct Plugin {
    pub(crate) component: Component,
    /// Tables of the configuration; `NAME` stands for its name.
    pub(crate) config: String,
}

/// Where a component comes from.
pub(crate) enum Component {
    /// Written as text.
    Text(Box<Text>),
    /// The guest `hostile`, under another name.
    Rust,
}

/// What must become of an event.
pub(crate) enum Must {
    /// A dead letter, each attempt of this class and for a reason with these words.
    Fail(&'static str, &'static str),
    /// Done at its first attempt.
    Ack,
    /// Done at its first attempt, and the first emission's data is so.
    Emit(Box<dyn Fn(&Value) -> bool>),
}

/// A file that must be refused.
pub(crate) struct BadFile {
    /// What serves before, and after.
    pub(crate) before: Plugin,
    /// Puts the file there; is given its place and the plugin's name.
    pub(crate) put: PutFile,
    /// Words of the reason.
    pub(crate) says: &'static [&'static str],
}

/// Puts a file into the plugins folder, under this path, for the plugin of this name.
pub(crate) type PutFile = Box<dyn Fn(&Path, &str) -> Result<()>>;

impl Plugin {
    /// A plugin written as text.
    pub(crate) fn text(text: Text) -> Self {
        Self { component: Component::Text(Box::new(text)), config: String::new() }
    }

    /// The guest `hostile`.
    pub(crate) fn rust() -> Self {
        Self { component: Component::Rust, config: String::new() }
    }

    /// Adds tables of the configuration, in which `NAME` stands for its name.
    pub(crate) fn with(mut self, tables: &str) -> Self {
        self.config.push_str(tables);
        self.config.push('\n');
        self
    }
}

/// An event whose data nobody looks at, for a plugin that always misbehaves.
pub(crate) fn always(text: Text, must: Must) -> Trial {
    Trial::Events(Plugin::text(text), vec![(Value::Null, must)])
}

/// As [`always`], with tables of the configuration.
pub(crate) fn always_with(text: Text, tables: &str, must: Must) -> Trial {
    Trial::Events(Plugin::text(text).with(tables), vec![(Value::Null, must)])
}

/// A file with these bytes, in place of one that serves.
pub(crate) fn refused(
    bytes: impl Fn(&str) -> Result<Vec<u8>> + 'static,
    says: &'static [&'static str],
) -> Trial {
    let put = move |path: &Path, name: &str| {
        // Beside and renamed, so that it is whole when it is seen.
        let partial = path.with_extension("partial");
        std::fs::write(&partial, bytes(name)?)?;
        Ok(std::fs::rename(&partial, path)?)
    };
    placed(put, says)
}

/// Anything in place of a file that serves.
pub(crate) fn placed(
    put: impl Fn(&Path, &str) -> Result<()> + 'static,
    says: &'static [&'static str],
) -> Trial {
    Trial::File(BadFile { before: Plugin::text(Text::default()), put: Box::new(put), says })
}

/// Something that takes more than an event or a file.
pub(crate) fn play(
    plugins: impl Into<Vec<Plugin>>,
    play: impl Fn(&Stage, &[String]) -> Result<String> + 'static,
) -> Trial {
    Trial::Play(plugins.into(), Box::new(play))
}
