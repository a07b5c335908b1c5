//! Shared by all tests: the runtime, guests, deliveries, and in-memory stores.

pub(crate) mod guest;
pub(crate) mod logs;
pub(crate) mod stores;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};
use usher_event::{
    Delivery, Emission, Event, Failure, FailureClass, Listener as _, Outcome, PluginName,
    SubscriptionName, Verdict,
};
use usher_runtime::{
    CompileBudget, Grants, Isolation, Limits, LoadError, Loaded, Runtime, RuntimeOptions, Settings,
    WasmListener,
};

use stores::{MemoryBlobs, MemoryState};

/// Runs a test's asynchronous part.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The runtime that tests share unless they need one of their own.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new(options()).unwrap())
}

pub(crate) fn options() -> RuntimeOptions {
    RuntimeOptions { max_instances: 100, ..RuntimeOptions::default() }
}

/// The bytes of a guest built from tests/guests.
pub(crate) fn guest_bytes(name: &str) -> Bytes {
    let folder = std::env::var_os("USHER_GUESTS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/guests"),
        PathBuf::from,
    );
    let path = folder.join(format!("{name}.wasm"));
    match std::fs::read(&path) {
        Ok(bytes) => bytes.into(),
        Err(error) => panic!("{}: {error}; run `cargo xtask plugins` first", path.display()),
    }
}

pub(crate) fn load(bytes: impl Into<Bytes>) -> Result<Loaded, LoadError> {
    block_on(runtime().load(bytes.into(), "tested.wasm", CompileBudget::Patient))
}

/// A guest built from tests/guests, compiled once for all tests.
pub(crate) fn guest(name: &str) -> Loaded {
    static LOADED: Mutex<BTreeMap<String, Loaded>> = Mutex::new(BTreeMap::new());
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    loaded
        .entry(name.to_owned())
        .or_insert_with(|| load(guest_bytes(name)).unwrap_or_else(|error| panic!("{error}")))
        .clone()
}

/// A listener with its stores.
pub(crate) struct Setup {
    pub(crate) listener: Arc<WasmListener>,
    pub(crate) state: Arc<MemoryState>,
    pub(crate) blobs: Arc<MemoryBlobs>,
}

impl Setup {
    pub(crate) fn new(loaded: &Loaded, grants: Grants, limits: Limits) -> Self {
        Self::over(loaded, grants, limits, MemoryState::default())
    }

    /// With this state instead of an empty one.
    pub(crate) fn over(
        loaded: &Loaded,
        grants: Grants,
        limits: Limits,
        state: MemoryState,
    ) -> Self {
        Self::with(loaded, grants, limits, Isolation::default(), state)
    }

    /// With the default limits and no grants.
    pub(crate) fn isolated(loaded: &Loaded, isolation: Isolation) -> Self {
        let (grants, limits) = (Grants::default(), Limits::default());
        Self::with(loaded, grants, limits, isolation, MemoryState::default())
    }

    fn with(
        loaded: &Loaded,
        grants: Grants,
        limits: Limits,
        isolation: Isolation,
        state: MemoryState,
    ) -> Self {
        let (state, blobs) = (Arc::new(state), Arc::<MemoryBlobs>::default());
        let settings = Settings {
            limits,
            grants,
            isolation,
            state: state.clone(),
            blobs: blobs.clone(),
            script: None,
        };
        Self { listener: loaded.listener(settings).unwrap(), state, blobs }
    }

    pub(crate) fn handle(&self, delivery: &Delivery) -> Outcome {
        block_on(self.listener.handle(delivery))
    }

    /// Delivers data as JSON and commits the effects, as the broker would.
    pub(crate) fn deliver(&self, data: &Value) -> Result<Vec<Emission>, Failure> {
        self.deliver_on(&delivery(data))
    }

    pub(crate) fn deliver_on(&self, delivery: &Delivery) -> Result<Vec<Emission>, Failure> {
        let outcome = self.handle(delivery);
        match outcome.verdict {
            Verdict::Ack => {
                self.state.commit(&outcome.effects.writes);
                self.blobs.commit(self.listener.name(), &outcome.effects.blobs);
                Ok(outcome.effects.emissions)
            }
            Verdict::Retry { failure, .. } | Verdict::Reject { failure } => {
                let effects = outcome.effects;
                assert!(effects.emissions.is_empty() && effects.reads.is_empty());
                assert!(effects.writes.is_empty() && effects.blobs.is_empty());
                Err(failure)
            }
        }
    }

    /// Asks the guest `probe` to try something.
    pub(crate) fn probe(&self, what: &Value) -> Value {
        let emissions = self.deliver(what).unwrap_or_else(|failure| panic!("{failure:?}"));
        serde_json::from_slice(emissions[0].data.as_ref().unwrap()).unwrap()
    }
}

/// A guest of tests/guests with these grants and the default limits.
pub(crate) fn setup(name: &str, grants: Grants) -> Setup {
    Setup::new(&guest(name), grants, Limits::default())
}

/// A delivery with JSON data.
pub(crate) fn delivery(data: &Value) -> Delivery {
    let event = Event::builder("e-1", "/tests", "test.event")
        .datacontenttype("application/json")
        .data(serde_json::to_vec(data).unwrap())
        .build()
        .unwrap();
    let plugin: PluginName = "tested".parse().unwrap();
    Delivery {
        sequence: 42,
        event,
        subscription: SubscriptionName::new(&plugin, "all").unwrap(),
        attempt: 1,
        flow: 42,
        depth: 0,
        replay: None,
        is_dry_run: false,
        span: None,
    }
}

/// A delivery whose data doesn't matter.
pub(crate) fn any_delivery() -> Delivery {
    delivery(&json!(null))
}

/// Asserts a failure's class, and that its reason contains `words`.
#[track_caller]
pub(crate) fn assert_failure(failure: &Failure, class: FailureClass, words: &str) {
    assert_eq!(failure.class, class, "{failure:?}");
    assert!(failure.reason.contains(words), "{:?} should contain {words:?}", failure.reason);
}
