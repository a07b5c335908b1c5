//! Who turns components into native code, and within which bounds.
//!
//! Compiling a stranger's component takes as much time and memory as the stranger likes, and no
//! epoch or limiter interrupts it. So it is done by a child process that has a limit on its memory,
//! no network, no files and no environment, and is killed when its time is over. What it hands back
//! is run as native code: it is trusted because the program is ours and nothing but the component
//! went in.

mod child;
mod confine;
mod process;

use wasmtime::Engine;

pub use child::compile_as_child;
pub use process::CompilerProcess;

/// Most bytes of native code of one component; it is a few times larger than the component.
pub(crate) const CODE_MAX_BYTES: usize = 512 * 1024 * 1024;

/// Who compiles components.
#[derive(Clone, Debug, Default)]
pub enum Compiler {
    /// This process, with no bound: for components that are known.
    #[default]
    Here,
    /// A child process, within bounds.
    Child(CompilerProcess),
}

/// Processor time of a quick attempt.
pub(crate) const QUICK_CPU_MS: u64 = 1_000;

/// How much of its time a compilation gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// A second of processor time, so that what takes long shows early.
    Quick,
    /// All of it, with what processor time others leave.
    Patient,
}

/// Why a component was not compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// It isn't valid.
    #[error("not a valid component: {0}")]
    Invalid(String),
    /// It is built for something that is not run here; the words say what to do.
    #[error("{0}")]
    NotOffered(String),
    /// Its time was over.
    #[error(
        "compiling it takes more than {cpu_ms} ms of processor time: make it smaller, or raise \
         cpu_ms in [compiler] in usher.toml"
    )]
    TooSlow {
        /// The limit.
        cpu_ms: u64,
    },
    /// A quick attempt was not enough; a patient one may be.
    #[error("compiling it takes more than {QUICK_CPU_MS} ms of processor time")]
    NotQuick,
    /// It had too little of the processor to be done in the time there is.
    #[error(
        "compiling it takes longer than {wall_ms} ms, of which it had the processor for {cpu_ms} ms: \
         the machine is busy"
    )]
    Starved {
        /// The limit.
        wall_ms: u64,
        /// Processor time that it had.
        cpu_ms: u64,
    },
    /// It needs more memory than there is.
    #[error(
        "compiling it takes more than {memory_bytes} bytes of memory: make it smaller, or raise \
         memory_bytes in [compiler] in usher.toml"
    )]
    TooLarge {
        /// The limit.
        memory_bytes: u64,
    },
    /// It comes to too much code.
    #[error("compiled, it has more than {limit_bytes} bytes, which is the limit: make it smaller")]
    TooMuchCode {
        /// The limit.
        limit_bytes: usize,
    },
    /// The compiler gave up on it.
    #[error("the compiler failed on it ({how}): {words}")]
    Failed {
        /// How the process ended.
        how: String,
        /// What it said.
        words: String,
    },
    /// The compiler could not be run at all.
    #[error("the compiler can't be run: {0}")]
    NotRun(String),
}

/// How the compiler says that it was given something that is switched off, and what to do about it.
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

/// How the engine says that a component needs more than any instance may have.
const TOO_MUCH: [(&str, &str); 3] = [
    ("memories count", "a module of a plugin may have 1 memory, and all of a plugin's modules 8"),
    ("tables count", "a module of a plugin may have 4 tables, and all of a plugin's modules 32"),
    ("core instances", "a plugin may have 256 core instances"),
];

impl CompileError {
    /// What the compiler has against a component.
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

    /// What the engine that runs it has against its code.
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
    /// The native code of a component, for `Component::deserialize`.
    pub(crate) async fn compile(
        &self,
        engine: &Engine,
        component: &[u8],
        attempt: Attempt,
    ) -> Result<Vec<u8>, CompileError> {
        match self {
            Self::Here => engine
                .precompile_component(component)
                .map_err(|error| CompileError::invalid(&crate::load::detail(&error))),
            Self::Child(process) => process.compile(component, attempt).await,
        }
    }
}
