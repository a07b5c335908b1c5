//! How the sandbox is set up: what `usher run` serves in is what `usher check` and `usher inspect`
//! try a file in.

use std::path::PathBuf;

use usher_runtime::{Compiler, CompilerProcess, Runtime, RuntimeError, RuntimeOptions};

use crate::config::CompilerConfig;

/// This very program, also where its file was replaced since it started.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// The verb it compiles by.
const VERB: &str = "compile-component";

/// A sandbox that compiles in a process apart; `cache_dir` keeps what was compiled.
///
/// # Errors
/// See [`RuntimeError`].
pub(crate) fn set_up(
    compiler: CompilerConfig,
    cache_dir: Option<PathBuf>,
) -> Result<Runtime, RuntimeError> {
    let CompilerConfig { memory_bytes, wall_ms } = compiler;
    let process =
        CompilerProcess { program: program(), args: vec![VERB.into()], memory_bytes, wall_ms };
    let compiler = Compiler::Child(process);
    Runtime::new(RuntimeOptions { cache_dir, compiler, ..RuntimeOptions::default() })
}

fn program() -> PathBuf {
    let this = PathBuf::from(THIS_PROGRAM);
    if this.exists() { this } else { std::env::current_exe().unwrap_or(this) }
}
