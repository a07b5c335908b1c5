//! What the rows of each table are, described once: reading, verifying and rescuing walk this.
//! `docs/storage.md` has the same in words. Rows of `meta` have names instead: see
//! [`Counters`](super::rows::Counters) and [`Lost`](super::lost::Lost).

use bytes::Bytes;
use usher_event::{BlobInfo, Digest, PluginName, ScheduleName, StateAddress};

use super::rows::{
    CursorRow, DeadRow, IdentitiesRow, RetryRow, ScheduleRow, SubscriptionRow, read_attempt,
    read_blob, read_parked, read_record, read_usage,
};
use super::{Rows, Space, StoreFailure, View, audit};
use crate::api::{AttemptRecord, AuditRecord, StoredEvent};

/// A table, as a type.
pub(crate) trait Table {
    const SPACE: Space;
    type Key;
    type Row;

    /// A row from its bytes; `None` where they can't be one.
    fn read(key: &Bytes, value: &Bytes) -> Option<(Self::Key, Self::Row)>;
}

/// A row of a table, or why it can't be read.
pub(crate) type Entry<T> = Result<(<T as Table>::Key, <T as Table>::Row), StoreFailure>;

/// A row from its bytes.
pub(crate) fn read<T: Table>(key: &Bytes, value: &Bytes) -> Entry<T> {
    T::read(key, value).ok_or_else(|| StoreFailure::damaged(T::SPACE, key))
}

impl<'v> dyn View + 'v {
    /// The row at a key.
    pub(crate) fn row<T: Table>(
        &self,
        key: impl Into<Bytes>,
    ) -> Result<Option<T::Row>, StoreFailure> {
        let key = key.into();
        let Some(value) = self.get(T::SPACE, &key)? else { return Ok(None) };
        read::<T>(&key, &value).map(|(_, row)| Some(row))
    }

    /// All rows, in key order.
    pub(crate) fn rows<T: Table>(&self) -> impl DoubleEndedIterator<Item = Entry<T>> {
        self.rows_in::<T>(&[], None)
    }

    /// Rows from `from` on, up to but without `to`.
    pub(crate) fn rows_in<'a, T: Table>(
        &'a self,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = Entry<T>> + use<'a, 'v, T> {
        entries::<T>(self.range(T::SPACE, from, to))
    }

    /// Rows whose key begins with `prefix`.
    pub(crate) fn rows_with<'a, T: Table>(
        &'a self,
        prefix: &[u8],
    ) -> impl DoubleEndedIterator<Item = Entry<T>> + use<'a, 'v, T> {
        entries::<T>(self.prefix(T::SPACE, prefix))
    }
}

fn entries<T: Table>(rows: Rows<'_>) -> impl DoubleEndedIterator<Item = Entry<T>> {
    rows.map(|row| row.and_then(|(key, value)| read::<T>(&key, &value)))
}

