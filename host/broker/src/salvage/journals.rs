//! All whole batches of a journal, whatever lies between them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::store::journal::{
    END_BYTES, END_MAGIC, ITEM_HEAD_BYTES, START_BYTES, TAG_CLEAR, TAG_END, TAG_ITEM, TAG_START,
    parse_item, parse_start,
};

/// Most bytes that are read to try places where a batch could begin; what is beyond is lost.
const TRIED_MAX_BYTES: usize = 1 << 30;

/// What journals hold, by the number of the table: the newest value of each key, `None` where it was
/// deleted.
#[derive(Default)]
pub(super) struct Newest(pub(super) BTreeMap<u64, BTreeMap<Bytes, Option<Bytes>>>);

/// What couldn't be read of a journal.
#[derive(Default)]
pub(super) struct Unread {
    pub(super) bytes: u64,
    /// Where that begins.
    pub(super) at: Option<u64>,
}

impl Newest {
    /// Adds what a journal holds. A journal fits into memory: it is bounded when it is written.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<Unread> {
        let content = Bytes::from(fs::read(path)?);
        let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let (mut at, mut tried_bytes, mut unread) = (0, 0, Unread::default());
        while at < used && tried_bytes < TRIED_MAX_BYTES {
            if let Some((items, end)) = batch(&content, at, &mut tried_bytes) {
                for (keyspace, key, value) in items {
                    self.0.entry(keyspace).or_default().insert(key, value);
                }
                at = end;
                continue;
            }
            unread.at.get_or_insert(at as u64);
            unread.bytes += 1;
            at += 1;
        }
        if at < used {
            unread.at.get_or_insert(at as u64);
            unread.bytes += (used - at) as u64;
        }
        Ok(unread)
    }
}

type Item = (u64, Bytes, Option<Bytes>);

/// The batch that begins here, if there is a whole one, and where it ends.
fn batch(content: &Bytes, begin: usize, tried_bytes: &mut usize) -> Option<(Vec<Item>, usize)> {
    let start = content.get(begin..)?.first_chunk::<START_BYTES>()?;
    if start.first() != Some(&TAG_START) {
        return None;
    }
    let (count, _) = parse_start(start)?;
    let first = begin + START_BYTES;
    let (mut items, mut at) = (Vec::new(), first);
    for _ in 0..count {
        match *content.get(at)? {
            TAG_ITEM => {
                let head = content.get(at + 1..)?.first_chunk::<{ ITEM_HEAD_BYTES - 1 }>()?;
                let bytes = usize::try_from(parse_item(head)?).ok()?;
                let keyspace = u64::from_le_bytes(*head.get(2..)?.first_chunk()?);
                let key_bytes = usize::from(u16::from_le_bytes(*head.get(10..)?.first_chunk()?));
                let key_at = at + ITEM_HEAD_BYTES;
                let end = key_at.checked_add(bytes).filter(|end| *end <= content.len())?;
                let value_at = key_at.checked_add(key_bytes).filter(|at| *at <= end)?;
                let is_value = head.first() == Some(&0);
                let value = is_value.then(|| content.slice(value_at..end));
                items.push((keyspace, content.slice(key_at..value_at), value));
                *tried_bytes += end - at;
                at = end;
            }
            TAG_CLEAR => at += 1 + 8,
            _ => return None,
        }
    }
    let end = content.get(at..)?.first_chunk::<END_BYTES>()?;
    let [TAG_END, checksum @ .., a, b, c, d] = end else { return None };
    let is_whole = [*a, *b, *c, *d] == END_MAGIC
        && u64::from_le_bytes(*checksum) == xxh3_64(content.get(first..at)?);
    is_whole.then_some((items, at + END_BYTES))
}
