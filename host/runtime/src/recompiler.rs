//! Compiles one author's component again and again, with only what has changed compiled anew.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use usher_event::Digest;
use wasmtime::{CacheStore, Engine};

use crate::cache::Cache;
use crate::compiler::CompileError;
use crate::limits::COMPONENT_MAX_BYTES;
use crate::runtime::{RuntimeError, engine_error};
use crate::{engine, format, text};

/// Puts the code of components into a router's cache before the router sees them. Most functions of a
/// component are its language's runtime, which no edit changes: their code is kept from one
/// compilation to the next.
///
/// It compiles in this process and without limits, and one component could leave wrong code for the
/// next: for components of the person who runs it.
pub struct Recompiler {
    engine: Engine,
    functions: Arc<Functions>,
    cache: Cache,
}

impl Recompiler {
    /// For the cache in a folder.
    ///
    /// # Errors
    /// The engine or the folder can't be used.
    pub fn new(cache: &Path) -> Result<Self, RuntimeError> {
        let functions = Arc::<Functions>::default();
        let engine = engine::for_recompiling(functions.clone()).map_err(engine_error)?;
        Ok(Self { engine, functions, cache: Cache::open(cache).map_err(RuntimeError::Cache)? })
    }

    /// Compiles a component, unless the cache has it.
    ///
    /// # Errors
    /// It is too large, or not a component that can be compiled.
    pub fn compile(&self, component: &[u8]) -> Result<(), CompileError> {
        let digest = Digest::of(component);
        if self.cache.has(&self.engine, &digest) {
            return Ok(());
        }
        format::check(component, COMPONENT_MAX_BYTES)
            .map_err(|error| CompileError::Invalid(error.to_string()))?;
        let compiled = self.engine.precompile_component(component);
        self.functions.lock().age();
        let code = compiled.map_err(|error| CompileError::invalid(&text::error(&error)))?;
        self.cache.put(&self.engine, &digest, &code);
        Ok(())
    }
}

impl std::fmt::Debug for Recompiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recompiler").finish_non_exhaustive()
    }
}

/// Compiled functions by their source. Bounded by the code of two components: what a compilation
/// didn't use is dropped at the end of the next.
#[derive(Debug, Default)]
pub(crate) struct Functions(Mutex<Generations>);

type ByKey = HashMap<Box<[u8]>, Arc<[u8]>>;

#[derive(Debug, Default)]
struct Generations {
    current: ByKey,
    previous: ByKey,
    /// Functions that were not found.
    compiled: u64,
}

impl Functions {
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn age(&mut self) {
        self.previous = std::mem::take(&mut self.current);
    }
}

impl CacheStore for Functions {
    fn get(&self, key: &[u8]) -> Option<Cow<'_, [u8]>> {
        let code = {
            let Generations { current, previous, .. } = &mut *self.lock();
            if !current.contains_key(key) {
                let (key, code) = previous.remove_entry(key)?;
                current.insert(key, code);
            }
            current.get(key)?.clone()
        };
        Some(Cow::Owned(code.to_vec()))
    }

    fn insert(&self, key: &[u8], code: Vec<u8>) -> bool {
        let generations = &mut *self.lock();
        generations.compiled += 1;
        generations.current.insert(key.into(), code.into());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(constant: u32) -> Vec<u8> {
        wat::parse_str(format!(
            "(component (core module
                (func (export \"a\") (result i32) i32.const 7)
                (func (export \"b\") (result i32) i32.const {constant})))"
        ))
        .unwrap()
    }

    #[test]
    fn only_what_has_changed_is_compiled_and_what_is_no_longer_used_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let recompiler = Recompiler::new(&dir.path().join("cache")).unwrap();
        let kept = || {
            let generations = recompiler.functions.lock();
            (generations.previous.len(), generations.compiled)
        };
        recompiler.compile(&component(1)).unwrap();
        let (functions, compiled) = kept();
        assert!(functions >= 2, "{functions}");
        recompiler.compile(&component(2)).unwrap();
        assert_eq!(kept(), (functions, compiled + 1), "one function is another");
        recompiler.compile(&component(2)).unwrap();
        assert_eq!(kept(), (functions, compiled + 1), "the cache had it");
        assert!(recompiler.compile(b"\0asm").is_err());
        assert!(recompiler.cache.has(&recompiler.engine, &Digest::of(&component(2))));
        assert!(recompiler.cache.get(&recompiler.engine, &Digest::of(&component(1))).is_some());
    }
}
