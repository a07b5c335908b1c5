//! Why a plugin file was refused, and whether a retry can succeed.

use usher_router::InstallError;
use usher_runtime::{CompileError, LoadError, LoadErrorKind};

/// The refusal of a plugin file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Message for the operator.
    pub(super) reason: String,
    /// Whether it is transient: the same bytes may be accepted later.
    pub(super) is_transient: bool,
    /// Whether it was expensive to find out and will repeat.
    pub(super) is_costly: bool,
}

impl Refusal {
    /// Permanent: caused by the file's content.
    pub(super) fn permanent(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_transient: false, is_costly: false }
    }

    /// Transient: caused by something outside the file, which is retried.
    pub(super) fn transient(reason: impl std::fmt::Display) -> Self {
        Self {
            reason: format!("{reason}; it will be tried again"),
            is_transient: true,
            is_costly: false,
        }
    }
}

impl From<LoadError> for Refusal {
    fn from(error: LoadError) -> Self {
        match &error.kind {
            kind if kind.is_transient() => Self::transient(error),
            // Retrying an expensive compile failure would defeat the limits.
            LoadErrorKind::Compile(
                CompileError::TooSlow { .. }
                | CompileError::TooLarge { .. }
                | CompileError::TooMuchCode { .. }
                | CompileError::Invalid(_)
                | CompileError::NotOffered(_),
            ) => Self { is_costly: true, ..Self::permanent(error.to_string()) },
            _ => Self::permanent(error.to_string()),
        }
    }
}

impl From<InstallError> for Refusal {
    fn from(error: InstallError) -> Self {
        match &error {
            // The broker may be busy, or at its limit of subscriptions, of which the operator can
            // remove some.
            InstallError::Broker { .. } | InstallError::ShutDown => Self::transient(error),
            _ => Self::permanent(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use usher_event::FailureClass;

    use super::*;

    #[test]
    fn what_lies_outside_the_file_passes() {
        let load = |kind| Refusal::from(LoadError { file: "a.wasm".to_owned(), kind });
        let busy = InstallError::Broker {
            subscription: "a/b".parse().unwrap(),
            error: usher_broker::BrokerError::Invalid("too many; remove some".to_owned()),
        };
        let describe = |class| LoadErrorKind::Describe {
            class,
            reason: "did not end well".to_owned(),
            backtrace: None,
        };
        for (refusal, passes) in [
            (load(LoadErrorKind::Host("panicked".to_owned())), true),
            (load(describe(FailureClass::Timeout)), true),
            (load(describe(FailureClass::Host)), true),
            (load(describe(FailureClass::Trap)), false),
            (load(describe(FailureClass::Limit)), false),
            (load(CompileError::NotRun("no memory".to_owned()).into()), true),
            (load(CompileError::Invalid("nonsense".to_owned()).into()), false),
            (load(CompileError::TooSlow { cpu_ms: 30_000 }.into()), false),
            (load(CompileError::Starved { wall_ms: 30_000, cpu_ms: 9_000 }.into()), true),
            (
                load(LoadErrorKind::WrongWorld { found: "nothing".to_owned(), is_wasi_0_3: false }),
                false,
            ),
            (busy.into(), true),
            (InstallError::Twice("a/b".parse().unwrap()).into(), false),
        ] {
            assert_eq!(refusal.is_transient, passes, "{refusal:?}");
            assert_eq!(refusal.reason.ends_with("; it will be tried again"), passes, "{refusal:?}");
        }
    }
}
