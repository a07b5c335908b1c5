//! Whole-system tests: the real `usher` binary, as an operator meets it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic is how a test fails"
)]
mod access;
mod api;
mod author;
mod browser;
mod capabilities;
mod cloudevents;
mod command_line;
mod compiling;
mod config;
mod delivery;
mod doctor;
mod flows;
mod footprint;
mod hot_swap;
mod imports;
mod isolation;
mod ladder;
mod languages;
mod lifecycle;
mod listening;
mod nodes;
mod packaging;
mod page;
mod plugin_files;
mod prefix;
mod promises;
mod questions;
mod recorder;
mod recordings;
mod replay;
mod rollback;
mod scene;
mod schedules;
mod shadow;
mod sinks;
mod store;
mod tracing;
mod webhooks;
