//! What is known of a plugin file, and in plain words what its imports let it do.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use usher_cli::ui::{paint, style};
use usher_config::Config;
use usher_event::Digest;
use usher_runtime::{About, Loaded, capabilities};

/// Something a plugin's imports let it do, if granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Ability {
    /// A predicate whose subject is the plugin: "keeps state".
    pub(crate) words: &'static str,
    /// The capability that must be granted; `null` if it needs no grant.
    pub(crate) capability: Option<&'static str>,
    /// Whether the given configuration grants it; `null` without a configuration or capability.
    pub(crate) granted: Option<bool>,
}

/// The abilities that `imports` imply. `is_granted` is `None` without a configuration.
fn abilities_of(imports: &[String], is_granted: Option<&dyn Fn(&str) -> bool>) -> Vec<Ability> {
    let mut abilities = Vec::new();
    for About { name: capability, interfaces, ability: words, .. } in capabilities() {
        let uses = |import: &String| interfaces.iter().any(|start| import.starts_with(start));
        if imports.iter().any(uses) {
            let granted = is_granted.zip(capability).map(|(is_granted, name)| is_granted(name));
            abilities.push(Ability { words, capability, granted });
        }
    }
    abilities
}

impl Ability {
    /// The condition under which it works, as text.
    pub(crate) fn condition(&self) -> String {
        match (self.capability, self.granted) {
            (None, _) => "always".to_owned(),
            (Some(name), None) => format!("where {name} is granted"),
            (Some(name), Some(true)) => format!("{name} is granted"),
            (Some(name), Some(false)) => format!("denied: {name} is not granted"),
        }
    }
}

/// The contents of a plugin file; JSON output of `inspect`.
#[derive(Debug, Serialize)]
pub(crate) struct Inspected {
    pub(crate) file: String,
    pub(crate) digest: Digest,
    pub(crate) size_bytes: usize,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) summary: String,
    pub(crate) subscriptions: Vec<Asked>,
    pub(crate) capabilities: Vec<Wanted>,
    pub(crate) abilities: Vec<Ability>,
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
    /// Whether it was built for other hosts: it describes nothing, and asks for no events.
    pub(crate) is_foreign: bool,
}

/// A requested subscription.
#[derive(Debug, Serialize)]
pub(crate) struct Asked {
    pub(crate) name: String,
    pub(crate) filter: Value,
    pub(crate) max_in_flight: Option<u32>,
}

impl Asked {
    /// Its filter and in-flight limit, as text.
    pub(crate) fn words(&self) -> String {
        let most = self.max_in_flight.map(|most| format!(", {most} in flight at most"));
        format!("{}{}", self.filter, most.unwrap_or_default())
    }
}

/// A requested capability.
#[derive(Debug, Serialize)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) reason: String,
}

impl Inspected {
    /// Collects the description of `loaded` and its abilities under `config`.
    pub(crate) fn new(file: &Path, loaded: &Loaded, config: Option<&Config>) -> Self {
        let description = loaded.description();
        let plugin =
            |config: &Config| config.plugin.get(&description.name).cloned().unwrap_or_default();
        let grants = config.map(|config| plugin(config).grants.clone());
        let is_granted = grants.as_ref().map(|grants| |name: &str| grants.contains(name));
        let is_granted = is_granted.as_ref().map(|is_granted| is_granted as &dyn Fn(&str) -> bool);
        Self {
            file: file.display().to_string(),
            digest: loaded.digest(),
            size_bytes: loaded.size_bytes(),
            name: description.name.to_string(),
            version: description.version.clone(),
            summary: description.summary.clone(),
            subscriptions: description
                .subscriptions
                .iter()
                .map(|subscription| Asked {
                    name: subscription.name.clone(),
                    filter: subscription.filter.to_json(),
                    max_in_flight: subscription.max_in_flight,
                })
                .collect(),
            capabilities: description
                .capabilities
                .iter()
                .map(|capability| Wanted {
                    name: capability.name.clone(),
                    reason: capability.reason.clone(),
                })
                .collect(),
            abilities: abilities_of(loaded.imports(), is_granted),
            imports: loaded.imports().to_vec(),
            exports: loaded.exports().to_vec(),
            is_foreign: loaded.is_foreign(),
        }
    }

