//! The rest of WASI 0.2, linked but empty: there are no files, sockets, environment variables or
//! arguments.

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::IoError;
use wasmtime_wasi::p2::bindings::io::error;
use wasmtime_wasi::{WasiCtx, WasiView};

use super::Capabilities;
use super::log::{Output, Stream};
use crate::capability::About;
use crate::limits::RANDOM_MAX_BYTES;

/// WASI context of one instance.
pub(crate) fn context(capabilities: &Capabilities) -> WasiCtx {
    let Capabilities { log, clocks, random, .. } = capabilities;
    WasiCtx::builder()
        .stdout(Output::new(log, Stream::Stdout))
        .stderr(Output::new(log, Stream::Stderr))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(RANDOM_MAX_BYTES)
        .secure_random(random.clone())
        .insecure_random(random.clone())
        .insecure_random_seed(random.insecure_seed())
        .wall_clock(clocks.clone())
        .monotonic_clock(clocks.clone())
        .build()
}

/// `wasi:io/error` that returns the message only. wasmtime's implementation exposes a host
/// backtrace if those are enabled, and is slow to build it.
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

/// Links all of WASI 0.2 except http.
pub(crate) fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    error::add_to_linker::<_, Errors>(linker, |data| ErrorsView(data.ctx().table))?;
    linker.allow_shadowing(false);
    Ok(())
}

/// What the interfaces let a plugin do; nothing here needs a grant.
pub(crate) const ABOUT: &[About] = &[
    always(&["wasi:filesystem/"], "looks for files, and finds none"),
    always(&["wasi:sockets/"], "looks for sockets, and finds none"),
];

const fn always(interfaces: &'static [&'static str], ability: &'static str) -> About {
    About { name: None, interfaces, ability, is_flag: false }
}
