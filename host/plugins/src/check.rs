//! `usher check`: loads every file in the plugins folder as the router would, without serving any.

use std::collections::BTreeMap;

use usher_broker::Subscription;
use usher_event::PluginName;
use usher_runtime::{CompileBudget, Loaded, Runtime};

use super::folder::{self, Scanned, Unreadable};
use super::subscriptions::{Merged, merge};
use crate::sandbox;
use usher_config::Config;

/// Result of checking one plugin file.
pub struct FileCheck {
    /// Its name in the plugins folder.
    pub file: String,
    /// The plugin, or why the file would be refused.
    pub result: Result<Loaded, String>,
    /// Subscriptions it would serve.
    pub subscriptions: Vec<Subscription>,
    /// Settings for it that would have no effect.
    pub warnings: Vec<String>,
}

/// Checks every file in the plugins folder, by name.
///
/// # Errors
/// The folder can't be read, or the sandbox can't be set up.
pub async fn check_folder(config: &Config) -> anyhow::Result<Vec<FileCheck>> {
    let Scanned { files, misnamed } = folder::scan(&config.plugins)
        .map_err(|error| anyhow::anyhow!("{}: {error}", config.plugins.display()))?;
    let runtime = sandbox::set_up_to_look(config.compiler)?;
    let mut owners: BTreeMap<PluginName, String> = BTreeMap::new();
    let mut checks = Vec::with_capacity(files.len() + misnamed.len());
    for file in misnamed {
        let result = Err(folder::misnamed(&file));
        checks.push(FileCheck { file, result, subscriptions: Vec::new(), warnings: Vec::new() });
    }
    for file in files.into_keys() {
        let mut merged = Merged::default();
        let result = match check_file(&runtime, config, &file).await {
            Ok((loaded, found)) => {
                merged.warnings = found.warnings;
                let name = loaded.description().name.clone();
                match owners.get(&name) {
                    Some(owner) => Err(taken(&file, &name, owner)),
                    None => {
                        owners.insert(name, file.clone());
                        merged.subscriptions = found.subscriptions;
                        Ok(loaded)
                    }
                }
            }
            Err(reason) => Err(reason),
        };
        let Merged { subscriptions, warnings } = merged;
        checks.push(FileCheck { file, result, subscriptions, warnings });
    }
    Ok(checks)
}

/// The reason for refusing a file whose plugin belongs to another file, earlier by name.
pub(super) fn taken(file: &str, name: &PluginName, owner: &str) -> String {
    format!(
        "{file} says it is plugin {name}, but that name is taken by {owner}, which comes first by name: \
         remove one of them, or give the plugin in {file} another name"
    )
}

async fn check_file(
    runtime: &Runtime,
    config: &Config,
    file: &str,
) -> Result<(Loaded, Merged), String> {
    let content = folder::read(&config.plugins.join(file)).map_err(|error| match error {
        Unreadable::Changed => format!("{file} is being written; check again"),
        Unreadable::Refused(reason) | Unreadable::Failed(reason) => format!("{file} {reason}"),
    })?;
    let loaded = runtime.load(content.bytes, file, CompileBudget::Patient).await;
    let loaded = loaded.map_err(|error| error.to_string())?;
    let description = loaded.description();
    let plugin = config.plugin.get(&description.name).cloned().unwrap_or_default();
    let merged = merge(&description.name, &description.subscriptions, &plugin, &config.retry)?;
    Ok((loaded, merged))
}
