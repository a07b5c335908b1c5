//! Errors of subcommands, as shown to the user.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use http::StatusCode;

use usher_wording::printable;

/// Error of a subcommand.
#[derive(Debug)]
pub enum CliError {
    /// The operation failed. Exit code 1.
    Failed {
        /// What happened.
        what: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Invalid arguments or configuration. Exit code 2.
    Usage(String),
    /// Stdout is a closed pipe. Not a failure: exit code 0 without a message.
    Quiet,
}

impl CliError {
    /// A failure.
    pub fn new(what: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), hint: None }
    }

    /// A failure with advice.
    pub fn with_hint(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), hint: Some(hint.into()) }
    }

    /// Prints the error to stderr and returns the exit code.
    pub fn report(&self) -> ExitCode {
        let code = match self {
            Self::Quiet => return ExitCode::SUCCESS,
            Self::Failed { .. } => 1,
            Self::Usage(_) => 2,
        };
        // Best effort: stderr may be closed.
        let _ = write!(anstream::stderr().lock(), "{self}");
        ExitCode::from(code)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let red = anstyle::AnsiColor::Red.on_default().bold();
        let (what, hint) = match self {
            Self::Failed { what, hint } => (what, hint.as_deref()),
            Self::Usage(what) => (what, None),
            Self::Quiet => return Ok(()),
        };
        let mut lines = what.lines().map(printable);
        writeln!(f, "{red}error:{red:#} {}", lines.next().unwrap_or_default())?;
        lines.try_for_each(|line| writeln!(f, "       {line}"))?;
        match hint {
            Some(hint) => writeln!(f, " hint: {}", printable(hint)),
            None => Ok(()),
        }
    }
}

impl From<usher_client::Error> for CliError {
    fn from(error: usher_client::Error) -> Self {
        let hint = match &error {
            usher_client::Error::NoHost { .. } => "check --url and USHER_URL",
            usher_client::Error::Refused(refusal) if refusal.status == StatusCode::UNAUTHORIZED => {
                "set USHER_TOKEN, or name a file that holds the token with --token-file"
            }
            usher_client::Error::Unexpected { .. } => "is it an usher router, of this version?",
            _ => return Self::new(error.to_string()),
        };
        Self::with_hint(error.to_string(), hint)
    }
}

/// Writing to stdout failed.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Quiet,
            _ => Self::new(format!("can't write to standard output: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_well_and_carry_no_escapes() {
        let error = CliError::with_hint("it \u{1b}[31mbroke\nbadly", "mend it");
        assert_eq!(
            anstream::adapter::strip_str(&error.to_string()).to_string(),
            "error: it \\x1b[31mbroke\n       badly\n hint: mend it\n"
        );
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let error = CliError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(matches!(error, CliError::Quiet));
        let error = CliError::from(io::Error::from(io::ErrorKind::StorageFull));
        assert!(matches!(error, CliError::Failed { .. }));
    }
}
