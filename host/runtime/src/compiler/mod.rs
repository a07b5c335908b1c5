//! Compiles components to native code, within bounds.
//!
//! Compiling an untrusted component may take arbitrary time and memory, and no epoch or limiter
//! interrupts it. So it runs in a child process with a memory limit and without network, files or
//! environment, which is killed at its time limit. Its output is run as native code: it is trusted
//! because the program is ours and its only input is the component.

mod child;
mod confine;
mod process;

use bytes::Bytes;
use wasmtime::Engine;

use crate::tier::Tier;

pub use child::compile_as_child;
pub use process::CompilerProcess;

/// Where components are compiled.
#[derive(Clone, Debug, Default)]
pub enum Compiler {
    /// In this process, unbounded: for trusted components only.
    #[default]
    Here,
    /// In a child process, within bounds.
    Child(CompilerProcess),
}

/// CPU time limit of a quick attempt.
pub(crate) const QUICK_CPU_MS: u64 = 1_000;

/// How much CPU time a compilation gets, and at which priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompileBudget {
    /// At most one second of CPU time, to detect slow compilations early.
    Quick,
    /// Up to the configured limit, at the lowest priority.
    Patient,
}

/// Why a component was not compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// It is not a valid component.
    #[error("not a valid component: {0}")]
    Invalid(String),
    /// It uses an unsupported feature, or needs more than an instance may have; the message says
    /// what to do.
    #[error("{0}")]
    NotOffered(String),
    /// It reached the CPU time limit.
    #[error(
        "compiling it takes more than {cpu_ms} ms of processor time: make it smaller, or raise \
         cpu_ms in [compiler] in usher.toml"
    )]
    TooSlow {
        /// The limit.
        cpu_ms: u64,
    },
    /// The quick attempt reached its limit; a patient one may succeed.
    #[error("compiling it takes more than {QUICK_CPU_MS} ms of processor time")]
    NotQuick,
    /// It reached the wall-clock limit before the CPU time limit: the machine is busy.
    #[error(
        "compiling it takes longer than {wall_ms} ms, of which it had the processor for {cpu_ms} ms: \
         the machine is busy"
    )]
    Starved {
        /// The limit.
        wall_ms: u64,
        /// CPU time that it used.
        cpu_ms: u64,
    },
    /// It needs more memory than the limit.
    #[error(
        "compiling it takes more than {memory_bytes} bytes of memory: make it smaller, or raise \
         memory_bytes in [compiler] in usher.toml"
    )]
    TooLarge {
        /// The limit.
        memory_bytes: u64,
    },
    /// The compiled code exceeds the limit.
    #[error("compiled, it has more than {limit_bytes} bytes, which is the limit: make it smaller")]
    TooMuchCode {
        /// The limit.
        limit_bytes: usize,
    },
    /// The compiler process failed.
    #[error("the compiler failed on it ({how}): {words}")]
    Failed {
        /// Its exit status.
        how: String,
        /// Its stderr, escaped.
        words: String,
    },
    /// The compiler could not be started, or was killed from outside.
    #[error("the compiler can't be run: {0}")]
    NotRun(String),
}

/// Parts of the compiler's messages about disabled features, and the advice for each.
const SWITCHED_OFF: [(&str, &str); 8] = [
    (
        "async",
        "it uses the component model's async (WASI 0.3), which Usher does not run: build it for WASI \
         0.2 with synchronous exports",
    ),
    (
        "error-context",
        "it uses the component model's error contexts (WASI 0.3), which Usher does not run: build it \
         for WASI 0.2",
    ),
    ("memory64", "it uses 64-bit memory, which Usher does not run: build it for 32 bits"),
    ("exceptions", EXCEPTIONS),
    ("threads", "it uses threads, which Usher does not run: build it for one thread"),
    ("function references", REFERENCES),
    ("gc", REFERENCES),
    ("stack switching", "it switches stacks, which Usher does not run: build it without"),
];
const EXCEPTIONS: &str = "it uses WebAssembly's exceptions, which Usher does not run: build it without \
                          (C++: -fno-exceptions)";
const REFERENCES: &str = "it uses garbage-collected types or typed references, which Usher does not \
                          run: build it with a compiler that keeps its data in linear memory";

/// Parts of the engine's messages about per-instance maximums, and the advice for each.
const TOO_MUCH: [(&str, &str); 3] = [
    ("memories count", "a module of a plugin may have 1 memory, and all of a plugin's modules 8"),
    ("tables count", "a module of a plugin may have 4 tables, and all of a plugin's modules 32"),
    ("core instances", "a plugin may have 256 core instances"),
];

impl CompileError {
    /// Classifies the compiler's message about an invalid component.
    pub(crate) fn invalid(words: &str) -> Self {
        let mentions = |feature: &str| {
            let lower = words.to_ascii_lowercase();
            let is_off = [
                "requires",
                "required",
                "must be enabled",
                "not enabled",
                "not supported",
                "disabled",
                "feature",
            ];
            is_off.iter().any(|off| lower.contains(off)) && lower.contains(feature)
        };
        match SWITCHED_OFF.iter().find(|(feature, _)| mentions(feature)) {
            Some((_, advice)) => Self::NotOffered(format!("{advice} ({words})")),
            None => Self::Invalid(words.to_owned()),
        }
    }

    /// Classifies the engine's message about code that it refuses to load.
    pub(crate) fn too_much(words: &str) -> Self {
        match TOO_MUCH.iter().find(|(count, _)| words.contains(count)) {
            Some((_, advice)) => {
                let words = words.rsplit(": ").next().unwrap_or(words);
                Self::NotOffered(format!(
                    "it needs more than an instance may have: {advice} ({words})"
                ))
            }
            None => Self::Invalid(words.to_owned()),
        }
    }
}

impl Compiler {
    /// Compiles a component to native code for `Component::deserialize`.
    pub(crate) async fn compile(
        &self,
        engine: &Engine,
        component: &Bytes,
        attempt: CompileBudget,
        tier: Tier,
    ) -> Result<Vec<u8>, CompileError> {
        let engine = match self {
            Self::Child(process) => return process.compile(component, attempt, tier).await,
            Self::Here => engine.clone(),
        };
        let component = component.clone();
        let compiling = tokio::task::spawn_blocking(move || match tier {
            Tier::Optimised => engine.precompile_component(&component),
            Tier::Baseline => crate::engine::for_compiling(tier)?.precompile_component(&component),
        });
        let compiled =
            compiling.await.map_err(|cut_short| CompileError::NotRun(cut_short.to_string()))?;
        compiled.map_err(|error| CompileError::invalid(&crate::text::error(&error)))
    }
}
