//! Which plugins are loaded side by side, so that one that takes long holds up none that doesn't:
//! those that need no compiling have turns of their own, and so do small ones, large ones, and those
//! that a quick attempt was not enough for.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use usher_runtime::Attempt;

/// The largest component that is taken for one that compiles quickly: what a plugin in Rust or C has.
const SMALL_MAX_BYTES: u64 = 512 * 1024;

/// Kinds of loading, from the quickest to the slowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// Its code is in the cache.
    Compiled,
    /// A small component.
    Small,
    /// A large one.
    Large,
    /// One that is known to take long.
    Long,
}

impl Lane {
    /// The lane of a file.
    pub(super) fn of(is_compiled: bool, size_bytes: u64) -> Self {
        match is_compiled {
            true => Self::Compiled,
            false if size_bytes <= SMALL_MAX_BYTES => Self::Small,
            false => Self::Large,
        }
    }

    /// How long a compilation gets.
    pub(super) fn attempt(self) -> Attempt {
        match self {
            Self::Compiled | Self::Small | Self::Large => Attempt::Quick,
            Self::Long => Attempt::Patient,
        }
    }
}

/// Room that there is or will be.
pub(super) type Room = BoxFuture<'static, Option<OwnedSemaphorePermit>>;

/// Turns of all lanes.
pub(super) struct Lanes([Turns; 4]);

/// Turns of one lane, in the order in which they are asked for.
struct Turns {
    /// Files that are loaded at once: compiling takes a core.
    loads: Arc<Semaphore>,
    /// Versions that are being loaded or wait to be installed: each holds its bytes in memory.
    fresh: Arc<Semaphore>,
}

impl Turns {
    fn new(loads: usize, fresh: usize) -> Self {
        Self { loads: Arc::new(Semaphore::new(loads)), fresh: Arc::new(Semaphore::new(fresh)) }
    }
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self([Turns::new(4, 8), Turns::new(2, 4), Turns::new(1, 2), Turns::new(1, 1)])
    }

    fn turns(&self, lane: Lane) -> &Turns {
        let [compiled, small, large, long] = &self.0;
        match lane {
            Lane::Compiled => compiled,
            Lane::Small => small,
            Lane::Large => large,
            Lane::Long => long,
        }
    }

    /// A turn at loading; over when it is dropped.
    pub(super) async fn turn(&self, lane: Lane) -> Option<OwnedSemaphorePermit> {
        // Never closed; loading without a turn would do no harm either.
        Arc::clone(&self.turns(lane).loads).acquire_owned().await.ok()
    }

    /// Room for a version's bytes, until it is installed. Who asks is in the queue from now on, not from
    /// when it is first waited for: versions that are loaded wait for those that were asked for before.
    pub(super) fn room(&self, lane: Lane) -> Room {
        let mut room = Box::pin(Arc::clone(&self.turns(lane).fresh).acquire_owned());
        let found = room.as_mut().now_or_never();
        Box::pin(async move {
            match found {
                Some(found) => found.ok(),
                None => room.await.ok(),
            }
        })
    }
}
