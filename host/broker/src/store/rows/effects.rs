//! `state_usage` and `blobs`: what plugins keep.

use bytes::Bytes;
use usher_event::{BlobInfo, Digest, StateUsage};

use super::VERSION;
use crate::store::varint::{Parts, put, put_bytes};

/// Writes what a plugin uses.
pub(crate) fn write_usage(usage: StateUsage) -> Vec<u8> {
    let mut row = vec![VERSION];
    put(&mut row, usage.bytes);
    put(&mut row, usage.keys);
    row
}

/// Reads what a plugin uses.
pub(crate) fn read_usage(row: &Bytes) -> Option<StateUsage> {
    let mut parts = Parts::versioned(row, VERSION)?;
    let usage = StateUsage { bytes: parts.number()?, keys: parts.number()? };
    parts.end().map(|()| usage)
}

/// Writes a blob's row.
pub(crate) fn write_blob(info: &BlobInfo, created_ms: u64) -> Vec<u8> {
    let mut row = vec![VERSION];
    put(&mut row, info.size_bytes);
    put(&mut row, created_ms);
    put_bytes(&mut row, info.content_type.as_bytes());
    row
}

/// Reads a blob's row: what it is, and when it was committed.
pub(crate) fn read_blob(digest: Digest, row: &Bytes) -> Option<(BlobInfo, u64)> {
    let mut parts = Parts::versioned(row, VERSION)?;
    let size_bytes = parts.number()?;
    let created_ms = parts.number()?;
    let content_type = parts.text()?;
    parts.end().map(|()| (BlobInfo { digest, size_bytes, content_type }, created_ms))
}
