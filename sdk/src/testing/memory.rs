//! State of the in-memory host, one per thread.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sha2::{Digest, Sha256};

use crate::blobs::{Blob, Info};
use crate::http::{Request, Response};
use crate::log::Level;
use crate::{Capability, Error};

thread_local! {
    static HOST: RefCell<Option<Memory>> = const { RefCell::new(None) };
}

#[derive(Default)]
pub(super) struct Memory {
    pub(super) config: BTreeMap<String, String>,
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) denied: BTreeSet<Capability>,
    pub(super) answers: VecDeque<Result<Response, Error>>,
    pub(super) requests: Vec<Request>,
    pub(super) logs: Vec<(Level, String)>,
    pub(super) stored: Stored,
}

/// State that is rolled back when a delivery fails.
#[derive(Clone, Default)]
pub(super) struct Stored {
    /// Bucket → key → value.
    pub(super) state: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// By digest.
    pub(super) blobs: BTreeMap<String, Blob>,
}

impl Stored {
    pub(super) fn put_blob(&mut self, content: &[u8], content_type: &str) -> String {
        let digest: String =
            Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        let info = Info {
            digest: digest.clone(),
            size_bytes: content.len() as u64,
            content_type: content_type.to_owned(),
        };
        self.blobs
            .entry(digest.clone())
            .or_insert_with(|| Blob { info, content: content.to_vec() });
        digest
    }
}

#[expect(clippy::panic, reason = "only tests call this, and one that does it wrongly must fail")]
pub(super) fn install() {
    HOST.with_borrow_mut(|host| {
        if host.is_some() {
            panic!("this thread has a TestHost already: drop it before making another");
        }
        *host = Some(Memory::default());
    });
}

pub(super) fn uninstall() {
    HOST.with_borrow_mut(|host| *host = None);
}

/// Runs `f` on this thread's host. A [`super::TestHost`] guarantees that there is one.
pub(super) fn with<T>(f: impl FnOnce(&mut Memory) -> T) -> T {
    HOST.with_borrow_mut(|host| f(host.get_or_insert_default()))
}

/// Runs `f` on this thread's host, if there is one and it grants the capability.
pub(super) fn granted<T>(
    capability: Capability,
    f: impl FnOnce(&mut Memory) -> Result<T, Error>,
) -> Result<T, Error> {
    let name = capability.name();
    HOST.with_borrow_mut(|host| match host {
        None => Err(Error::Denied(format!(
            "{name} is not there outside the sandbox: make a usher_sdk::testing::TestHost first"
        ))),
        Some(memory) if memory.denied.contains(&capability) => {
            Err(Error::Denied(format!("{name} is not granted")))
        }
        Some(memory) => f(memory),
    })
}

/// Logs, if this thread has a host.
pub(super) fn log(level: Level, line: &str) {
    HOST.with_borrow_mut(|host| {
        if let Some(memory) = host {
            memory.logs.push((level, line.to_owned()));
        }
    });
}
