//! A plugin's code: what was compiled first, until optimised code takes its place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use usher_event::Digest;

use crate::exported::Kind;
use crate::pool::Pool;
use crate::runtime::Prepared;

/// The linked code of one component.
pub(crate) struct Code {
    pub(crate) kind: Kind,
    pub(crate) digest: Digest,
    /// The names of what it imports.
    pub(crate) imports: Vec<String>,
    prepared: RwLock<Prepared>,
    /// Asked after each delivery.
    is_optimised: AtomicBool,
    /// Those of its listeners.
    pools: Mutex<Vec<Weak<Pool>>>,
}

impl Code {
    pub(crate) fn new(
        kind: Kind,
        digest: Digest,
        imports: Vec<String>,
        prepared: Prepared,
    ) -> Self {
        let is_optimised = AtomicBool::new(prepared.is_optimised);
        Self {
            kind,
            digest,
            imports,
            prepared: RwLock::new(prepared),
            is_optimised,
            pools: Mutex::default(),
        }
    }

    /// The best there is now.
    pub(crate) fn best(&self) -> Prepared {
        self.prepared.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the best is optimised.
    pub(crate) fn is_optimised(&self) -> bool {
        self.is_optimised.load(Ordering::Relaxed)
    }

    /// Notes where idle instances of it are kept.
    pub(crate) fn serve_from(&self, pool: &Arc<Pool>) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    /// Replaces baseline code. Instances with the old code are dropped: idle ones now, busy ones when
    /// their delivery ends.
    pub(crate) fn replace(&self, optimised: Prepared) {
        let old = std::mem::replace(
            &mut *self.prepared.write().unwrap_or_else(PoisonError::into_inner),
            optimised,
        );
        self.is_optimised.store(true, Ordering::Relaxed);
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner).clone();
        pools.iter().filter_map(Weak::upgrade).for_each(|pool| pool.clear());
        drop(old);
    }
}
