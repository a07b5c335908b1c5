//! How close deliveries have come to their limits.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Limits;

/// A limit, and the most that a delivery has used of it; of memory, the most that an instance had
/// after a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitUse {
    /// The limit's name, with its unit.
    pub name: &'static str,
    /// The limit.
    pub limit: u64,
    /// The most that was used; CPU time is measured in steps of 5 ms.
    pub peak: u64,
}

macro_rules! peaks {
    ($($name:ident,)+) => {
        /// What one delivery has used.
        #[derive(Default)]
        pub(crate) struct Used {
            $(pub(crate) $name: u64,)+
        }

        /// The most that any has used.
        #[derive(Default)]
        pub(crate) struct Peaks {
            $($name: AtomicU64,)+
        }

        impl Peaks {
            /// Adds a delivery.
            pub(crate) fn add(&self, used: &Used) {
                $(raise(&self.$name, used.$name);)+
            }

            /// The peaks beside their limits.
            pub(crate) fn against(&self, limits: &Limits) -> Vec<LimitUse> {
                vec![$(LimitUse {
                    name: stringify!($name),
                    limit: limits.$name,
                    peak: self.$name.load(Ordering::Relaxed),
                },)+]
            }
        }
    };
}

peaks! {
    cpu_ms,
    wall_ms,
    memory_bytes,
    emissions,
    log_bytes,
    http_calls,
}

/// Peaks hardly ever rise, and reading is cheaper than writing where several threads do it.
fn raise(peak: &AtomicU64, used: u64) {
    if used > peak.load(Ordering::Relaxed) {
        peak.fetch_max(used, Ordering::Relaxed);
    }
}
