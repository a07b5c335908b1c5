//! The conformance tests on each of the embedded engine's stores, and tests of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says by failing what went wrong"
)]

mod embedded;

use std::sync::Arc;

use tempfile::TempDir;
use usher_broker::{Broker, EmbeddedBroker, MemoryDisk, Options};
use usher_conformance::{Engine, Limits};

/// The embedded engine on a disk, in a folder.
struct OnDisk(TempDir);

impl Engine for OnDisk {
    fn open(&self, limits: Limits) -> Arc<dyn Broker> {
        let data = self.0.path().to_owned();
        EmbeddedBroker::open(Options { data, ..limits.options() }).unwrap()
    }
}

/// The embedded engine in memory.
struct InMemory(MemoryDisk);

impl Engine for InMemory {
    fn open(&self, limits: Limits) -> Arc<dyn Broker> {
        EmbeddedBroker::on(&self.0, limits.options()).unwrap()
    }
}

mod on_disk {
    usher_conformance::conformance!(super::OnDisk(tempfile::tempdir().unwrap()));
}

mod in_memory {
    usher_conformance::conformance!(super::InMemory(super::MemoryDisk::default()));
}
