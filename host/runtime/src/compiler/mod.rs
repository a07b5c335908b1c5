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

/// Why a component was not compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// It isn't valid.
    #[error("not a valid component: {0}")]
    Invalid(String),
    /// Its time was over.
    #[error(
        "compiling it takes longer than {wall_ms} ms: make it smaller, or raise wall_ms in \
         [compiler] in usher.toml"
    )]
    TooSlow {
        /// The limit.
        wall_ms: u64,
    },
    /// Its time was over, but it had too little of the processor to blame it for that.
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

impl Compiler {
    /// The native code of a component, for `Component::deserialize`.
    pub(crate) async fn compile(
        &self,
        engine: &Engine,
        component: &[u8],
    ) -> Result<Vec<u8>, CompileError> {
        match self {
            Self::Here => engine
                .precompile_component(component)
                .map_err(|error| CompileError::Invalid(crate::load::detail(&error))),
            Self::Child(process) => process.compile(component).await,
        }
    }
}
