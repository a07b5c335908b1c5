//! Loads a plugin from bytes: check, compile (or read from the cache), link, describe. None of this
//! happens per event.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinError;
use usher_event::Digest;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::code::Code;
use crate::compiler::{CompileBudget, CompileError};
use crate::description::Description;
use crate::exported::{Indices, Kind};
use crate::format;
use crate::limits::COMPONENT_MAX_BYTES;
use crate::listener::{Settings, SettingsError, WasmListener};
use crate::load_error::{LoadError, LoadErrorKind};
use crate::outline::{ComponentNames, wrong_world};
use crate::runtime::{Inner, InstantiateError, Prepared, Runtime};
use crate::text;
use crate::tier::Tier;
use crate::verdict::CallFailure;

/// How much of the reason is kept for which `describe` failed.
const DESCRIBE_REASON_MAX_BYTES: usize = 2 * 1024;

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
    code: Arc<Code>,
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

    /// Loads a component with optimised code. Compiles and describes off the executor. Dropping the
    /// future doesn't cancel the work: it runs to completion and its result is discarded.
    ///
    /// # Errors
    /// See [`LoadErrorKind`].
    pub async fn load(
        &self,
        bytes: Bytes,
        file: &str,
        attempt: CompileBudget,
    ) -> Result<Loaded, LoadError> {
        self.load_at(bytes, file, attempt, Tier::Optimised).await
    }

    /// Like [`Runtime::load`]; with baseline code unless the cache has optimised code.
    /// [`Runtime::optimise`] replaces it.
    ///
    /// # Errors
    /// See [`LoadErrorKind`].
    pub async fn load_quickly(
        &self,
        bytes: Bytes,
        file: &str,
        attempt: CompileBudget,
    ) -> Result<Loaded, LoadError> {
        self.load_at(bytes, file, attempt, Tier::Baseline).await
    }

    /// Replaces the baseline code of a listener's component by optimised code, in the cache, too:
    /// instances give way to new ones after their deliveries. `bytes` are the component's.
    ///
    /// # Errors
    /// See [`LoadErrorKind`]; nothing is replaced then.
    pub async fn optimise(
        &self,
        listener: &WasmListener,
        bytes: Bytes,
    ) -> Result<(), LoadErrorKind> {
        let (runtime, old) = (self.inner.clone(), listener.code().clone());
        let compiler = &self.inner.compiler;
        let (attempt, tier) = (CompileBudget::Patient, Tier::Optimised);
        let code = compiler.compile(&self.inner.engine, &bytes, attempt, tier).await?;
        let linking = tokio::task::spawn_blocking(move || {
            if Digest::of(&bytes) != old.digest {
                let words = "the bytes are another component's".to_owned();
                return Err(LoadErrorKind::Host(words));
            }
            let component = deserialize_trusted(&runtime.engine, &code)?;
            if let Some(cache) = runtime.cache.get() {
                cache.put(&runtime.engine, &old.digest, &code);
            }
            old.replace(prepare(&runtime, &component, old.kind, &old.imports, true)?);
            Ok(())
        });
        linking.await.map_err(|cut_short| cut(&cut_short))?
    }

    async fn load_at(
        &self,
        bytes: Bytes,
        file: &str,
        attempt: CompileBudget,
        tier: Tier,
    ) -> Result<Loaded, LoadError> {
        let (runtime, label) = (self.inner.clone(), file.to_owned());
        let loading = tokio::spawn(load(runtime, bytes, label, attempt, tier));
        let error = |kind| LoadError { file: file.to_owned(), kind };
        match loading.await {
            Ok(Ok(inner)) => Ok(Loaded { inner: Arc::new(inner) }),
            Ok(Err(kind)) => Err(error(kind)),
            Err(cut_short) => Err(error(cut(&cut_short))),
        }
    }
}

/// Loads a component; what takes the processor, or the disk, off the executor.
async fn load(
    runtime: Arc<Inner>,
    bytes: Bytes,
    label: String,
    attempt: CompileBudget,
    tier: Tier,
) -> Result<LoadedInner, LoadErrorKind> {
    let looking = tokio::task::spawn_blocking({
        let (runtime, bytes) = (runtime.clone(), bytes.clone());
        move || look(&runtime, &bytes)
    });
    let (digest, cached) = looking.await.map_err(|cut_short| cut(&cut_short))??;
    let found = match cached {
        Some(component) => Found::Cached(component),
        None => {
            let compiling = runtime.compiler.compile(&runtime.engine, &bytes, attempt, tier);
            Found::Compiled(compiling.await?, tier)
        }
    };
    let linking = tokio::task::spawn_blocking({
        let (runtime, size_bytes) = (runtime.clone(), bytes.len());
        move || link(&runtime, found, digest, size_bytes)
    });
    let linked = linking.await.map_err(|cut_short| cut(&cut_short))??;
    let description = match linked.code.kind {
        Kind::Listener => {
            let described = runtime.describe(&linked.code.best(), &label).await;
            Description::check(described.map_err(describe_failed)?)?
        }
        Kind::IncomingHttp | Kind::Messages | Kind::WasiMessages => {
            let summary = linked.code.kind.summary().unwrap_or_default();
            Description::of_file(&label, &linked.code.digest, summary)?
        }
    };
    Ok(LoadedInner { runtime, linked, description })
}

fn cut(error: &JoinError) -> LoadErrorKind {
    LoadErrorKind::Host(error.to_string())
}

impl Loaded {
    /// The plugin's description of itself.
    pub fn description(&self) -> &Description {
        &self.inner.description
    }

    /// SHA-256 of the bytes.
    pub fn digest(&self) -> Digest {
        self.inner.linked.code.digest
    }

