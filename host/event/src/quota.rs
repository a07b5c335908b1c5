//! Storage quotas of a plugin. Staging and commit apply the same checks and return the same errors.

use serde::{Deserialize, Serialize};

use crate::{StateUsage, StateWrite};

/// Limits on what a plugin may store. A change that doesn't grow usage is always allowed, so that a
/// plugin can recover from a lowered quota. Unlimited by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Total bytes of state keys and values.
    pub state_bytes: u64,
    /// Number of state keys.
    pub state_keys: u64,
    /// Total bytes of blobs.
    pub blobs_bytes: u64,
}

/// A change would exceed the plugin's quota; the text is for the plugin's author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// Too many state keys.
    #[error("state has {limit_keys} keys, which is the limit")]
    StateKeys {
        /// The quota.
        limit_keys: u64,
    },
    /// Too many bytes of state.
    #[error("state would have {bytes} bytes of keys and values, the limit is {limit_bytes}")]
    StateBytes {
        /// Usage after the change.
        bytes: u64,
        /// The quota.
        limit_bytes: u64,
    },
    /// Too many bytes of blobs.
    #[error("the plugin's blobs would have more than {limit_bytes} bytes")]
    Blobs {
        /// The quota.
        limit_bytes: u64,
    },
}

impl Default for Quota {
    fn default() -> Self {
        Self { state_bytes: u64::MAX, state_keys: u64::MAX, blobs_bytes: u64::MAX }
    }
}

impl Quota {
    /// Checks a change of state usage from `before` to `after`.
    ///
    /// # Errors
    /// Usage would grow beyond the quota.
    pub fn check_state(&self, before: StateUsage, after: StateUsage) -> Result<(), QuotaError> {
        if after.keys > before.keys && after.keys > self.state_keys {
            return Err(QuotaError::StateKeys { limit_keys: self.state_keys });
        }
        if after.bytes > before.bytes && after.bytes > self.state_bytes {
            let (bytes, limit_bytes) = (after.bytes, self.state_bytes);
            return Err(QuotaError::StateBytes { bytes, limit_bytes });
        }
        Ok(())
    }

    /// Checks a change of blob usage from `before_bytes` to `after_bytes`.
    ///
    /// # Errors
    /// Usage would grow beyond the quota.
    pub fn check_blobs(&self, before_bytes: u64, after_bytes: u64) -> Result<(), QuotaError> {
        if after_bytes > before_bytes && after_bytes > self.blobs_bytes {
            return Err(QuotaError::Blobs { limit_bytes: self.blobs_bytes });
        }
        Ok(())
    }
}

impl StateUsage {
    /// Usage after a value changes from `before_bytes` to `after_bytes` (`None`: no value).
    /// `name_bytes` is the length of bucket and key.
    #[must_use]
    pub fn replacing(
        self,
        name_bytes: u64,
        before_bytes: Option<u64>,
        after_bytes: Option<u64>,
    ) -> Self {
        let weight = |value: Option<u64>| value.map_or((0, 0), |value| (1, name_bytes + value));
        let (keys_before, bytes_before) = weight(before_bytes);
        let (keys_after, bytes_after) = weight(after_bytes);
        Self {
            keys: self.keys.saturating_sub(keys_before) + keys_after,
            bytes: self.bytes.saturating_sub(bytes_before) + bytes_after,
        }
    }

    /// Usage after this write.
    #[must_use]
    pub fn after(self, write: &StateWrite) -> Self {
        let StateWrite { address, value, previous_bytes } = write;
        let after_bytes = value.as_ref().map(|value| value.len() as u64);
        self.replacing(address.name_bytes() as u64, previous_bytes.map(u64::from), after_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(bytes: u64, keys: u64) -> StateUsage {
        StateUsage { bytes, keys }
    }

    #[test]
    fn growth_ends_at_the_quota_and_shrinking_is_always_fine() {
        let quota = Quota { state_bytes: 10, state_keys: 2, blobs_bytes: 5 };
        let (keys, bytes) = (Some(QuotaError::StateKeys { limit_keys: 2 }), |bytes| {
            Some(QuotaError::StateBytes { bytes, limit_bytes: 10 })
        });
        for (before, after, expected) in [
            (state(0, 0), state(9, 1), None),
            (state(0, 0), state(10, 2), None),
            (state(0, 0), state(11, 2), bytes(11)),
            (state(0, 0), state(3, 3), keys),
            (state(10, 2), state(11, 2), bytes(11)),
            (state(50, 9), state(50, 9), None),
            (state(50, 9), state(49, 8), None),
            (state(50, 9), state(51, 8), bytes(51)),
        ] {
            assert_eq!(quota.check_state(before, after).err(), expected, "{before:?} {after:?}");
        }
        for (before, after, is_fine) in [(0, 5, true), (0, 6, false), (9, 8, true), (9, 9, true)] {
            assert_eq!(quota.check_blobs(before, after).is_ok(), is_fine, "{before} {after}");
        }
        let none = Quota::default();
        assert_eq!(none.check_state(state(0, 0), state(u64::MAX, u64::MAX)), Ok(()));
    }

    #[test]
    fn usage_follows_a_value_that_comes_changes_and_goes() {
        let one = state(0, 0).replacing(3, None, Some(4));
        assert_eq!(one, state(7, 1));
        assert_eq!(one.replacing(3, Some(4), Some(1)), state(4, 1));
        assert_eq!(one.replacing(3, Some(4), None), state(0, 0));
        assert_eq!(one.replacing(9, None, None), one);
    }
}
