//! What is fuzzed. Each target takes any bytes and panics only where something is wrong: with the
//! code under test, or with what it answers. `fuzz/` hands them to libFuzzer; an ordinary test runs
//! each on its seeds and on what a few changes make of them.

#![allow(clippy::panic, reason = "a panic is how a target says that something is wrong")]

mod codecs;
mod config;
mod filters;
mod guests;
mod rows;

pub use guests::{contract, load_module};

/// Something to feed with bytes.
pub struct Target {
    /// Its name, also that of the folder of its seeds and of the libFuzzer binary.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
}

/// All targets but that of random modules, which is made in `fuzz/`: what makes them has features of
/// the compiler's dependencies on that nothing else needs.
pub const TARGETS: [Target; 6] = [
    Target { name: "component-loader", run: guests::load },
    Target { name: "guest-values", run: guests::values },
    Target { name: "event-codecs", run: codecs::codecs },
    Target { name: "filters", run: filters::filters },
    Target { name: "config", run: config::config },
    Target { name: "storage-rows", run: rows::rows },
];

/// Hands bytes to the target of this name.
///
/// # Panics
/// The target fails, or there is none of this name.
pub fn feed(name: &str, input: &[u8]) {
    match TARGETS.iter().find(|target| target.name == name) {
        Some(target) => (target.run)(input),
        None => panic!("there is no target {name}"),
    }
}
