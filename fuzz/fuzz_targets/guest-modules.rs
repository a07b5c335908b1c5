//! Random core modules that export what the contract wants, made components and given a delivery.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use wasm_smith::{Config, Module};

static CONTRACT: LazyLock<Vec<u8>> = LazyLock::new(usher_fuzz::contract);

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(module) = module(&mut Unstructured::new(input)) {
        usher_fuzz::load_module(module.to_bytes());
    }
});

fn module(bytes: &mut Unstructured<'_>) -> Result<Module> {
    // Only what the router's engine understands, and little of everything.
    let config = Config {
        exports: Some(CONTRACT.clone()),
        max_imports: 0,
        max_memory32_bytes: 1 << 24,
        max_table_elements: 1_000,
        memory64_enabled: false,
        threads_enabled: false,
        gc_enabled: false,
        exceptions_enabled: false,
        wide_arithmetic_enabled: false,
        compact_imports_enabled: false,
        ..Config::default()
    };
    Module::new(config, bytes)
}
