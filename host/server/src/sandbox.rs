//! How the sandbox is set up: what `usher run` serves in is what `usher check` and `usher inspect`
//! try a file in.

use std::path::PathBuf;

use usher_runtime::{Compiler, CompilerProcess, Runtime, RuntimeError, RuntimeOptions};

use usher_config::CompilerConfig;

/// This very program, also where its file was replaced since it started.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// The verb it compiles by.
const VERB: &str = "compile-component";

/// A sandbox that compiles in a process apart.
///
/// # Errors
/// See [`RuntimeError`].
pub(crate) fn set_up(
    compiler: CompilerConfig,
    max_instances: u32,
    max_http_connections: usize,
) -> Result<Runtime, RuntimeError> {
    let (compiler, cache_dir) = (apart(compiler), None);
    Runtime::new(RuntimeOptions { cache_dir, compiler, max_instances, max_http_connections })
}

/// The same for those who look at one plugin after another and serve none: it needs little.
///
/// # Errors
/// See [`RuntimeError`].
pub(crate) fn set_up_to_look(compiler: CompilerConfig) -> Result<Runtime, RuntimeError> {
    Runtime::to_look(apart(compiler))
}

/// Compiling in a process of its own.
fn apart(compiler: CompilerConfig) -> Compiler {
    let CompilerConfig { memory_bytes, cpu_ms, wall_ms } = compiler;
    let (program, args) = (program(), vec![VERB.into()]);
    Compiler::Child(CompilerProcess { program, args, memory_bytes, cpu_ms, wall_ms })
}

fn program() -> PathBuf {
    let this = PathBuf::from(THIS_PROGRAM);
    if this.exists() { this } else { std::env::current_exe().unwrap_or(this) }
}
