//! One token, wherever it comes from.

use std::sync::atomic::{AtomicU64, Ordering};

use usher_access::Permissions;
use usher_broker::Actor;
use usher_config::Proof;
use usher_event::TokenName;

/// Resolution of a token's last use.
const USED_RESOLUTION_MS: u64 = 60_000;

/// One token.
pub(crate) struct Token {
    pub(crate) name: TokenName,
    pub(super) proof: Proof,
    pub(crate) permissions: Permissions,
    /// `None` for one of the configuration.
    pub(crate) created_ms: Option<u64>,
    pub(crate) expires_ms: Option<u64>,
    pub(super) actor: Actor,
    /// Zero: never.
    pub(super) last_used_ms: AtomicU64,
}

impl Token {
    pub(super) fn new(name: TokenName, proof: Proof, permissions: Permissions) -> Self {
        let actor = Actor::named(name.as_str());
        let (created_ms, expires_ms, last_used_ms) = (None, None, AtomicU64::new(0));
        Self { name, proof, permissions, created_ms, expires_ms, actor, last_used_ms }
    }

    /// When it was last used, in steps of [`USED_RESOLUTION_MS`], but not before it was made.
    pub(crate) fn last_used_ms(&self) -> Option<u64> {
        let used_ms = Some(self.last_used_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0)?;
        Some(used_ms.max(self.created_ms.unwrap_or_default()))
    }

    /// Whether it is from the configuration.
    pub(crate) fn is_configured(&self) -> bool {
        self.created_ms.is_none()
    }

    /// Records that it is used now.
    pub(super) fn used(&self, now_ms: u64) {
        let minute_ms = now_ms - now_ms % USED_RESOLUTION_MS;
        // Written once a minute, so that busy tokens don't bounce between caches.
        if self.last_used_ms.load(Ordering::Relaxed) != minute_ms {
            self.last_used_ms.store(minute_ms, Ordering::Relaxed);
        }
    }
}
