//! [`Runtime`]: the engine, the resources that all plugins share, and instantiation.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use usher_event::{BlobStore, PluginName, StateReader};
use wasmtime::component::{InstancePre, Linker};
use wasmtime::{Engine, PoolConcurrencyLimitError};

use crate::bindings::contract;
use crate::cache::Cache;
use crate::capabilities;
use crate::capabilities::http::{Outlet, StandIns};
use crate::capabilities::random::Seeds;
use crate::capabilities::{Services, clocks, random};
use crate::capability::Grants;
use crate::compiler::Compiler;
use crate::engine;
use crate::exported::{Exported, Indices};
use crate::guest::{Configured, Guest};
use crate::limits::{DESCRIBE_CPU_MS, DESCRIBE_WALL_MS};
use crate::meter::{self, Ticker};
use crate::observed::Script;
use crate::plugin::Plugin;
use crate::pool::Instance;
use crate::pools::{IdleEvictor, Pools};
use crate::redaction::Redactor;
use crate::scheduler::LongCallScheduler;
use crate::verdict::CallFailure;

/// Options of a [`Runtime`].
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Folder of the compiled-code cache, created with mode 0700 if missing. `None`: no cache until
    /// [`Runtime::open_cache`] is called.
    pub cache_dir: Option<PathBuf>,
    /// How components are compiled.
    pub compiler: Compiler,
    /// Maximum concurrent instances across all plugins. Each reserves address space, not memory;
    /// lowered if the address space is too small.
    pub max_instances: u32,
    /// Maximum concurrent outgoing HTTP connections across all plugins.
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
    /// The engine rejected its configuration, or address space could not be reserved.
    #[error("the wasm engine can't be set up: {0}")]
    Engine(String),
    /// The cache folder is not usable.
    #[error("the cache of compiled plugins can't be used: {0}")]
    Cache(#[source] std::io::Error),
    /// There are no random numbers to seed those of guests with.
    #[error("the operating system has no random numbers")]
    Random,
    /// The epoch ticker thread could not be spawned.
    #[error("the runtime's clock can't be started: {0}")]
    Clock(#[source] std::io::Error),
}

/// Compiles and runs plugins. Cheap to clone; the ticker thread stops once all clones, loaded
/// plugins and listeners are dropped.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) inner: Arc<Inner>,
}

/// A linked component and the indices of its exports.
#[derive(Clone)]
pub(crate) struct Prepared {
    pub(crate) pre: InstancePre<Guest>,
    pub(crate) exports: Indices,
    /// Whether its code is optimised.
    pub(crate) is_optimised: bool,
}

/// State shared by all plugins.
pub(crate) struct Inner {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Guest>,
    pub(crate) cache: OnceLock<Cache>,
    pub(crate) compiler: Compiler,
    pub(crate) http: Arc<capabilities::http::Client>,
    stand_ins: OnceLock<Arc<StandIns>>,
    pub(crate) pools: Arc<Pools>,
    seeds: Arc<Seeds>,
    turns: Arc<LongCallScheduler>,
    ticker: Ticker,
}

