//! Bounds host memory held for requests under construction: wasmtime's setters accept anything that
//! fits a host call, and a guest may build hundreds of requests, even without a grant.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttpCtxView;
use wasmtime_wasi_http::p2::bindings::http::types::{HostOutgoingRequest as _, Method};
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;

use usher_outbound::HOST_MAX_BYTES;

/// Interface of the replaced setters; must match the version that wasmtime-wasi-http links.
const TYPES: &str = "wasi:http/types@0.2.12";
const METHOD_MAX_BYTES: usize = 64;
/// A host, a colon and a port.
const AUTHORITY_MAX_BYTES: usize = HOST_MAX_BYTES + 6;
/// Path and query; few servers accept more.
const PATH_MAX_BYTES: usize = 8 * 1024;

type Request = Resource<HostOutgoingRequest>;
/// Result of a setter; the interface has no error detail.
type Answer = wasmtime::Result<(Result<(), ()>,)>;

fn is_within(text: Option<&str>, max_bytes: usize) -> bool {
    text.is_none_or(|text| text.len() <= max_bytes)
}

/// Shadows the setters of outgoing requests; wasi:http must be linked already.
pub(super) fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    http: fn(&mut T) -> WasiHttpCtxView<'_>,
) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        move |mut store: StoreContextMut<'_, T>, (request, method): (Request, Method)| -> Answer {
            let name = if let Method::Other(name) = &method { Some(&**name) } else { None };
            if !is_within(name, METHOD_MAX_BYTES) {
                return Ok((Err(()),));
            }
            Ok((http(store.data_mut()).set_method(request, method)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        move |mut store: StoreContextMut<'_, T>,
              (request, authority): (Request, Option<String>)|
              -> Answer {
            if !is_within(authority.as_deref(), AUTHORITY_MAX_BYTES) {
                return Ok((Err(()),));
            }
            Ok((http(store.data_mut()).set_authority(request, authority)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-path-with-query",
        move |mut store: StoreContextMut<'_, T>,
              (request, path): (Request, Option<String>)|
              -> Answer {
            if !is_within(path.as_deref(), PATH_MAX_BYTES) {
                return Ok((Err(()),));
            }
            Ok((http(store.data_mut()).set_path_with_query(request, path)?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
