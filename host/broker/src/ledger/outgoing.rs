//! Writes of the next commit. Event records share one allocation, keys of `children` another: one
//! allocation per row would cost more than the rows.

use bytes::Bytes;
use usher_event::{Digest, Identity};

use super::duplicates::Duplicates;
use crate::api::StoredEvent;
use crate::store::rows::{COUNTERS_KEY, Counters, CursorRow, end_identities, put_record};
use crate::store::{Batch, Space, keys};

/// Length of a key made of one number.
const NUMBER_BYTES: usize = 8;

/// Length of a key made of two numbers.
const PAIR_BYTES: usize = 16;

/// Collects the rows of the next batch.
#[derive(Default)]
pub(super) struct Outgoing {
    batch: Batch,
    /// Key and record of each appended event, concatenated.
    events: Vec<u8>,
    /// Where each of them ends in `events`.
    event_ends: Vec<usize>,
    /// Keys of `children`, concatenated.
    children: Vec<u8>,
    /// Identities of the appended events, and the sequence of the first.
    identities: Vec<u8>,
    first: Option<u64>,
    /// The latest time at which one of them was recorded: the clock may be set back between two.
    recorded_ms: u64,
}

impl Outgoing {
    /// Adds an event appended to the log.
    pub(super) fn put_event(&mut self, stored: &StoredEvent, identity: &Identity) {
        let StoredEvent { sequence, recorded_ms, flow, depth, cause, event } = stored;
        self.first.get_or_insert(*sequence);
        self.recorded_ms = self.recorded_ms.max(*recorded_ms);
        self.events.extend_from_slice(&sequence.to_be_bytes());
        put_record(&mut self.events, *recorded_ms, *flow, *depth, cause.as_ref(), event);
        self.event_ends.push(self.events.len());
        self.identities.extend_from_slice(identity.as_bytes());
        if cause.is_some() {
            self.children.extend_from_slice(&flow.to_be_bytes());
            self.children.extend_from_slice(&sequence.to_be_bytes());
        }
    }

    pub(super) fn put_counters(&mut self, counters: &Counters) {
        self.batch.put(Space::Meta, COUNTERS_KEY, counters.write());
    }

    pub(super) fn put_cursor(&mut self, id: u32, row: &CursorRow) {
        self.batch.put(Space::Cursors, keys::subscription(id), row.write());
    }

    pub(super) fn put(&mut self, space: Space, key: Vec<u8>, value: impl Into<Bytes>) {
        self.batch.put(space, key, value);
    }

    pub(super) fn delete(&mut self, space: Space, key: Vec<u8>) {
        self.batch.delete(space, key);
    }

    /// Removes both rows of a plugin's blob.
    pub(super) fn delete_blob(&mut self, digest: &Digest, plugin: &str) {
        self.delete(Space::Blobs, keys::blob(digest, plugin));
        self.delete(Space::BlobsByPlugin, keys::plugin_blob(plugin, digest));
    }

    /// Takes the whole batch and leaves an empty one.
    pub(super) fn take(&mut self, duplicates: &mut Duplicates) -> Batch {
        let mut batch = std::mem::take(&mut self.batch);
        batch.rows.reserve(2 * self.event_ends.len() + 1);
        if let Some(first) = self.first.take() {
            let count = u32::try_from(self.event_ends.len()).unwrap_or(u32::MAX);
            let mut identities = std::mem::take(&mut self.identities);
            let recorded_ms = std::mem::take(&mut self.recorded_ms);
            end_identities(&mut identities, recorded_ms);
            batch.put(Space::Identities, keys::number(first), identities);
            for gone in duplicates.note_row(first, count, recorded_ms) {
                batch.delete(Space::Identities, keys::number(gone));
            }
        }
        let events = renew(&mut self.events);
        let mut start = 0;
        for end in self.event_ends.drain(..) {
            let key = events.slice(start..start + NUMBER_BYTES);
            batch.put(Space::Events, key, events.slice(start + NUMBER_BYTES..end));
            start = end;
        }
        let children = renew(&mut self.children);
        for start in (0..children.len()).step_by(PAIR_BYTES) {
            let key = children.slice(start..start + PAIR_BYTES);
            batch.put(Space::Children, key, Bytes::new());
        }
        batch
    }
}

/// Takes the bytes and leaves a buffer with room for as many again.
fn renew(buffer: &mut Vec<u8>) -> Bytes {
    let capacity = buffer.len();
    Bytes::from(std::mem::replace(buffer, Vec::with_capacity(capacity)))
}