#[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
pub(crate) fn engine_error(error: wasmtime::Error) -> RuntimeError {
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

    /// A minimal runtime for inspecting plugins one at a time; not for serving deliveries.
    ///
    /// # Errors
    /// See [`RuntimeError`].
    pub fn for_inspection(compiler: Compiler) -> Result<Self, RuntimeError> {
        let engine = engine::for_inspection().map_err(engine_error)?;
        let options =
            RuntimeOptions { compiler, max_http_connections: 1, ..RuntimeOptions::default() };
        Self::on(engine, options)
    }

    fn on(engine: Engine, options: RuntimeOptions) -> Result<Self, RuntimeError> {
        let linker = link(&engine).map_err(engine_error)?;
        let cache = OnceLock::new();
        let pools = Arc::<Pools>::default();
        let mut sweep = IdleEvictor::new(&pools);
        let ticker = Ticker::start(&engine, move || sweep.tick(std::time::Instant::now()))
            .map_err(RuntimeError::Clock)?;
        let compiler = options.compiler;
        let http = Arc::new(capabilities::http::Client::new(options.max_http_connections));
        let turns = Arc::new(LongCallScheduler::for_this_machine());
        let seeds = Arc::new(Seeds::from_system().map_err(|_| RuntimeError::Random)?);
        let stand_ins = OnceLock::new();
        let inner =
            Inner { engine, linker, cache, compiler, http, stand_ins, pools, seeds, turns, ticker };
        let runtime = Self { inner: Arc::new(inner) };
        match options.cache_dir {
            Some(dir) => runtime.open_cache(&dir).map(|()| runtime),
            None => Ok(runtime),
        }
    }

    /// Has answers in a file stand in for the servers of their URLs, for listeners made from now on: a
    /// list of [`GivenAnswer`](usher_event::GivenAnswer) as JSON, read again when it changes. They need
    /// the capability, but no grant for the address. For development; later calls change nothing.
    pub fn stand_in(&self, file: PathBuf) {
        // Already set: keep the first one.
        let _ = self.inner.stand_ins.set(Arc::new(StandIns::new(file)));
    }

    /// Enables the compiled-code cache in `dir`, created with mode 0700 if missing. Once a cache is
    /// set, later calls don't replace it.
    ///
    /// # Errors
    /// The folder is not usable.
    pub fn open_cache(&self, dir: &Path) -> Result<(), RuntimeError> {
        if self.inner.cache.get().is_some() {
            return Ok(());
        }
        let cache = Cache::open(dir).map_err(RuntimeError::Cache)?;
        // Already set: keep the first one.
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
    capabilities::add_wasi_to_linker(&mut linker)?;
    capabilities::add_to_linker(&mut linker)?;
    Ok(linker)
}

impl Inner {
    /// Unix time in milliseconds, at most one tick old.
    pub(crate) fn now_ms(&self) -> u64 {
        self.ticker.unix_ms()
    }

    /// Creates an instance. Start functions run under the CPU limit and `deadline`. If the engine
    /// is at its instance limit, evicts idle instances of all plugins and retries whenever one is
    /// dropped, until `deadline`.
    pub(crate) async fn instantiate(
        &self,
        prepared: &Prepared,
        configured: &Arc<Configured>,
        deadline: Instant,
    ) -> Result<Instance, InstantiateError> {
        let places = &self.pools.places;
        if places.has_waiters() {
            // A waiter may just have been woken: let it go first.
            tokio::task::yield_now().await;
        }
        match self.try_instantiate(prepared, configured, deadline).await {
            Err(InstantiateError::Full(_)) => {}
            done => return done,
        }
        let _waiting = places.wait();
        loop {
            let mut freed = pin!(places.freed());
            // Register before retrying, so that no wakeup is lost.
            freed.as_mut().enable();
            self.pools.shrink();
            match self.try_instantiate(prepared, configured, deadline).await {
                Err(InstantiateError::Full(ending)) => {
                    if timeout_at(deadline, freed).await.is_err() {
                        return Err(InstantiateError::Full(ending));
                    }
                }
                done => return done,
            }
        }
    }

    async fn try_instantiate(
        &self,
        prepared: &Prepared,
        configured: &Arc<Configured>,
        deadline: Instant,
    ) -> Result<Instance, InstantiateError> {
        let plugin = &configured.plugin;
        // Declared before the store so that it is dropped after it.
        let place = self.pools.places.take();
        let mut store = Guest::store(&self.engine, configured, self.ticker.ticks(), &self.turns)
            .map_err(|error| InstantiateError::Ended(CallFailure::host(&error)))?;
        let cpu = &mut store.data_mut().cpu;
        cpu.begin(plugin.limits.cpu_ms);
        let clock = cpu.clock().clone();
        store.set_epoch_deadline(1);
        match meter::drive(&clock, deadline, prepared.pre.instantiate_async(&mut store)).await {
            Ok(Ok(instance)) => match prepared.exports.load(&mut store, &instance) {
                Ok(exported) => {
                    Ok(Instance::new(store, exported, plugin, place, prepared.is_optimised))
                }
                Err(error) => Err(InstantiateError::Contract(error)),
            },
            Ok(Err(error)) => {
                let ending = CallFailure::of(&error, store.data());
                Err(match error.downcast_ref::<PoolConcurrencyLimitError>() {
                    Some(_) => {
                        place.refused();
                        InstantiateError::Full(ending)
                    }
                    None => InstantiateError::Ended(ending),
                })
            }
            Err(_) => Err(InstantiateError::Ended(CallFailure::deadline(plugin.limits.wall_ms))),
        }
    }
}

/// Why instantiation failed.
pub(crate) enum InstantiateError {
    /// The engine is at its instance limit; evicting idle instances may help.
    Full(CallFailure),
    /// An export's type doesn't match the contract.
    Contract(wasmtime::Error),
    /// Anything else.
    Ended(CallFailure),
}

impl From<InstantiateError> for CallFailure {
    fn from(failed: InstantiateError) -> Self {
        match failed {
            InstantiateError::Full(ending) | InstantiateError::Ended(ending) => ending,
            InstantiateError::Contract(error) => Self::host(&error),
        }
    }
}

impl Inner {
    /// What capabilities need of the host. State and blobs are a plugin's, by its name.
    pub(crate) fn services(
        &self,
        state: Option<(PluginName, Arc<dyn StateReader>)>,
        blobs: Option<(PluginName, Arc<dyn BlobStore>)>,
        script: Option<&Script>,
    ) -> Services {
        let (http, clocks, random) = match script {
            None => (
                Outlet::Network(self.http.clone(), self.stand_ins.get().cloned()),
                clocks::Source::Host,
                random::Source::Seeds(self.seeds.clone()),
            ),
            Some(script) => (script.outlet(), script.clocks(), script.random()),
        };
        Services { http, state, blobs, config: (), log: (), messages: (), clocks, random }
    }

    /// Calls `describe` in a throwaway instance without grants.
    pub(crate) async fn describe(
        &self,
        prepared: &Prepared,
        label: &str,
    ) -> Result<contract::Description, InstantiateError> {
        let limits = crate::Limits {
            cpu_ms: DESCRIBE_CPU_MS,
            wall_ms: DESCRIBE_WALL_MS,
            ..crate::Limits::default()
        };
        let plugin = Plugin::new(label, limits, Redactor::default());
        let services = self.services(None, None, None);
        let configured = Arc::new(Configured::new(plugin, &Grants::default(), services));
        let deadline = Instant::now() + Duration::from_millis(DESCRIBE_WALL_MS);
        let mut instance = self.instantiate(prepared, &configured, deadline).await?;
        let Instance { store, exported, clock, .. } = &mut instance;
        // Only the contract has it.
        let Exported::Listener(world) = exported else {
            let error = wasmtime::Error::msg("it does not describe itself");
            return Err(InstantiateError::Contract(error));
        };
        // No `cpu.begin`: `describe` shares the CPU budget with the start functions.
        store.set_epoch_deadline(1);
        let call = world.usher_plugin_listener().call_describe(&mut *store);
        let said = match meter::drive(clock, deadline, call).await {
            Ok(Ok(said)) => Ok(said),
            Ok(Err(error)) => Err(InstantiateError::Ended(CallFailure::of(&error, store.data()))),
            Err(_) => Err(InstantiateError::Ended(CallFailure::deadline(DESCRIBE_WALL_MS))),
        };
        store.data().capabilities.log.flush();
        said
    }
}
