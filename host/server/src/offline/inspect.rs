//! `usher inspect`: what a plugin file is, what it requests, and the configuration to grant it.
//!
//! The file is loaded as the router would load it, `describe` included, in the same sandbox with
//! the same limits, but without grants or deliveries. With a configuration file it also reports
//! which abilities would be denied; with another version's file, the differences.

use std::path::Path;

use bytes::Bytes;
use usher_runtime::CompileBudget;

use super::args::InspectArgs;
use super::difference::Difference;
use super::executor::executor;
use super::inspected::{Inspected, section};
use super::stage::read_component;
use usher_cli::ui::CliError;
use usher_cli::ui::paint;
use usher_cli::ui::{Output, style};
use usher_config::{self as config, Config, ConfigProblems, Flags};
use usher_plugins::sandbox;
use usher_wording::{bytes, printable};

/// Runs `usher inspect`.
pub(crate) fn run(args: &InspectArgs, out: &mut Output) -> Result<(), CliError> {
    let config = match &args.config {
        None => None,
        Some(file) => {
            let flags = Flags { config: Some(file.clone()), ..Flags::default() };
            let problems = |problems: ConfigProblems| CliError::Usage(problems.to_string());
            Some(config::load_to_inspect(&flags).map_err(problems)?)
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
    let content = read_component(file).map_err(|error| failed(error.to_string()))?;
    let executor = executor().map_err(|error| failed(error.to_string()))?;
    let compiler = config.map(|config| config.compiler).unwrap_or_default();
    let runtime = sandbox::set_up_to_look(compiler).map_err(|error| failed(error.to_string()))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let loaded = executor
        .block_on(runtime.load(Bytes::from(content), &name, CompileBudget::Patient))
        .map_err(|error| CliError::new(error.to_string()))?;
    Ok(Inspected::new(file, &loaded, config))
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
    if inspected.is_foreign {
        let name = &inspected.name;
        text.push_str(&format!(
            "\nit was built for other hosts and asks for no events; to give it some, write into usher.toml\n  \
             [plugin.{name}.subscription.events]\n  filter = {{ prefix = {{ type = \"TYPE.\" }} }}\n"
        ));
    }
    let grants = grants(inspected);
    if !grants.is_empty() {
        text.push_str("\nto grant all it asks for, write into usher.toml\n");
        for line in grants {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
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
