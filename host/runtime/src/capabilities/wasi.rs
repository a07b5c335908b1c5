//! The rest of WASI 0.2: real, but empty. Clocks and random numbers work; there are no files, no
//! sockets, no environment and no arguments.

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::IoError;
use wasmtime_wasi::p2::bindings::io::error;
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

/// `wasi:io/error` with the words of an error only. wasmtime's own shows a backtrace of the host
/// where those are switched on, and takes long to make it.
struct Errors;

struct ErrorsView<'a>(&'a mut ResourceTable);

impl HasData for Errors {
    type Data<'a> = ErrorsView<'a>;
}

impl error::Host for ErrorsView<'_> {}

impl error::HostError for ErrorsView<'_> {
    fn to_debug_string(&mut self, error: Resource<IoError>) -> wasmtime::Result<String> {
        Ok(format!("{:#}", self.0.get(&error)?))
    }

    fn drop(&mut self, error: Resource<IoError>) -> wasmtime::Result<()> {
        self.0.delete(error)?;
        Ok(())
    }
}

/// Links all of WASI 0.2 but http.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    error::add_to_linker::<_, Errors>(linker, |guest| ErrorsView(&mut guest.table))?;
    linker.allow_shadowing(false);
    Ok(())
}