    /// The plugin's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The author's version.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// A fixture.
    #[cfg(test)]
    pub(crate) fn example() -> Self {
        let wanted = |name: &str| Wanted { name: name.to_owned(), reason: "for work".to_owned() };
        Self {
            file: "printer.wasm".to_owned(),
            digest: Digest::of(b"abc"),
            size_bytes: 2_048,
            name: "printer".to_owned(),
            version: "0.1.0".to_owned(),
            summary: "draws tickets".to_owned(),
            subscriptions: vec![Asked {
                name: "tickets".to_owned(),
                filter: serde_json::json!({"exact": {"type": "t"}}),
                max_in_flight: Some(4),
            }],
            capabilities: vec![wanted("blobs"), wanted("config"), wanted("secrets")],
            abilities: abilities_of(&["usher:plugin/blobs@0.1.0".to_owned()], None),
            imports: vec!["usher:plugin/blobs@0.1.0".to_owned()],
            exports: vec!["usher:plugin/listener@0.1.0".to_owned()],
            is_foreign: false,
        }
    }

    /// A later version of [`Self::example`] with many differences.
    #[cfg(test)]
    pub(crate) fn newer_example() -> Self {
        let wanted =
            |name: &str, reason: &str| Wanted { name: name.to_owned(), reason: reason.to_owned() };
        let asked = |name: &str, ty: &str, max_in_flight| Asked {
            name: name.to_owned(),
            filter: serde_json::json!({"exact": {"type": ty}}),
            max_in_flight,
        };
        let imports = vec!["wasi:http/outgoing-handler@0.2.12".to_owned()];
        Self {
            file: "printer-2.wasm".to_owned(),
            digest: Digest::of(b"abcd"),
            version: "0.2.0".to_owned(),
            subscriptions: vec![asked("tickets", "u", None), asked("refunds", "r", Some(2))],
            capabilities: vec![
                wanted("config", "for more work"),
                wanted("secrets", "for work"),
                wanted("http", "to print elsewhere"),
            ],
            abilities: abilities_of(&imports, None),
            imports,
            ..Self::example()
        }
    }
}

/// Appends a heading and the items as lines of two columns; no-op without items.
pub(crate) fn section<T>(
    text: &mut String,
    head: &str,
    items: &[T],
    line: impl Fn(&T) -> (String, String),
) {
    if items.is_empty() {
        return;
    }
    text.push_str(&format!("\n{head}\n"));
    let lines: Vec<(String, String)> = items.iter().map(line).collect();
    let widest = lines.iter().map(|(name, _)| usher_cli::ui::width(name)).max().unwrap_or(0);
    for (name, rest) in lines {
        let padding = " ".repeat(widest - usher_cli::ui::width(&name));
        let line = format!("  {}{padding}  {rest}", paint(&name, style::NAME));
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_told_in_words_once_each() {
        let imports = [
            "wasi:keyvalue/store@0.2.0-draft2",
            "wasi:keyvalue/atomics@0.2.0-draft2",
            "wasi:io/poll@0.2.6",
            "wasi:cli/stdout@0.2.6",
            "wasi:http/outgoing-handler@0.2.12",
        ]
        .map(str::to_owned);
        let shown = |is_granted: Option<&dyn Fn(&str) -> bool>| {
            let abilities = abilities_of(&imports, is_granted).into_iter();
            abilities.map(|one| format!("{}: {}", one.words, one.condition())).collect::<Vec<_>>()
        };
        assert_eq!(
            shown(None),
            [
                "reaches the network, by HTTP: where http is granted",
                "keeps state: where state is granted",
                "writes to the log: always"
            ]
        );
        assert_eq!(
            shown(Some(&|name| name == "state")),
            [
                "reaches the network, by HTTP: denied: http is not granted",
                "keeps state: state is granted",
                "writes to the log: always"
            ]
        );
    }
}
