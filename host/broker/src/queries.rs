//! Reading what is committed: from views, on threads of their own, so that neither the committer nor an
//! executor blocks on a disk.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use usher_event::{BlobInfo, BlobStore, Digest, PluginName};
use usher_filter::Filter;

use crate::api::*;
use crate::log;
use crate::readers::WorkerPool;
use crate::store::{StoreFailure, View, Views};

/// Threads for queries.
const THREADS: usize = 2;

/// Maximum queries waiting for a thread.
const QUERIES_MAX: usize = 1_024;

/// How long who is refused should wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Threads that read from views.
pub(crate) struct Queries {
    pool: WorkerPool,
    views: Arc<dyn Views>,
}

impl Queries {
    /// Starts the threads.
    pub(crate) fn start(views: Arc<dyn Views>) -> io::Result<Self> {
        Ok(Self { pool: WorkerPool::start("broker-query", THREADS, QUERIES_MAX)?, views })
    }

    /// Does something on one of the threads, if there is room for it.
    pub(crate) fn submit(&self, job: impl FnOnce() + Send + 'static) -> bool {
        self.pool.submit(job)
    }

    /// Reads from a view.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn View) -> Result<T, StoreFailure> + Send + 'static,
    ) -> Result<T, BrokerError> {
        self.query(|views| read(&*views.view())).await
    }

    /// Reads from whatever there is.
    async fn query<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Views) -> Result<T, StoreFailure> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let (reply, answer) = oneshot::channel();
        let views = Arc::clone(&self.views);
        let submitted = self.submit(move || {
            // The caller may have gone.
            let _ = reply.send(read(&*views));
        });
        if !submitted {
            return Err(BrokerError::Busy { retry_after: RETRY_AFTER });
        }
        match answer.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => Err(BrokerError::Read(failure.0)),
            Err(_) => Err(BrokerError::Read("reading panicked; see the log".to_owned())),
        }
    }
}

/// What has a log to read.
#[async_trait]
pub(crate) trait HasLog: Send + Sync + 'static {
    /// Where it is read.
    ///
    /// # Errors
    /// It can't be read any more.
    fn queries(&self) -> Result<&Queries, BrokerError>;

    /// See [`Log::committed`].
    fn newest(&self) -> &watch::Sender<u64>;

    /// Where the content of blobs is, if it is known.
    fn blob_store(&self) -> Option<Arc<dyn BlobStore>>;

    /// See [`Log::watch`].
    async fn watch_types(&self, filter: &Filter) -> Result<Option<Watch>, BrokerError>;
}

#[async_trait]
impl<T: HasLog> Log for T {
    async fn event(&self, sequence: u64) -> Result<Option<StoredEvent>, BrokerError> {
        self.queries()?.read(move |view| log::event(view, sequence)).await
    }

    async fn events_within(
        &self,
        query: EventQuery,
        max_bytes: usize,
    ) -> Result<EventPage, BrokerError> {
        let max_bytes = max_bytes.min(log::PAGE_MAX_BYTES);
        self.queries()?.read(move |view| log::events(view, &query, max_bytes)).await
    }

    async fn watch(&self, filter: &Filter) -> Result<Option<Watch>, BrokerError> {
        self.watch_types(filter).await
    }

    async fn flows_by_correlation(
        &self,
        correlationid: &str,
        max: usize,
    ) -> Result<Vec<u64>, BrokerError> {
        let correlationid = correlationid.to_owned();
        let read = move |view: &dyn View| log::flows_by_correlation(view, &correlationid, max);
        self.queries()?.read(read).await
    }

    async fn dead_letters(&self, query: DeadLetterQuery) -> Result<DeadLetterPage, BrokerError> {
        self.queries()?.read(move |view| log::dead_letters(view, &query)).await
    }

    async fn dead_letter(&self, id: u64) -> Result<Option<DeadLetter>, BrokerError> {
        self.queries()?.read(move |view| log::dead_letter(view, id)).await
    }

    async fn recording(&self, dead_letter: u64) -> Result<Option<Bytes>, BrokerError> {
        self.queries()?.read(move |view| log::recording(view, dead_letter)).await
    }

    async fn audit(&self, after: Option<u64>, max: usize) -> Result<Vec<AuditRecord>, BrokerError> {
        self.queries()?.read(move |view| log::audit(view, after, max)).await
    }

    fn read_blob(&self, digest: &Digest) -> Result<Option<(BlobInfo, Bytes)>, BrokerError> {
        self.queries()?;
        let store = self.blob_store().ok_or(BrokerError::Closed)?;
        store.read(digest).map_err(|error| BrokerError::Read(error.0))
    }

    async fn list_blobs(
        &self,
        after: Option<Digest>,
        max: usize,
    ) -> Result<Vec<BlobRecord>, BrokerError> {
        self.queries()?.read(move |view| log::blobs(view, after, max)).await
    }

    async fn list_state(
        &self,
        plugin: &PluginName,
        after: Option<(String, String)>,
        max: usize,
        at: Option<u64>,
    ) -> Result<Vec<StateRecord>, BrokerError> {
        let (queries, plugin) = (self.queries()?, plugin.clone());
        let Some(sequence) = at else {
            return queries.read(move |view| log::state(view, &plugin, after.as_ref(), max)).await;
        };
        let last = *self.newest().borrow();
        if sequence == 0 || sequence > last {
            return Err(BrokerError::Invalid(format!(
                "there is no event {sequence}: the log goes up to {last}"
            )));
        }
        let read =
            move |views: &dyn Views| log::state_at(views, &plugin, after.as_ref(), max, sequence);
        queries.query(read).await?.map_err(|known| {
            BrokerError::Invalid(format!(
                "state as of event {sequence} is not known: the journal has all changes from event \
                 {known} on"
            ))
        })
    }

    async fn first_since(&self, time_ms: u64) -> Result<u64, BrokerError> {
        self.queries()?.read(move |view| log::first_since(view, time_ms)).await
    }

    async fn documents(&self, prefix: &str) -> Result<BTreeMap<Box<str>, Bytes>, BrokerError> {
        let prefix = prefix.to_owned();
        self.queries()?.read(move |view| log::documents(view, &prefix)).await
    }

    fn check(&self) -> Result<(), BrokerError> {
        self.queries().map(drop)
    }

    fn committed(&self) -> watch::Receiver<u64> {
        self.newest().subscribe()
    }
}
