//! Documents: small texts that others keep in the journal, by name.

use std::collections::BTreeMap;

use super::Ledger;
use crate::api::{BrokerError, Document};
use crate::store::Space;
use crate::{DOCUMENTS_MAX, DOCUMENTS_MAX_BYTES};

/// What there is, for its limits.
#[derive(Default)]
pub(super) struct Documents {
    /// The size of each, bytes.
    sizes: BTreeMap<Box<str>, usize>,
    bytes: usize,
}

impl Documents {
    pub(super) fn new(sizes: BTreeMap<Box<str>, usize>) -> Self {
        Self { bytes: sizes.values().sum(), sizes }
    }
}

impl Ledger {
    /// Replaces documents, all or none.
    ///
    /// # Errors
    /// [`BrokerError::Conflict`]: there would be too many.
    pub(crate) fn keep(&mut self, documents: Vec<Document>) -> Result<(), BrokerError> {
        let held = &mut self.documents;
        let (mut count, mut bytes) = (held.sizes.len(), held.bytes);
        for Document { name, content } in &documents {
            let before = held.sizes.get(&**name);
            count = count - usize::from(before.is_some()) + usize::from(content.is_some());
            bytes =
                bytes - before.copied().unwrap_or(0) + content.as_ref().map_or(0, |new| new.len());
        }
        let is_more = count > held.sizes.len() || bytes > held.bytes;
        if is_more && (count > DOCUMENTS_MAX || bytes > DOCUMENTS_MAX_BYTES) {
            return Err(BrokerError::Conflict(format!(
                "there would be {count} documents of {bytes} bytes, the limits are {DOCUMENTS_MAX} and \
                 {DOCUMENTS_MAX_BYTES}"
            )));
        }
        for Document { name, content } in documents {
            let key = name.as_bytes().to_vec();
            match content {
                Some(content) => {
                    held.sizes.insert(name, content.len());
                    self.outgoing.put(Space::Documents, key, content);
                }
                None if held.sizes.remove(&name).is_some() => {
                    self.outgoing.delete(Space::Documents, key);
                }
                None => {}
            }
        }
        held.bytes = held.sizes.values().sum();
        Ok(())
    }
}
