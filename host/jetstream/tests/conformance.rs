//! The conformance tests on a broker whose journal is on a real server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says by failing what went wrong"
)]

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use usher_broker::{Broker, Options, Standby};
use usher_conformance::{Engine, Limits};
use usher_jetstream::{JetStreamJournal, JetStreamOptions};
use usher_journal::Journal;
use usher_tests::NatsServer;

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
        let Limits { clock, seed, duplicates_window_events, duplicates_window, .. } = limits;
        let Limits { retention, backlog_max_events, .. } = limits;
        let options = Options {
            clock,
            seed,
            duplicates_window_events,
            duplicates_window,
            retention,
            backlog_max_events,
            ..Options::new(folder.path().join("node"))
        };
        let place = JetStreamOptions {
            servers: vec![server.url()],
            stream: "usher".to_owned(),
            replicas: 1,
            node: "node".to_owned(),
            url: None,
            user: None,
            certificate: None,
            ca: None,
            takeover_after: Duration::from_secs(2),
            rank: 0,
        };
        let standby = Standby::open(options, |folder, local| {
            let journal = JetStreamJournal::open(folder, local, place)?;
            let id = journal.id();
            Ok((Arc::new(journal) as Arc<dyn Journal>, id))
        });
        standby.unwrap().claim().unwrap()
    }

    fn is_there(&self) -> bool {
        self.0.is_some()
    }
}

usher_conformance::conformance!(crate::OnJetStream::new());
