//! Child side: confines itself, reads a component from stdin and writes its code to stdout.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use super::confine::confine;
use crate::limits::COMPONENT_MAX_BYTES;
use crate::tier::Tier;
use crate::{engine, text};

/// Exit status for an invalid component; stderr says why.
pub(super) const EXIT_INVALID: u8 = 65;

/// Compiles one component from stdin to stdout within `memory_bytes` of memory. The entire work of
/// a process started by [`CompilerProcess`](super::CompilerProcess), which must not have opened
/// anything before.
pub fn compile_as_child(memory_bytes: u64, tier: Tier) -> ExitCode {
    match compile(memory_bytes, tier) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(invalid)) => {
            // Best effort: the reader may be gone, and the exit status says enough.
            let _ = write!(io::stderr(), "{}", text::error(&invalid));
            ExitCode::from(EXIT_INVALID)
        }
        Err(error) => {
            let _ = write!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn compile(memory_bytes: u64, tier: Tier) -> io::Result<wasmtime::Result<()>> {
    confine(memory_bytes)?;
    let engine = engine::for_compiling(tier).map_err(io::Error::other)?;
    let mut component = Vec::new();
    io::stdin().lock().take(COMPONENT_MAX_BYTES as u64 + 1).read_to_end(&mut component)?;
    let code = match engine.precompile_component(&component) {
        Ok(code) => code,
        Err(invalid) => return Ok(Err(invalid)),
    };
    let mut stdout = io::stdout().lock();
    stdout.write_all(&code)?;
    stdout.flush()?;
    Ok(Ok(()))
}
