//! What a guest can be and can hand over: components of any bytes, and any answers in a guest's
//! memory.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use usher_event::{
    BlobInfo, BlobStore, Delivery, Digest, Event, FailureClass, Listener as _, PluginName,
    StagedBlob, StateAddress, StatePage, StateReader, StateSnapshot, StateUsage, StoreError,
    SubscriptionName, Verdict,
};
use usher_runtime::{
    CompileBudget, Grants, Isolation, Limits, LoadErrorKind, Loaded, Runtime, RuntimeOptions,
    Settings, WasmListener,
};
use usher_tests::hostile::Text;

/// Where the answers are laid down in the guest.
const ANSWER: u32 = 65_536;
const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// Any bytes as a plugin file; what can be loaded gets a delivery.
pub(crate) fn load(input: &[u8]) {
    if let Some(loaded) = loaded(Bytes::copy_from_slice(input)) {
        handle(&listener(&loaded), Bytes::new());
    }
}

/// What a core module must export to be a plugin, as a module that does.
///
/// # Panics
/// The text of that module is wrong.
pub fn contract() -> Vec<u8> {
    match Text::default().core("fuzzed") {
        Ok(module) => module,
        Err(error) => panic!("{error:#}"),
    }
}

/// A core module as a plugin, where it exports what [`contract`] does.
pub fn load_module(module: Vec<u8>) {
    if let Ok(component) = Text::default().encode(module) {
        load(&component);
    }
}

/// Any bytes as the answer of a guest: it has them copied to one place and hands that over.
pub(crate) fn values(input: &[u8]) {
    static LISTENER: OnceLock<Option<Arc<WasmListener>>> = OnceLock::new();
    let listener = LISTENER.get_or_init(|| {
        // The event's data: its place and length come 84 and 88 bytes into the delivery.
        let handle = format!(
            "i32.const {ANSWER}
            local.get $delivery i32.load offset=84
            local.get $delivery i32.load offset=88
            memory.copy
            i32.const 4096 global.set $next
            i32.const {ANSWER}"
        );
        let component = Text { handle, ..Text::default() }.build("fuzzed").ok()?;
        Some(listener(&loaded(component.into())?))
    });
    let Some(listener) = listener else { panic!("the guest that answers can't be built") };
    let data = input.get(..ANSWER_MAX_BYTES).unwrap_or(input);
    handle(listener, Bytes::copy_from_slice(data));
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let options = RuntimeOptions { max_instances: 16, ..RuntimeOptions::default() };
        match Runtime::new(options) {
            Ok(runtime) => runtime,
            Err(error) => panic!("{error}"),
        }
    })
}

fn block_on<F: Future>(future: F) -> F::Output {
    thread_local! {
        static EXECUTOR: tokio::runtime::Runtime =
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(executor) => executor,
                Err(error) => panic!("{error}"),
            };
    }
    EXECUTOR.with(|executor| executor.block_on(future))
}

/// What is loaded; what isn't must be refused for what it is, and not because the host failed.
fn loaded(bytes: Bytes) -> Option<Loaded> {
    match block_on(runtime().load(bytes, "fuzzed.wasm", CompileBudget::Patient)) {
        Ok(loaded) => Some(loaded),
        Err(error) => {
            assert!(!matches!(error.kind, LoadErrorKind::Host(_)), "{error}");
            None
        }
    }
}

fn listener(loaded: &Loaded) -> Arc<WasmListener> {
    let limits = Limits { cpu_ms: 30, wall_ms: 1_000, ..Limits::default() };
    let settings = Settings {
        limits,
        grants: Grants::default(),
        isolation: Isolation::default(),
        state: Arc::new(Nothing),
        blobs: Arc::new(Nothing),
        script: None,
    };
    match loaded.listener(settings) {
        Ok(listener) => listener,
        Err(errors) => panic!("{errors}"),
    }
}

/// Whatever it is, it is a verdict, and never the host's failure.
fn handle(listener: &WasmListener, data: Bytes) {
    let event = Event::builder("e-1", "/fuzz", "fuzz").data(data).build();
    let plugin = "fuzzed".parse::<PluginName>();
    let (Ok(event), Ok(plugin)) = (event, plugin) else { panic!("the event can't be built") };
    let Ok(subscription) = SubscriptionName::new(&plugin, "all") else { return };
    let delivery = Delivery {
        sequence: 1,
        event,
        subscription,
        attempt: 1,
        flow: 1,
        depth: 0,
        replay: None,
        is_dry_run: false,
        span: None,
    };
    let outcome = block_on(listener.handle(&delivery));
    match &outcome.verdict {
        Verdict::Ack => {
            let emissions = outcome.effects.emissions.len() as u64;
            assert!(emissions <= Limits::default().emissions, "{emissions} emissions");
        }
        Verdict::Retry { failure, .. } | Verdict::Reject { failure } => {
            assert_ne!(failure.class, FailureClass::Host, "{failure:?}");
            assert!(!failure.reason.contains('\u{1b}'), "{failure:?}");
        }
    }
}

/// No state and no blobs: nothing is granted.
struct Nothing;

impl StateReader for Nothing {
    fn snapshot(&self) -> Box<dyn StateSnapshot> {
        Box::new(Self)
    }
}

impl StateSnapshot for Nothing {
    fn version(&self) -> u64 {
        0
    }

    fn get(&self, _: &StateAddress) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }

    fn keys(
        &self,
        _: &PluginName,
        _: &str,
        _: Option<&str>,
        _: usize,
    ) -> Result<StatePage, StoreError> {
        Ok(StatePage { keys: Vec::new(), more: false })
    }

    fn usage(&self, _: &PluginName) -> Result<StateUsage, StoreError> {
        Ok(StateUsage { bytes: 0, keys: 0 })
    }
}

impl BlobStore for Nothing {
    fn write(&self, _: &[u8]) -> Result<StagedBlob, StoreError> {
        Err(StoreError("there are no blobs".to_owned()))
    }

    fn read(&self, _: &Digest) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        Ok(None)
    }

    fn list(
        &self,
        _: &PluginName,
        _: Option<&Digest>,
        _: usize,
    ) -> Result<Vec<BlobInfo>, StoreError> {
        Ok(Vec::new())
    }

    fn kept_bytes(&self, _: &PluginName) -> Result<u64, StoreError> {
        Ok(0)
    }
}
