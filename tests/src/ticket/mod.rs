//! The ticket story: the purchases, the plugins' configuration, and what must come of it all.

pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod purchase;
