//! Bounds for what the host keeps of a request that is only being built: wasmtime's own setters take
//! whatever a call may carry, and a guest may build hundreds of requests, granted or not.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::types::{HostOutgoingRequest as _, Method};
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;

use crate::grants::HOST_MAX_BYTES;
use crate::guest::Guest;

/// The interface that the setters below take the place of, as wasmtime-wasi-http names it.
const TYPES: &str = "wasi:http/types@0.2.12";
/// Longest name of a method.
const METHOD_MAX_BYTES: usize = 64;
/// A host, a colon and a port.
const AUTHORITY_MAX_BYTES: usize = HOST_MAX_BYTES + 6;
/// Longest path with its query; few servers take more.
const PATH_MAX_BYTES: usize = 8 * 1024;

type Request = Resource<HostOutgoingRequest>;
/// What a setter answers: an error without words where the value can't be taken.
type Answer = wasmtime::Result<(Result<(), ()>,)>;

fn is_within(text: Option<&str>, max_bytes: usize) -> bool {
    text.is_none_or(|text| text.len() <= max_bytes)
}

/// Links the setters of outgoing requests. They must be linked already, for these shadow them.
pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, Guest>, (request, method): (Request, Method)| -> Answer {
            let name = if let Method::Other(name) = &method { Some(&**name) } else { None };
            if !is_within(name, METHOD_MAX_BYTES) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_method(request, method)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, Guest>,
         (request, authority): (Request, Option<String>)|
         -> Answer {
            if !is_within(authority.as_deref(), AUTHORITY_MAX_BYTES) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_authority(request, authority)?,))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-path-with-query",
        |mut store: StoreContextMut<'_, Guest>,
         (request, path): (Request, Option<String>)|
         -> Answer {
            if !is_within(path.as_deref(), PATH_MAX_BYTES) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_path_with_query(request, path)?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
