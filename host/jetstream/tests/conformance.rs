//! The conformance tests on a broker whose journal is on a real server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says by failing what went wrong"
)]

use std::sync::Arc;

use tempfile::TempDir;
use usher_broker::{Broker, OpenError, Options, Standby};
use usher_conformance::{Engine, Limits};
use usher_jetstream::{JetStreamJournal, JetStreamOptions};
use usher_tests::{NatsServer, wait_for};

/// The embedded engine with its journal on a server of its own; `None` where there is no server.
struct OnJetStream(Option<(NatsServer, TempDir)>);

impl OnJetStream {
    fn new() -> Self {
        Self(NatsServer::program().map(|program| {
            let folder = tempfile::tempdir().unwrap();
            (NatsServer::start(&program, folder.path(), "sync_interval: always").unwrap(), folder)
        }))
    }
}

impl Engine for OnJetStream {
    fn open(&self, limits: Limits) -> Arc<dyn Broker> {
        let (server, folder) = self.0.as_ref().unwrap();
        let place =
            JetStreamOptions { replicas: 1, ..JetStreamOptions::new([server.url()], "node") };
        let options = Options { data: folder.path().join("node"), ..limits.options() };
        let open = || {
            let opened = Standby::open(options.clone(), |folder, local| {
                Ok(Arc::new(JetStreamJournal::open(folder, local, place.clone())?))
            });
            match opened {
                // A thread of the broker before is closing its store.
                Err(OpenError::InUse { .. }) => Ok(None),
                opened => Ok(Some(opened?.claim()?)),
            }
        };
        wait_for("the data folder to be free", open).unwrap()
    }

    fn is_there(&self) -> bool {
        self.0.is_some()
    }
}

usher_conformance::conformance!(crate::OnJetStream::new());
