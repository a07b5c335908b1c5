//! The ticket scenario: purchases, plugin configuration and checks.

pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod purchase;
