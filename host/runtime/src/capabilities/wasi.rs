//! The rest of WASI 0.2: real, but empty. Clocks and random numbers work; there are no files, no
//! sockets, no environment and no arguments.

use wasmtime::component::Linker;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::log::{Log, Output, Stream};
use crate::guest::Guest;

/// Random bytes a guest gets in one call.
const RANDOM_MAX_BYTES: u64 = 64 * 1024;

/// The context of one instance.
pub(crate) fn context(log: &Log) -> WasiCtx {
    WasiCtx::builder()
        .stdout(Output::new(log, Stream::Stdout))
        .stderr(Output::new(log, Stream::Stderr))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(RANDOM_MAX_BYTES)
        .build()
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Links all of WASI 0.2 but http.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)
}
