//! Output and errors of subcommands, for every crate that has some.

pub(crate) mod error;
pub(crate) mod output;
pub(crate) mod table;
pub(crate) mod text;

pub use error::CliError;
pub use output::{Output, style};
pub use table::{Align, Cell, Table, paint};
pub use text::width;
