//! [`Runtime`]: the engine with everything all plugins share, and how instances come about.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use wasmtime::component::{InstancePre, Linker};
use wasmtime::{Engine, PoolConcurrencyLimitError};

use crate::bindings::{WorldIndices, types};
use crate::cache::Cache;
use crate::capabilities;
use crate::compiler::Compiler;
use crate::engine;
use crate::guest::Guest;
use crate::meter::{self, Ticker};
use crate::plugin::Plugin;
use crate::pool::Instance;
use crate::pools::{Pools, Sweep};
use crate::turns::Turns;
use crate::verdict::Ending;

/// How the runtime is set up.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Where compiled components are kept; made if missing, and private to this user. `None`
    /// compiles at each start.
    pub cache_dir: Option<PathBuf>,
    /// Who compiles components.
    pub compiler: Compiler,
    /// Instances of all plugins together, at a time. Each reserves address space, not memory; where
    /// the system has less of it, there are fewer.
    pub max_instances: u32,
    /// Connections to HTTP servers of all plugins together, at a time.
    pub max_http_connections: usize,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            cache_dir: None,
            compiler: Compiler::default(),
            max_instances: 1_000,
            max_http_connections: capabilities::http::CONNECTIONS_DEFAULT,
        }
    }
}

/// Why the runtime could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine refused its configuration, or the system the memory to reserve.
    #[error("the wasm engine can't be set up: {0}")]
    Engine(String),
    /// The cache folder is not usable.
    #[error("the cache of compiled plugins can't be used: {0}")]
    Cache(#[source] std::io::Error),
    /// The thread that moves the clock could not be started.
    #[error("the runtime's clock can't be started: {0}")]
    Clock(#[source] std::io::Error),
}

/// Compiles plugins and runs them. Cheap to clone; the clock stops with the last clone and the
/// last listener.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) inner: Arc<Inner>,
}

/// A component that is linked, with the places of its exports.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) pre: InstancePre<Guest>,
    pub(crate) exports: WorldIndices,
}

/// What all plugins share.
pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Guest>,
    pub(crate) cache: OnceLock<Cache>,
    pub(crate) compiler: Compiler,
    pub(crate) http: Arc<capabilities::http::Client>,
    pub(crate) pools: Arc<Pools>,
    turns: Arc<Turns>,
    ticker: Ticker,
}

#[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn engine_error(error: wasmtime::Error) -> RuntimeError {
    RuntimeError::Engine(format!("{error:#}"))
}

impl Runtime {
    /// Sets up the engine and starts its clock.
    ///
    /// # Errors
    /// See [`RuntimeError`].
    pub fn new(options: RuntimeOptions) -> Result<Self, RuntimeError> {
        let (engine, instances) =
            engine::for_at_most(options.max_instances).map_err(engine_error)?;
        if instances < options.max_instances {
            tracing::warn!(
                instances,
                max_instances = options.max_instances,
                "the address space holds fewer instances of plugins than may be: raise its limit \
                 (ulimit -v), or lower max_instances in [sandbox] in usher.toml"
            );
        }
        Self::on(engine, options)
    }

    /// Sets up one to look at plugins in, one after another, which serves none: it needs little.
    ///
    /// # Errors
    /// See [`RuntimeError`].
    pub fn to_look(compiler: Compiler) -> Result<Self, RuntimeError> {
        let engine = engine::for_looking().map_err(engine_error)?;
        let options =
            RuntimeOptions { compiler, max_http_connections: 1, ..RuntimeOptions::default() };
        Self::on(engine, options)
    }

    fn on(engine: Engine, options: RuntimeOptions) -> Result<Self, RuntimeError> {
        let linker = link(&engine).map_err(engine_error)?;
        let cache = OnceLock::new();
        let pools = Arc::<Pools>::default();
        let mut sweep = Sweep::new(&pools);
        let ticker = Ticker::start(&engine, move || sweep.tick(std::time::Instant::now()))
            .map_err(RuntimeError::Clock)?;
        let compiler = options.compiler;
        let http = Arc::new(capabilities::http::Client::new(options.max_http_connections));
        let turns = Arc::new(Turns::for_this_machine());
        let inner = Inner { engine, linker, cache, compiler, http, pools, turns, ticker };
        let runtime = Self { inner: Arc::new(inner) };
        match options.cache_dir {
            Some(dir) => runtime.open_cache(&dir).map(|()| runtime),
            None => Ok(runtime),
        }
    }

    /// Keeps compiled components in this folder from now on; made if missing, and private to this
    /// user. The first call counts.
    ///
    /// # Errors
    /// The folder is not usable.
    pub fn open_cache(&self, dir: &Path) -> Result<(), RuntimeError> {
        let cache = Cache::open(dir).map_err(RuntimeError::Cache)?;
        // The one that came first has the same right.
        let _ = self.inner.cache.set(cache);
        Ok(())
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}

fn link(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    capabilities::wasi::add_to_linker(&mut linker)?;
    capabilities::http::add_to_linker(&mut linker)?;
    capabilities::config::add_to_linker(&mut linker)?;
    capabilities::log::add_to_linker(&mut linker)?;
    capabilities::state::add_to_linker(&mut linker)?;
    capabilities::blobs::add_to_linker(&mut linker)?;
    Ok(linker)
}

impl Inner {
    /// Unix time in milliseconds, at most a tick old.
    pub(crate) fn now_ms(&self) -> u64 {
        self.ticker.unix_ms()
    }

