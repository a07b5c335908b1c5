//! Why a file is not loaded.

use usher_event::FailureClass;

use crate::compiler::CompileError;
use crate::description::DescriptionError;
use crate::format::FormatError;

/// Why a file is not loaded: which file, what was found, what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {kind}")]
pub struct LoadError {
    /// The file's name, as given to [`Runtime::load`](crate::Runtime::load).
    pub file: String,
    /// What is wrong with it.
    pub kind: LoadErrorKind,
}

impl LoadErrorKind {
    /// Whether the same bytes may be loaded another time: how long a guest takes depends on the load of the
    /// machine; any other failure repeats.
    pub fn is_transient(&self) -> bool {
        use FailureClass::{Host, Timeout};
        matches!(
            self,
            Self::Describe { class: Timeout | Host, .. }
                | Self::Host(_)
                | Self::Compile(CompileError::NotRun(_) | CompileError::Starved { .. })
        )
    }
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadErrorKind {
    /// It can't be a component.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// It can't be compiled within the compiler's limits, or not at all.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It is a component for another world.
    #[error(
        "exports {found}, expected usher:plugin/listener@0.1.0, or of a component built for other hosts \
         wasi:http/incoming-handler@0.2.x, wasmcloud:messaging/handler@0.2.x or \
         wasi:messaging/incoming-handler@0.2.0-draft{}",
        if *is_wasi_0_3 { "; it is built for WASI 0.3: build it for WASI 0.2" } else { "" }
    )]
    WrongWorld {
        /// What it exports.
        found: String,
        /// Whether an export is an interface of WASI 0.3.
        is_wasi_0_3: bool,
    },
    /// It exports the right name with the wrong type.
    #[error("exports usher:plugin/listener@0.1.0, but not as the contract has it: {0}")]
    WrongExport(String),
    /// It imports an interface, or a version of one, that isn't offered.
    #[error("imports {import}, {detail}")]
    UnknownImport {
        /// The name it imports.
        import: String,
        /// Why that is not offered, and what is.
        detail: String,
    },
    /// `describe` or a start function failed.
    #[error("describe failed: {reason}")]
    Describe {
        /// What kind of failure it is.
        class: FailureClass,
        /// What happened.
        reason: String,
        /// The guest's call stack.
        backtrace: Option<String>,
    },
    /// `describe` returned an invalid description.
    #[error("describe breaks a rule: {0}")]
    Description(#[from] DescriptionError),
    /// The router is shutting down, or compiling panicked.
    #[error("loading was cut short: {0}")]
    Host(String),
}
