//! The embedded engine behind the [`Broker`] trait.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use usher_event::{BlobStore, Digest, Event, StateReader, SubscriptionName};

use crate::api::*;
use crate::{OpenError, Options};

/// The engine that lives in this process.
#[derive(Debug)]
pub struct EmbeddedBroker {
    poisoned: watch::Sender<Option<String>>,
    committed: watch::Sender<u64>,
}

impl EmbeddedBroker {
    /// Opens a data folder, makes it if need be, and goes on where the last process stopped.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(options: Options) -> Result<Arc<Self>, OpenError> {
        Err(OpenError::InUse { path: options.data, pid: None })
    }

    /// An engine that forgets everything when dropped, for tests.
    pub fn in_memory(options: Options) -> Arc<Self> {
        let _ = options;
        Arc::new(Self { poisoned: watch::Sender::default(), committed: watch::Sender::default() })
    }

    /// Makes the committer look at the clock at once.
    pub fn wake(&self) {}
}

#[async_trait]
impl Broker for EmbeddedBroker {
    async fn publish(&self, _batch: Vec<Event>) -> Result<Vec<Published>, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn subscribe(&self, _subscription: Subscription) -> Result<(), BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn unsubscribe(&self, _name: &SubscriptionName) -> Result<bool, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn lease(
        &self,
        _subscription: &SubscriptionName,
        _max: usize,
    ) -> Result<Vec<Lease>, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn settle(&self, _batch: Vec<Settlement>) -> Result<Vec<Settled>, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn event(&self, _sequence: u64) -> Result<Option<StoredEvent>, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn events(&self, _query: EventQuery) -> Result<EventPage, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn flow(&self, _sequence: u64) -> Result<Option<Flow>, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn flows_by_correlation(
        &self,
        _correlationid: &str,
        _max: usize,
    ) -> Result<Vec<u64>, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn subscriptions(&self) -> Result<Vec<SubscriptionStatus>, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn dead_letters(
        &self,
        _after: Option<u64>,
        _max: usize,
    ) -> Result<Vec<DeadLetter>, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn dead_letter(&self, _id: u64) -> Result<Option<DeadLetter>, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn redrive(&self, _id: u64) -> Result<bool, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn discard(&self, _id: u64) -> Result<bool, BrokerError> {
        Err(BrokerError::Closed)
    }

    fn state(&self) -> Arc<dyn StateReader> {
        loop { std::thread::park() }
    }

    fn blobs(&self) -> Arc<dyn BlobStore> {
        loop { std::thread::park() }
    }

    async fn list_blobs(
        &self,
        _after: Option<Digest>,
        _max: usize,
    ) -> Result<Vec<BlobRecord>, BrokerError> {
        Err(BrokerError::Closed)
    }

    fn committed(&self) -> watch::Receiver<u64> {
        self.committed.subscribe()
    }

    fn stats(&self) -> BrokerStats {
        BrokerStats::default()
    }

    fn poisoned(&self) -> watch::Receiver<Option<String>> {
        self.poisoned.subscribe()
    }

    async fn close(&self) -> Result<(), BrokerError> {
        Err(BrokerError::Closed)
    }

}