    /// A new instance. Its start functions run under the CPU limit and the deadline. Where there
    /// are as many as there may be, idle ones of all plugins go; where that is not enough, this
    /// waits for one to end, until the deadline.
    pub(crate) async fn instantiate(
        &self,
        prepared: &Prepared,
        plugin: &Arc<Plugin>,
        deadline: Instant,
    ) -> Result<Instance, Failed> {
        let places = &self.pools.places;
        if places.are_waited_for() {
            // Whoever waits has just been woken, maybe: it comes first.
            tokio::task::yield_now().await;
        }
        match self.try_instantiate(prepared, plugin, deadline).await {
            Err(Failed::Full(_)) => {}
            done => return done,
        }
        let _waiting = places.wait();
        loop {
            let mut freed = pin!(places.freed());
            // Before looking again, so that nothing that ends from here on goes unnoticed.
            freed.as_mut().enable();
            self.pools.shrink();
            match self.try_instantiate(prepared, plugin, deadline).await {
                Err(Failed::Full(ending)) => {
                    if timeout_at(deadline, freed).await.is_err() {
                        return Err(Failed::Full(ending));
                    }
                }
                done => return done,
            }
        }
    }

    async fn try_instantiate(
        &self,
        prepared: &Prepared,
        plugin: &Arc<Plugin>,
        deadline: Instant,
    ) -> Result<Instance, Failed> {
        // Declared before the store, to be dropped after it.
        let place = self.pools.places.take();
        let mut store = Guest::store(&self.engine, plugin, self.ticker.ticks(), &self.turns)
            .map_err(|error| Failed::Ended(Ending::host(&error)))?;
        let cpu = &mut store.data_mut().cpu;
        cpu.begin(plugin.limits.cpu_ms);
        let clock = cpu.clock().clone();
        store.set_epoch_deadline(1);
        match meter::drive(&clock, deadline, prepared.pre.instantiate_async(&mut store)).await {
            Ok(Ok(instance)) => match prepared.exports.load(&mut store, &instance) {
                Ok(world) => Ok(Instance::new(store, world, plugin, place)),
                Err(error) => Err(Failed::Contract(error)),
            },
            Ok(Err(error)) => {
                let ending = Ending::of(&error, store.data());
                Err(match error.downcast_ref::<PoolConcurrencyLimitError>() {
                    Some(_) => {
                        place.refused();
                        Failed::Full(ending)
                    }
                    None => Failed::Ended(ending),
                })
            }
            Err(_) => Err(Failed::Ended(Ending::deadline(plugin.limits.wall_ms))),
        }
    }
}

/// Why there is no instance.
pub(crate) enum Failed {
    /// As many as there may be; others may be waiting for nothing.
    Full(Ending),
    /// The exports don't have the contract's types.
    Contract(wasmtime::Error),
    /// Anything else.
    Ended(Ending),
}

impl From<Failed> for Ending {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Full(ending) | Failed::Ended(ending) => ending,
            Failed::Contract(error) => Self::host(&error),
        }
    }
}

/// CPU time of loading: start functions, then `describe`.
pub(crate) const DESCRIBE_CPU_MS: u64 = 1_000;
/// How long either may take by the clock on the wall, on a machine that may be busy.
pub(crate) const DESCRIBE_WALL_MS: u64 = 15_000;

impl Inner {
    /// Asks a component what it is: in an instance of its own, with nothing granted.
    pub(crate) async fn describe(
        &self,
        prepared: &Prepared,
        label: &str,
    ) -> Result<types::Description, Failed> {
        let limits = crate::Limits {
            cpu_ms: DESCRIBE_CPU_MS,
            wall_ms: DESCRIBE_WALL_MS,
            ..crate::Limits::default()
        };
        let plugin = Arc::new(Plugin::unconfigured(label, limits, self.http.clone()));
        let deadline = Instant::now() + Duration::from_millis(DESCRIBE_WALL_MS);
        let mut instance = self.instantiate(prepared, &plugin, deadline).await?;
        let Instance { store, world, clock, .. } = &mut instance;
        // The budget goes on from where the start functions left it.
        store.set_epoch_deadline(1);
        let call = world.usher_plugin_listener().call_describe(&mut *store);
        let said = match meter::drive(clock, deadline, call).await {
            Ok(Ok(said)) => Ok(said),
            Ok(Err(error)) => Err(Failed::Ended(Ending::of(&error, store.data()))),
            Err(_) => Err(Failed::Ended(Ending::deadline(DESCRIBE_WALL_MS))),
        };
        store.data().log.end();
        said
    }
}
