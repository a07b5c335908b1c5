//! Limits on concurrent loads, by class, so that slow loads don't block fast ones: plugins that need
//! no compiling, small ones, large ones, and those that exceeded a quick attempt each have their
//! own permits.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use usher_runtime::CompileBudget;

/// Up to this size a component is expected to compile quickly; covers typical Rust and C plugins.
const SMALL_MAX_BYTES: u64 = 512 * 1024;
/// From this size on it isn't: an interpreter is in it.
const LONG_MIN_BYTES: u64 = 4 * 1024 * 1024;

/// Classes of loads, from the fastest to the slowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LoadClass {
    /// The compiled code is in the cache.
    Compiled,
    /// A small component.
    Small,
    /// A large one.
    Large,
    /// A component known to compile slowly.
    Long,
}

impl LoadClass {
    /// The class of a file.
    pub(super) fn of(is_compiled: bool, size_bytes: u64) -> Self {
        match is_compiled {
            true => Self::Compiled,
            false if size_bytes <= SMALL_MAX_BYTES => Self::Small,
            false if size_bytes < LONG_MIN_BYTES => Self::Large,
            false => Self::Long,
        }
    }

    /// The compile limits that apply.
    pub(super) fn attempt(self) -> CompileBudget {
        match self {
            Self::Compiled | Self::Small | Self::Large => CompileBudget::Quick,
            Self::Long => CompileBudget::Patient,
        }
    }
}

/// A queued or granted permit to hold a version's bytes.
pub(super) type BytesPermit = BoxFuture<'static, Option<OwnedSemaphorePermit>>;

/// Permits of all classes.
pub(super) struct LoadLimits([Permits; 4]);

/// Permits of one class, granted in FIFO order.
struct Permits {
    /// Concurrent loads: compiling takes a core.
    loads: Arc<Semaphore>,
    /// Versions that are being loaded or wait to be installed: each holds its bytes in memory.
    fresh: Arc<Semaphore>,
}

impl Permits {
    fn new(loads: usize, fresh: usize) -> Self {
        Self { loads: Arc::new(Semaphore::new(loads)), fresh: Arc::new(Semaphore::new(fresh)) }
    }
}

impl LoadLimits {
    pub(super) fn new() -> Self {
        Self([Permits::new(4, 8), Permits::new(2, 4), Permits::new(1, 2), Permits::new(1, 1)])
    }

    fn permits(&self, class: LoadClass) -> &Permits {
        let [compiled, small, large, long] = &self.0;
        match class {
            LoadClass::Compiled => compiled,
            LoadClass::Small => small,
            LoadClass::Large => large,
            LoadClass::Long => long,
        }
    }

    /// Waits for a permit to load.
    pub(super) async fn acquire(&self, class: LoadClass) -> Option<OwnedSemaphorePermit> {
        // Never closed; loading without a permit would be harmless.
        Arc::clone(&self.permits(class).loads).acquire_owned().await.ok()
    }

    /// A permit to hold a version's bytes until it is installed. Queued by this call, not by the
    /// first poll: loaded versions wait for those that were queued before them.
    pub(super) fn room(&self, class: LoadClass) -> BytesPermit {
        let mut room = Box::pin(Arc::clone(&self.permits(class).fresh).acquire_owned());
        let found = room.as_mut().now_or_never();
        Box::pin(async move {
            match found {
                Some(found) => found.ok(),
                None => room.await.ok(),
            }
        })
    }
}
