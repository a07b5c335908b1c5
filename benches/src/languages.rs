//! What a delivery costs by language: the template of each, called through usher-runtime and on bare
//! wasmtime, interruptible as it has to be in any host that mustn't hang.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use usher_event::Event;
use usher_runtime::{Isolation, Limits};

use crate::sample::Sample;
use crate::table::Table;
use crate::{bare, rounds, runtime};

/// Time that a round takes at most, about.
const ROUND: Duration = Duration::from_millis(60);
/// Instances held at once, to see what a further one takes.
const INSTANCES: u32 = 16;

#[derive(clap::Args)]
pub(crate) struct LanguagesArgs {
    /// Folder with a component for each language, as `cargo xtask bench languages` builds them.
    #[arg(long)]
    components: Option<PathBuf>,
}

/// Runs the suite.
pub(crate) fn run(args: LanguagesArgs) -> anyhow::Result<()> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let folder =
        args.components.unwrap_or_else(|| format!("{root}/target/languages/components").into());
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .with_context(|| format!("can't read {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "wasm"));
    files.sort();
    let guest = Event::builder("1", "/door", "guest.arrived").subject("Ada").build()?;
    let sample = Sample::of(guest);
    let mut table = Table::new();
    let mut memory = Vec::new();
    for file in files {
        let language = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let component = std::fs::read(&file)?;
        let unrecorded = Limits { recording_bytes: 0, ..Limits::default() };
        let mut compared = [
            bare::interruptible_calls(&component, &sample)?,
            runtime::calls(&component, &sample, Isolation::Warm, unrecorded)?,
            runtime::calls(&component, &sample, Isolation::Warm, Limits::default())?,
        ];
        let [first, ..] = &mut compared;
        first(100)?;
        let begun = Instant::now();
        first(100)?;
        let round_calls = ROUND.as_nanos() * 100 / begun.elapsed().as_nanos().max(1);
        let round_calls = u32::try_from(round_calls).unwrap_or(u32::MAX).clamp(20, 50_000);
        let [bare, unrecorded, recorded] = rounds::time_per_call(round_calls, compared)?;
        table.row(&format!("{language}: bare wasmtime"), bare, None);
        table.row(&format!("{language}: unrecorded"), unrecorded, Some((bare, "bare")));
        table.row(
            &format!("{language}: usher-runtime"),
            recorded,
            Some((unrecorded, "unrecorded")),
        );
        memory.push((language, runtime::bytes_of_an_instance(&component, &sample, INSTANCES)?));
    }
    table.print()?;
    println!("\nmemory of a further warm instance, resident:");
    for (language, bytes) in memory {
        println!("{language}: {} KiB", bytes / 1024);
    }
    Ok(())
}
