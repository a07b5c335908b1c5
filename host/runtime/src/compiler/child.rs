//! The child's side: confine itself, then read a component from stdin and write its code to stdout.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use super::confine::confine;
use crate::load::COMPONENT_MAX_BYTES;
use crate::{engine, load};

/// Exit status where the component is not valid; stderr says why.
pub(super) const EXIT_INVALID: u8 = 65;

/// Compiles one component from stdin to stdout, with no more than so many bytes of memory. The
/// whole work of a process that [`CompilerProcess`](super::CompilerProcess) starts; it must have
/// opened nothing before.
pub fn compile_as_child(memory_bytes: u64) -> ExitCode {
    match compile(memory_bytes) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(invalid)) => {
            // Whoever reads it may be gone; the exit status says enough.
            let _ = write!(io::stderr(), "{}", load::detail(&invalid));
            ExitCode::from(EXIT_INVALID)
        }
        Err(error) => {
            let _ = write!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn compile(memory_bytes: u64) -> io::Result<wasmtime::Result<()>> {
    confine(memory_bytes)?;
    let engine = engine::for_compiling().map_err(io::Error::other)?;
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