macro_rules! table {
    ($(#[$doc:meta])* $table:ident, $key_type:ty => $row_type:ty, |$key:ident, $value:ident| $row:expr) => {
        $(#[$doc])*
        pub(crate) struct $table;

        impl Table for $table {
            const SPACE: Space = Space::$table;
            type Key = $key_type;
            type Row = $row_type;

            fn read($key: &Bytes, $value: &Bytes) -> Option<(Self::Key, Self::Row)> {
                Some($row)
            }
        }
    };
}

table!(
    /// By sequence.
    Events, u64 => StoredEvent, |key, value| {
        let sequence = number(key)?;
        (sequence, read_record(sequence, value)?)
    }
);
table!(
    /// By the sequence of the first event of a commit.
    Identities, u64 => IdentitiesRow, |key, value| (number(key)?, IdentitiesRow::read(value)?)
);
table!(
    /// By flow and sequence.
    Children, (u64, u64) => (), |key, value| (pair(key)?, nothing(value)?)
);
table!(
    /// By `correlationid` and sequence, of which this is the second.
    Correlations, u64 => (), |key, value| {
        let (correlationid, sequence) = key.split_last_chunk::<8>()?;
        correlationid.strip_suffix(&[0])?;
        (u64::from_be_bytes(*sequence), nothing(value)?)
    }
);
table!(
    /// By number.
    Subscriptions, u32 => SubscriptionRow, |key, value| (id(key)?, SubscriptionRow::read(value)?)
);
table!(
    /// By the subscription's number.
    Cursors, u32 => CursorRow, |key, value| (id(key)?, CursorRow::read(value)?)
);
table!(
    /// By subscription and sequence.
    Retries, (u32, u64) => RetryRow, |key, value| (delivery_of(key)?, RetryRow::read(value)?)
);
table!(
    /// The lane, by subscription and sequence.
    Parked, (u32, u64) => u64, |key, value| (delivery_of(key)?, read_parked(value)?)
);
table!(
    /// By sequence, subscription, and number across all rounds.
    Attempts, (u64, u32, u32) => AttemptRecord, |key, value| {
        let (delivery, attempt) = key.split_last_chunk::<4>()?;
        let (sequence, subscription) = delivery_at(delivery)?;
        ((sequence, subscription, u32::from_be_bytes(*attempt)), read_attempt(value)?)
    }
);
table!(
    /// By number.
    Dead, u64 => DeadRow, |key, value| (number(key)?, DeadRow::read(value)?)
);
table!(
    /// The dead letter's number, 0 for one that was resolved, by sequence and subscription.
    DeadByDelivery, (u64, u32) => u64, |key, value| (delivery_at(key)?, number(value)?)
);
table!(
    /// By the dead letter's number.
    Recordings, u64 => Bytes, |key, value| (number(key)?, value.clone())
);
table!(
    /// By due time, Unix milliseconds, and number. Its sequence means nothing; it has a cause.
    Delayed, (u64, u64) => StoredEvent, |key, value| {
        (pair(key)?, read_record(0, value).filter(|stored| stored.cause.is_some())?)
    }
);
table!(
    State, StateAddress => Bytes, |key, value| {
        let end = key.iter().position(|byte| *byte == 0)?;
        let (length, rest) = key.get(end + 1..)?.split_first_chunk::<2>()?;
        let (bucket, name) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (plugin, bucket) = (text(key.get(..end)?)?.parse().ok()?, text(bucket)?.into());
        (StateAddress { plugin, bucket, key: text(name)?.into() }, value.clone())
    }
);
table!(
    StateUsage, PluginName => usher_event::StateUsage, |key, value| {
        (text(key)?.parse().ok()?, read_usage(value)?)
    }
);
table!(
    /// What it is and when it was committed, Unix milliseconds; by digest and plugin.
    Blobs, (Digest, PluginName) => (BlobInfo, u64), |key, value| {
        let (digest, plugin) = key.split_first_chunk::<32>()?;
        let digest = Digest::from_bytes(*digest);
        ((digest, text(plugin)?.parse().ok()?), read_blob(digest, value)?)
    }
);
table!(
    /// By plugin and digest.
    BlobsByPlugin, (PluginName, Digest) => (), |key, value| {
        let (plugin, digest) = key.split_last_chunk::<32>()?;
        let plugin = text(plugin.strip_suffix(&[0])?)?.parse().ok()?;
        ((plugin, Digest::from_bytes(*digest)), nothing(value)?)
    }
);
table!(
    /// By number.
    Audit, u64 => AuditRecord, |key, value| {
        let number = number(key)?;
        (number, audit::read(number, value)?)
    }
);
table!(
    Schedules, ScheduleName => ScheduleRow, |key, value| {
        (text(key)?.parse().ok()?, ScheduleRow::read(value)?)
    }
);

table!(
    /// By name.
    Documents, Box<str> => Bytes, |key, value| (text(key)?.into(), value.clone())
);

fn number(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

fn pair(key: &[u8]) -> Option<(u64, u64)> {
    let (first, second) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*first), number(second)?))
}

fn id(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// Subscription and sequence.
fn delivery_of(key: &[u8]) -> Option<(u32, u64)> {
    let (subscription, sequence) = key.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*subscription), number(sequence)?))
}

/// Sequence and subscription.
fn delivery_at(key: &[u8]) -> Option<(u64, u32)> {
    let (sequence, subscription) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*sequence), id(subscription)?))
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn nothing(value: &[u8]) -> Option<()> {
    value.is_empty().then_some(())
}
