//! The plugin's log. The host adds plugin, event and attempt to every line. Needs no grant; what
//! goes to stdout and stderr ends in the same log.
//!
//! ```
//! use usher_sdk::log;
//!
//! log::info!("charged {} cents", 8500);
//! ```

use std::fmt::Arguments;

use crate::backend;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// For whoever looks for an error.
    Debug,
    /// The normal course of things.
    Info,
    /// Not as it should be, and dealt with.
    Warn,
    /// Something failed.
    Error,
}

/// Writes one line.
pub fn write(level: Level, line: Arguments<'_>) {
    match line.as_str() {
        Some(text) => backend::log(level, text),
        None => backend::log(level, &line.to_string()),
    }
}

/// Logs every step.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_trace {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Trace, ::core::format_args!($($line)+)) };
}

/// Logs for whoever looks for an error.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Debug, ::core::format_args!($($line)+)) };
}

/// Logs the normal course of things.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Info, ::core::format_args!($($line)+)) };
}

/// Logs what isn't as it should be, and dealt with.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Warn, ::core::format_args!($($line)+)) };
}

/// Logs that something failed.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Error, ::core::format_args!($($line)+)) };
}

#[doc(inline)]
pub use {
    __log_debug as debug, __log_error as error, __log_info as info, __log_trace as trace,
    __log_warn as warn,
};