    /// The names of what it imports.
    pub fn imports(&self) -> &[String] {
        &self.inner.linked.code.imports
    }

    /// The names of what it exports.
    pub fn exports(&self) -> &[String] {
        &self.inner.linked.exports
    }

    /// Whether it is a component built for other hosts: it describes nothing, and its subscriptions are
    /// the operator's.
    pub fn is_foreign(&self) -> bool {
        self.inner.linked.code.kind != Kind::Listener
    }

    /// Size of the component.
    pub fn size_bytes(&self) -> usize {
        self.inner.linked.size_bytes
    }

    /// Whether its code is optimised.
    pub fn is_optimised(&self) -> bool {
        self.inner.linked.code.is_optimised()
    }

    /// Whether the compiled code came from the cache.
    pub fn from_cache(&self) -> bool {
        self.inner.linked.from_cache
    }

    /// Creates a listener with the operator's settings. May be called again with others.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn listener(&self, settings: Settings) -> Result<Arc<WasmListener>, SettingsError> {
        settings.limits.check()?;
        let LoadedInner { runtime, linked, description } = &*self.inner;
        let name = description.name.clone();
        let listener = WasmListener::new(
            runtime.clone(),
            linked.code.clone(),
            name,
            description.version.clone(),
            settings,
            false,
        )?;
        Ok(Arc::new(listener))
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("name", &self.inner.description.name)
            .field("digest", &self.inner.linked.code.digest)
            .finish_non_exhaustive()
    }
}

/// Code of a component.
enum Found {
    /// In the cache, where only optimised code is.
    Cached(Component),
    Compiled(Vec<u8>, Tier),
}

/// Checks a component as far as that is possible without compiling, and looks for it in the cache.
fn look(runtime: &Inner, bytes: &[u8]) -> Result<(Digest, Option<Component>), LoadErrorKind> {
    format::check(bytes, COMPONENT_MAX_BYTES)?;
    // Compiling may take long: check the names first.
    let outline = ComponentNames::read(bytes).map_err(|words| CompileError::invalid(&words))?;
    outline.check()?;
    let digest = Digest::of(bytes);
    let cached = runtime.cache.get().and_then(|cache| cache.get(&runtime.engine, &digest));
    Ok((digest, cached))
}

/// Links code, and keeps it if it is new and optimised.
fn link(
    runtime: &Inner,
    found: Found,
    digest: Digest,
    size_bytes: usize,
) -> Result<Linked, LoadErrorKind> {
    let engine = &runtime.engine;
    let (component, from_cache, tier) = match found {
        Found::Cached(component) => (component, true, Tier::Optimised),
        Found::Compiled(code, tier) => {
            let component = deserialize_trusted(engine, &code)?;
            if let Some(cache) = runtime.cache.get().filter(|_| tier == Tier::Optimised) {
                cache.put(engine, &digest, &code);
            }
            (component, false, tier)
        }
    };
    let ty = component.component_type();
    let names = |names: &mut dyn Iterator<Item = &str>| names.map(str::to_owned).collect();
    let imports: Vec<String> = names(&mut ty.imports(engine).map(|(name, _)| name));
    let exports: Vec<String> = names(&mut ty.exports(engine).map(|(name, _)| name));
    // The outline checked this already, but the engine is authoritative.
    let kind = Kind::of(exports.iter().map(String::as_str));
    let kind = kind.ok_or_else(|| wrong_world(&exports))?;
    let is_optimised = tier == Tier::Optimised;
    let prepared = prepare(runtime, &component, kind, &imports, is_optimised)?;
    let code = Arc::new(Code::new(kind, digest, imports, prepared));
    Ok(Linked { code, exports, size_bytes, from_cache })
}

/// Links a compiled component.
fn prepare(
    runtime: &Inner,
    component: &Component,
    kind: Kind,
    imports: &[String],
    is_optimised: bool,
) -> Result<Prepared, LoadErrorKind> {
    let linked = runtime.linker.instantiate_pre(component);
    let pre = linked.map_err(|error| unknown_import(&error, imports))?;
    let exports = Indices::new(kind, &pre);
    let exports = exports.map_err(|error| LoadErrorKind::WrongExport(text::error(&error)))?;
    Ok(Prepared { pre, exports, is_optimised })
}

/// Loads code that was just compiled.
fn deserialize_trusted(engine: &Engine, code: &[u8]) -> Result<Component, CompileError> {
    // SAFETY: `deserialize` runs its input as native code. These bytes were just produced by
    // `precompile_component`, in this process or in a child that runs our own program, opened
    // nothing and received nothing but the component.
    #[allow(unsafe_code, reason = "loading our own compiled code")]
    let component = unsafe { Component::deserialize(engine, code) };
    // Valid code may still need more than the engine allows an instance.
    component.map_err(|error| CompileError::too_much(&text::error(&error)))
}

fn describe_failed(failed: InstantiateError) -> LoadErrorKind {
    if let InstantiateError::Contract(error) = &failed {
        return LoadErrorKind::WrongExport(text::error(error));
    }
    let ending = CallFailure::from(failed);
    let reason = text::cut(text::escape(&ending.reason).into_owned(), DESCRIBE_REASON_MAX_BYTES);
    LoadErrorKind::Describe { class: ending.class, reason, backtrace: ending.backtrace }
}

/// Finds the import that a linker error is about.
fn unknown_import(error: &wasmtime::Error, imports: &[String]) -> LoadErrorKind {
    let detail = text::error(error);
    let import = imports.iter().find(|import| detail.contains(&format!("`{import}`")));
    let import = import.map_or_else(|| "something".to_owned(), |name| text::name(name));
    let detail = format!("which is not offered like that: {detail}");
    LoadErrorKind::UnknownImport { import, detail }
}
