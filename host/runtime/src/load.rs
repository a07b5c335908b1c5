//! Loads a plugin from bytes: check, compile (or read from the cache), link, describe. None of this
//! happens per event.

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use usher_event::{Digest, FailureClass};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::bindings::WorldIndices;
use crate::compiler::{Attempt, CompileError};
use crate::description::{Description, DescriptionError};
use crate::format::{self, FormatError};
use crate::listener::{Settings, WasmListener};
use crate::outline::Outline;
use crate::runtime::{Failed, Inner, Prepared, Runtime};
use crate::verdict::Ending;
use crate::{LimitErrors, text};

/// Maximum size of a component.
pub const COMPONENT_MAX_BYTES: usize = 64 * 1024 * 1024;

/// The interface that every plugin must export.
pub(crate) const LISTENER: &str = "usher:plugin/listener@0.1.0";
/// How much of a wasmtime error is kept.
const DETAIL_MAX_BYTES: usize = 2 * 1024;
/// Maximum export names listed in an error.
const EXPORTS_SHOWN_MAX: usize = 8;

/// Why a file is not loaded: which file, what was found, what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {kind}")]
pub struct LoadError {
    /// The file's name, as given to [`Runtime::load`].
    pub file: String,
    /// What is wrong with it.
    pub kind: LoadErrorKind,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadErrorKind {
    /// It can't be a component.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// It can't be compiled within the compiler's limits, or not at all.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It is a component for another world.
    #[error("exports {found}, expected usher:plugin/listener@0.1.0")]
    WrongWorld {
        /// What it exports.
        found: String,
    },
    /// It exports the right name with the wrong type.
    #[error("exports usher:plugin/listener@0.1.0, but not as the contract has it: {0}")]
    WrongExport(String),
    /// It imports an interface, or a version of one, that isn't offered.
    #[error("imports {import}, {detail}")]
    UnknownImport {
        /// The name it imports.
        import: String,
        /// Why that is not offered, and what is.
        detail: String,
    },
    /// `describe` or a start function failed.
    #[error("describe failed: {reason}")]
    Describe {
        /// What kind of failure it is.
        class: FailureClass,
        /// What happened.
        reason: String,
        /// The guest's call stack.
        backtrace: Option<String>,
    },
    /// `describe` returned an invalid description.
    #[error("describe breaks a rule: {0}")]
    Description(#[from] DescriptionError),
    /// The router is shutting down, or compiling panicked.
    #[error("loading was cut short: {0}")]
    Host(String),
}

/// A plugin that is compiled, linked and described, but not configured.
#[derive(Clone)]
pub struct Loaded {
    inner: Arc<LoadedInner>,
}

struct LoadedInner {
    runtime: Arc<Inner>,
    linked: Linked,
    description: Description,
}

/// A component that fits the contract.
struct Linked {
    prepared: Prepared,
    digest: Digest,
    imports: Vec<String>,
    exports: Vec<String>,
    size_bytes: usize,
    from_cache: bool,
}

impl Runtime {
    /// Whether the cache has compiled code for a component, so that loading it is fast. Doesn't
    /// verify the entry.
    pub fn is_compiled(&self, digest: &Digest) -> bool {
        let inner = &self.inner;
        inner.cache.get().is_some_and(|cache| cache.has(&inner.engine, digest))
    }

    /// Loads a component. Compiles and describes off the executor. Dropping the future doesn't
    /// cancel the work: it runs to completion and its result is discarded.
    ///
    /// # Errors
    /// See [`LoadErrorKind`].
    pub async fn load(
        &self,
        bytes: Bytes,
        file: &str,
        attempt: Attempt,
    ) -> Result<Loaded, LoadError> {
        let runtime = self.inner.clone();
        let label = file.to_owned();
        let executor = Handle::current();
        // On a blocking thread, so that neither compiling nor a guest that spins in `describe`
        // blocks the executor.
        let loading = tokio::task::spawn_blocking(move || {
            let linked = link(&runtime, &bytes, &executor, attempt)?;
            let said = executor
                .block_on(runtime.describe(&linked.prepared, &label))
                .map_err(describe_failed)?;
            let description = Description::check(said)?;
            Ok(LoadedInner { runtime, linked, description })
        });
        let error = |kind| LoadError { file: file.to_owned(), kind };
        match loading.await {
            Ok(Ok(inner)) => Ok(Loaded { inner: Arc::new(inner) }),
            Ok(Err(kind)) => Err(error(kind)),
            Err(cut_short) => Err(error(LoadErrorKind::Host(cut_short.to_string()))),
        }
    }
}

impl Loaded {
    /// The plugin's description of itself.
    pub fn description(&self) -> &Description {
        &self.inner.description
    }

    /// SHA-256 of the bytes.
    pub fn digest(&self) -> Digest {
        self.inner.linked.digest
    }

    /// The names of what it imports.
    pub fn imports(&self) -> &[String] {
        &self.inner.linked.imports
    }

    /// The names of what it exports.
    pub fn exports(&self) -> &[String] {
        &self.inner.linked.exports
    }

    /// Size of the component.
    pub fn size_bytes(&self) -> usize {
        self.inner.linked.size_bytes
    }

    /// Whether the compiled code came from the cache.
    pub fn from_cache(&self) -> bool {
        self.inner.linked.from_cache
    }

    /// Creates a listener with the operator's settings. May be called again with others.
    ///
    /// # Errors
    /// Some of the limits are out of range.
    pub fn listener(&self, settings: Settings) -> Result<Arc<WasmListener>, LimitErrors> {
        settings.limits.check()?;
        let LoadedInner { runtime, linked, description } = &*self.inner;
        let name = description.name.clone();
        let listener = WasmListener::new(
            runtime.clone(),
            linked.prepared.clone(),
            name,
            description.version.clone(),
            linked.digest,
            settings,
        );
        Ok(Arc::new(listener))
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("name", &self.inner.description.name)
            .field("digest", &self.inner.linked.digest)
            .finish_non_exhaustive()
    }
}

/// Compiles a component, unless it is cached, and links it.
fn link(
    runtime: &Inner,
    bytes: &[u8],
    executor: &Handle,
    attempt: Attempt,
) -> Result<Linked, LoadErrorKind> {
    format::check(bytes, COMPONENT_MAX_BYTES)?;
    // Compiling may take long: check the names first.
    let outline = Outline::read(bytes).map_err(|words| CompileError::invalid(&words))?;
    outline.check()?;
    let digest = Digest::of(bytes);
    let engine = &runtime.engine;
    let cached = runtime.cache.get().and_then(|cache| cache.get(engine, &digest));
    let from_cache = cached.is_some();
    let component = match cached {
        Some(component) => component,
        None => {
            let code = executor.block_on(runtime.compiler.compile(engine, bytes, attempt))?;
            let component = revive(engine, &code)?;
            if let Some(cache) = runtime.cache.get() {
                cache.put(engine, &digest, &code);
            }
            component
        }
    };
    let ty = component.component_type();
    let names = |names: &mut dyn Iterator<Item = &str>| names.map(str::to_owned).collect();
    let imports: Vec<String> = names(&mut ty.imports(engine).map(|(name, _)| name));
    let exports: Vec<String> = names(&mut ty.exports(engine).map(|(name, _)| name));
    // The outline checked this already, but the engine is authoritative.
    if component.get_export_index(None, LISTENER).is_none() {
        return Err(LoadErrorKind::WrongWorld { found: shown(&exports) });
    }
    let pre = runtime
        .linker
        .instantiate_pre(&component)
        .map_err(|error| unknown_import(&error, &imports))?;
    let at = WorldIndices::new(&pre);
    let at = at.map_err(|error| LoadErrorKind::WrongExport(detail(&error)))?;
    let prepared = Prepared { pre, exports: at };
    Ok(Linked { prepared, digest, imports, exports, size_bytes: bytes.len(), from_cache })
}

/// Loads code that was just compiled.
fn revive(engine: &Engine, code: &[u8]) -> Result<Component, CompileError> {
    // SAFETY: `deserialize` runs its input as native code. These bytes were just produced by
    // `precompile_component`, in this process or in a child that runs our own program, opened
    // nothing and received nothing but the component.
    #[allow(unsafe_code, reason = "loading our own compiled code")]
    let component = unsafe { Component::deserialize(engine, code) };
    // Valid code may still need more than the engine allows an instance.
    component.map_err(|error| CompileError::too_much(&detail(&error)))
}

fn describe_failed(failed: Failed) -> LoadErrorKind {
    if let Failed::Contract(error) = &failed {
        return LoadErrorKind::WrongExport(detail(error));
    }
    let ending = Ending::from(failed);
    let reason = text::cut(text::escape(&ending.reason).into_owned(), DETAIL_MAX_BYTES);
    LoadErrorKind::Describe { class: ending.class, reason, backtrace: ending.backtrace }
}

/// Finds the import that a linker error is about.
fn unknown_import(error: &wasmtime::Error, imports: &[String]) -> LoadErrorKind {
    let detail = detail(error);
    let import = imports.iter().find(|import| detail.contains(&format!("`{import}`")));
    let import = import.map_or_else(|| "something".to_owned(), |name| escaped(name));
    let detail = format!("which is not offered like that: {detail}");
    LoadErrorKind::UnknownImport { import, detail }
}

pub(crate) fn shown(exports: &[String]) -> String {
    match exports {
        [] => "nothing".to_owned(),
        names => {
            let shown: Vec<_> =
                names.iter().take(EXPORTS_SHOWN_MAX).map(|name| escaped(name)).collect();
            let more = if names.len() > EXPORTS_SHOWN_MAX { ", …" } else { "" };
            format!("{}{more}", shown.join(", "))
        }
    }
}

pub(crate) fn escaped(name: &str) -> String {
    text::cut(text::escape(name).into_owned(), 128)
}

pub(crate) fn detail(error: &wasmtime::Error) -> String {
    text::cut(text::escape(&format!("{error:#}")).into_owned(), DETAIL_MAX_BYTES)
}
