//! Command-line flags. Each but `--config` is also a key of the configuration file.

use std::path::{Path, PathBuf};

use super::LogFormat;

/// Settings from the command line; they override the configuration file.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// Where the HTTP API listens; may be repeated. ADDRESS:PORT, with http:// or https:// in front
    /// if need be, or unix:PATH. Port 0 picks a free port.
    #[arg(long, value_name = "WHERE")]
    pub listen: Vec<String>,
    /// The data folder: the event log and all other persistent state. Created if missing. `data` in
    /// the current folder, unless --config or --plugins is given or usher.toml is there.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The plugins folder: every .wasm file in it is loaded, and reloaded when it changes. `plugins`
    /// in the current folder, under the same conditions as --data.
    #[arg(long, value_name = "DIR")]
    pub plugins: Option<PathBuf>,
    /// The configuration file. usher.toml in the current folder if it is there, unless --data or
    /// --plugins is given.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Log filter: error, warn, info, debug, trace, or a list such as info,plugin=debug.
    #[arg(long, value_name = "FILTER", env = "USHER_LOG")]
    pub log: Option<String>,
    /// Log format.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Time for deliveries in flight to finish at shutdown and hot swap, in milliseconds.
    #[arg(long, value_name = "MS")]
    pub drain_ms: Option<u64>,
}

/// The configuration file that is used if nothing else is named.
const FILE_DEFAULT: &str = "usher.toml";
/// The folders that are used if nothing names others.
const DATA_DEFAULT: &str = "data";
const PLUGINS_DEFAULT: &str = "plugins";

impl Flags {
    /// What to use where neither a configuration file nor a folder is named: `usher.toml` in
    /// `folder` if there is one, else the folders `data` and `plugins` in it. The second value is
    /// true for these folders, which may not exist yet.
    pub fn resolved_in(&self, folder: &Path) -> (Self, bool) {
        if self.config.is_some() || self.data.is_some() || self.plugins.is_some() {
            return (self.clone(), false);
        }
        let file = folder.join(FILE_DEFAULT);
        if file.exists() {
            return (Self { config: Some(file), ..self.clone() }, false);
        }
        let data = Some(folder.join(DATA_DEFAULT));
        let plugins = Some(folder.join(PLUGINS_DEFAULT));
        (Self { data, plugins, ..self.clone() }, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_serves_where_nothing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (bare, are_defaults) = Flags::default().resolved_in(folder);
        let expected = (Some(folder.join("data")), Some(folder.join("plugins")), true);
        assert_eq!((bare.data, bare.plugins, are_defaults), expected);

        let named = Flags { data: Some("elsewhere".into()), ..Flags::default() };
        let (kept, are_defaults) = named.resolved_in(folder);
        assert_eq!((kept.plugins, are_defaults), (None, false));

        std::fs::write(folder.join("usher.toml"), "").unwrap();
        let (filed, are_defaults) = Flags::default().resolved_in(folder);
        let expected = (Some(folder.join("usher.toml")), None, false);
        assert_eq!((filed.config, filed.data, are_defaults), expected);
    }
}
