//! Sandbox setup, shared by `usher run`, `usher check` and `usher inspect` so that they accept the
//! same files.

use std::path::PathBuf;

use usher_runtime::{Compiler, CompilerProcess, Runtime, RuntimeError, RuntimeOptions};

use usher_config::CompilerConfig;

/// The running executable, even if its file has been replaced since start.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// The hidden verb that compiles a component.
const VERB: &str = "compile-component";

/// Creates a sandbox that compiles in a child process.
///
/// # Errors
/// See [`RuntimeError`].
pub fn set_up(
    compiler: CompilerConfig,
    max_instances: u32,
    max_http_connections: usize,
) -> Result<Runtime, RuntimeError> {
    let (compiler, cache_dir) = (child_compiler(compiler), None);
    Runtime::new(RuntimeOptions { cache_dir, compiler, max_instances, max_http_connections })
}

/// Like [`set_up`], sized for inspecting plugins one at a time without serving any.
///
/// # Errors
/// See [`RuntimeError`].
pub fn set_up_to_look(compiler: CompilerConfig) -> Result<Runtime, RuntimeError> {
    Runtime::for_inspection(child_compiler(compiler))
}

fn child_compiler(compiler: CompilerConfig) -> Compiler {
    let CompilerConfig { memory_bytes, cpu_ms, wall_ms } = compiler;
    let (program, args) = (program(), vec![VERB.into()]);
    Compiler::Child(CompilerProcess { program, args, memory_bytes, cpu_ms, wall_ms })
}

/// The running program, to start it again.
pub fn program() -> PathBuf {
    let this = PathBuf::from(THIS_PROGRAM);
    if this.exists() { this } else { std::env::current_exe().unwrap_or(this) }
}
