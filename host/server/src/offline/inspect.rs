//! `usher inspect`: what a plugin file is, what it requests, and the configuration to grant it.
//!
//! The file is loaded as the router would load it, `describe` included, in the same sandbox with
//! the same limits, but without grants or deliveries. With a configuration file it also reports
//! which abilities would be denied; with another version's file, the differences.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use usher_event::Digest;
use usher_runtime::{Attempt, COMPONENT_MAX_BYTES, Loaded};

use super::abilities::{self, Ability};
use super::args::InspectArgs;
use super::difference::Difference;
use usher_cli::ui::CliError;
use usher_cli::ui::paint;
use usher_cli::ui::{Output, style};
use usher_cli::ui::{bytes, printable};
use usher_config::{self as config, Config, Flags, Problems};
use usher_plugins::sandbox;

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
        let grants = config.map(|config| plugin(config).grants);
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
            abilities: abilities::of(loaded.imports(), is_granted),
            imports: loaded.imports().to_vec(),
            exports: loaded.exports().to_vec(),
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
            abilities: abilities::of(&["usher:plugin/blobs@0.1.0".to_owned()], None),
            imports: vec!["usher:plugin/blobs@0.1.0".to_owned()],
            exports: vec!["usher:plugin/listener@0.1.0".to_owned()],
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
            abilities: abilities::of(&imports, None),
            imports,
            ..Self::example()
        }
    }
}

/// Runs `usher inspect`.
pub(crate) fn run(args: &InspectArgs, out: &mut Output) -> Result<(), CliError> {
    let config = match &args.config {
        None => None,
        Some(file) => {
            let flags = Flags { config: Some(file.clone()), ..Flags::default() };
            let problems = |problems: Problems| CliError::Usage(problems.to_string());
            Some(config::load(&flags).map_err(problems)?)
        }
    };
    let inspected = inspect(&args.file, config.as_ref())?;
    if let Some(old) = &args.against {
        let difference = Difference::between(&inspect(old, config.as_ref())?, &inspected);
        return if args.json { out.json(&difference) } else { out.text(&difference.render()) };
    }
    if args.json { out.json(&inspected) } else { out.text(&render(&inspected)) }
}

fn inspect(file: &Path, config: Option<&Config>) -> Result<Inspected, CliError> {
    let failed = |what: String| CliError::new(format!("{}: {what}", file.display()));
    let content = read(file).map_err(|error| failed(error.to_string()))?;
    let executor = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let compiler = config.map(|config| config.compiler).unwrap_or_default();
    let runtime = sandbox::set_up_to_look(compiler).map_err(|error| failed(error.to_string()))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let loaded = executor
        .block_on(runtime.load(Bytes::from(content), &name, Attempt::Patient))
        .map_err(|error| CliError::new(error.to_string()))?;
    Ok(Inspected::new(file, &loaded, config))
}

/// Reads at most one byte beyond the limit, so that loading refuses a file that is too large.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(file)?.take(COMPONENT_MAX_BYTES as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}

fn render(inspected: &Inspected) -> String {
    let mut text = format!(
        "{} {}  {}\n\nfile    {}, {}\ndigest  {}\n",
        paint(&inspected.name, style::STRONG),
        printable(&inspected.version),
        printable(&inspected.summary),
        printable(&inspected.file),
        bytes(inspected.size_bytes as u64),
        inspected.digest,
    );
    section(&mut text, "subscribes to", &inspected.subscriptions, |asked| {
        (printable(&asked.name), asked.words())
    });
    section(&mut text, "asks for", &inspected.capabilities, |wanted| {
        (printable(&wanted.name), printable(&wanted.reason))
    });
    section(&mut text, "what its imports let it do", &inspected.abilities, |ability| {
        (ability.words.to_owned(), ability.condition())
    });
    section(&mut text, "imports", &inspected.imports, |import| (printable(import), String::new()));
    section(&mut text, "exports", &inspected.exports, |export| (printable(export), String::new()));
    let grants = grants(inspected);
    if !grants.is_empty() {
        text.push_str("\nto grant all it asks for, write into usher.toml\n");
        for line in grants {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
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

/// TOML that grants everything the plugin requests, with placeholders.
fn grants(inspected: &Inspected) -> Vec<String> {
    let asks = |name: &str| inspected.capabilities.iter().any(|wanted| wanted.name == name);
    let plugin = &inspected.name;
    let mut lines = Vec::new();
    let granted = [
        ("http", "http = [\"https://HOST\"]"),
        ("state", "state = true"),
        ("blobs", "blobs = true"),
        ("secrets", "secrets = [\"KEY\"]"),
    ];
    if granted.iter().any(|(name, _)| asks(name)) {
        lines.push(format!("[plugin.{plugin}.grants]"));
        lines.extend(
            granted.iter().filter(|(name, _)| asks(name)).map(|(_, line)| (*line).to_owned()),
        );
    }
    if asks("config") {
        lines.push(format!("[plugin.{plugin}.config]"));
        lines.push("KEY = \"VALUE\"".to_owned());
    }
    if asks("secrets") {
        lines.push(format!("[plugin.{plugin}.secrets]"));
        lines.push("KEY = { env = \"VARIABLE\" }".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_is_and_what_it_needs() {
        let text = render(&Inspected::example());
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "\
printer 0.1.0  draws tickets

file    printer.wasm, 2.0 KiB
digest  ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad

subscribes to
  tickets  {\"exact\":{\"type\":\"t\"}}, 4 in flight at most

asks for
  blobs    for work
  config   for work
  secrets  for work

what its imports let it do
  puts blobs, and reads those of all plugins  where blobs is granted

imports
  usher:plugin/blobs@0.1.0

exports
  usher:plugin/listener@0.1.0

to grant all it asks for, write into usher.toml
  [plugin.printer.grants]
  blobs = true
  secrets = [\"KEY\"]
  [plugin.printer.config]
  KEY = \"VALUE\"
  [plugin.printer.secrets]
  KEY = { env = \"VARIABLE\" }
"
        );
    }
}
