//! How much a plugin may keep in the broker. Who stages a change and who commits it go by the same
//! rule and say the same words.

use crate::{StateUsage, StateWrite};

/// How much a plugin may keep. What shrinks is always fine, so that a plugin can get out of a quota
/// that was lowered. The default is no bound at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Keys and values of state, all together.
    pub state_bytes: u64,
    /// Keys of state.
    pub state_keys: u64,
    /// Blobs, all together.
    pub blobs_bytes: u64,
}

/// Something would pass a plugin's quota; in words for its author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// One more key of state.
    #[error("state has {limit_keys} keys, which is the limit")]
    StateKeys {
        /// The most there may be.
        limit_keys: u64,
    },
    /// Too much state.
    #[error("state would have {bytes} bytes of keys and values, the limit is {limit_bytes}")]
    StateBytes {
        /// How much it would be.
        bytes: u64,
        /// The most there may be.
        limit_bytes: u64,
    },
    /// Too large blobs.
    #[error("the plugin's blobs would have more than {limit_bytes} bytes")]
    Blobs {
        /// The most there may be.
        limit_bytes: u64,
    },
}

impl Default for Quota {
    fn default() -> Self {
        Self { state_bytes: u64::MAX, state_keys: u64::MAX, blobs_bytes: u64::MAX }
    }
}

impl Quota {
    /// Whether state may go from `before` to `after`.
    ///
    /// # Errors
    /// It grows beyond the quota.
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

    /// Whether blobs may go from `before_bytes` to `after_bytes`.
    ///
    /// # Errors
    /// They grow beyond the quota.
    pub fn check_blobs(&self, before_bytes: u64, after_bytes: u64) -> Result<(), QuotaError> {
        if after_bytes > before_bytes && after_bytes > self.blobs_bytes {
            return Err(QuotaError::Blobs { limit_bytes: self.blobs_bytes });
        }
        Ok(())
    }
}

impl StateUsage {
    /// Usage once the value of a key, whose bucket and key have `name_bytes`, goes from
    /// `before_bytes` to `after_bytes`; `None` where there is no value.
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

    /// Usage once this is written.
    #[must_use]
    pub fn after(self, write: &StateWrite) -> Self {
        let StateWrite { address, value, previous_bytes } = write;
        let name_bytes = (address.bucket.len() + address.key.len()) as u64;
        let after_bytes = value.as_ref().map(|value| value.len() as u64);
        self.replacing(name_bytes, previous_bytes.map(u64::from), after_bytes)
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
