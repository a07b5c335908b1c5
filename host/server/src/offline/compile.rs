//! `usher compile`: fills a router's cache of compiled components, before a deployment or a restart.

use std::time::Instant;

use serde::Serialize;
use usher_cli::ui::{CliError, Output, paint, style};

use super::args::CompileArgs;
use super::stage::Workbench;
use crate::run::CACHE;

#[derive(Debug, Serialize)]
struct Compiled {
    file: String,
    plugin: String,
    digest: String,
    was_there: bool,
    took_ms: u64,
}

/// Runs `usher compile`.
pub(crate) fn run(args: &CompileArgs, out: &mut Output) -> Result<(), CliError> {
    let bench = Workbench::with_cache(Some(&args.data.join(CACHE)))?;
    for file in &args.files {
        let begun = Instant::now();
        let loaded = bench.load(file)?;
        let compiled = Compiled {
            file: file.display().to_string(),
            plugin: loaded.description().name.to_string(),
            digest: loaded.digest().to_string(),
            was_there: loaded.from_cache(),
            took_ms: usher_event::millis(begun.elapsed()),
        };
        if args.json {
            out.json_line(&compiled)?;
        } else {
            let Compiled { plugin, digest, was_there, took_ms, .. } = &compiled;
            let digest: String = digest.chars().take(12).collect();
            let what = if *was_there { "was there" } else { "compiled" };
            let plugin = paint(plugin, style::STRONG);
            out.text(&format!("{plugin} {digest} {what} in {took_ms} ms\n"))?;
        }
        out.flush()?;
    }
    Ok(())
}
