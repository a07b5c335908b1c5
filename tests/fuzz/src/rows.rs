//! Rows of the store. The first byte chooses the table; what can be read is written and read again,
//! and must be the same row.

use bytes::Bytes;

pub(crate) fn rows(input: &[u8]) {
    let Some((table, row)) = input.split_first() else { return };
    usher_broker::read_any_row(*table, &Bytes::copy_from_slice(row));
}
