//! A node's side of the journal: its replica, kept up to the stream, and appends while it is the owner.

use std::future::Future;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, watch};
use tokio::task::block_in_place;
use usher_journal::{
    Copied, Entry, FirstFailure, Journal, JournalError, JournalId, LocalJournal, LocalOptions,
    Payload, Record, Records, Replica, ReplicaOf, check_place, new_id,
};

use crate::connect::connect;
use crate::link::Link;
use crate::message::{Content, Message, Parts};
use crate::nats::{JetStream, hex};
use crate::options::JetStreamOptions;
use crate::owner::{self, Heard, Owner};
use crate::servers::{Arrival, Servers};
use crate::stream::{Placed, Stream};

/// How often the owner may trim while a node looks where the stream begins.
const TRIM_TRIES_MAX: u32 = 5;

/// Idle time after which a reader of the stream is recreated.
const SILENT_AFTER: Duration = Duration::from_secs(10);

/// A journal on JetStream. Dropping it without [`Journal::close`] is like a crash of this node.
pub struct JetStreamJournal<S: Servers = JetStream> {
    shared: Arc<Shared<S>>,
    /// `None` only while it is dropped.
    executor: Option<Runtime>,
}

/// Waits for news of a journal.
pub struct Changes {
    end: watch::Receiver<u64>,
    heard: watch::Receiver<Heard>,
}

impl Changes {
    /// Waits for the next. Cancel-safe; waits for ever once the journal is gone.
    pub async fn next(&mut self) {
        let Self { end, heard } = self;
        let changed = tokio::select! {
            changed = end.changed() => changed,
            changed = heard.changed() => changed,
        };
        if changed.is_err() {
            std::future::pending().await
        }
    }
}

struct Shared<S> {
    options: JetStreamOptions,
    stream: Stream<S>,
    replica: Arc<dyn Replica>,
    tip: Mutex<Tip>,
    /// The epoch of this node's claim; 0 while it has made none.
    claimed: AtomicU64,
    /// What this node's claim is based on; `None` to claim in any case.
    vacancy: std::sync::Mutex<Option<Vacancy>>,
    /// The replica's end.
    end: watch::Sender<u64>,
    heard: watch::Sender<Heard>,
    stop: watch::Sender<bool>,
    failed: FirstFailure,
    /// The node that this owner leaves the journal to.
    successor: OnceLock<String>,
}

/// How long a server may be behind what this node has seen of the journal.
const STALE_MAX: Duration = Duration::from_secs(10);

/// When it is asked again.
const STALE_RETRY_AFTER: Duration = Duration::from_millis(500);

/// How long a journal that is dropped waits for what it is at.
const DROP_TIMEOUT: Duration = Duration::from_millis(500);

/// Why the journal has no owner, as far as this node knows.
#[derive(Clone, Copy)]
struct Vacancy {
    /// The epoch that has ended.
    epoch: u64,
    /// Whether its owner said so, or was listened for in vain.
    is_sure: bool,
}

/// How far the stream was read, or written.
struct Tip {
    /// The sequence of the last message.
    sequence: u64,
    /// That of the last claim.
    epoch: u64,
    parts: Parts,
}

impl JetStreamJournal {
    /// Opens the journal, with a replica in this folder that is brought up to the stream's end. Waits
    /// while no server can be reached.
    ///
    /// # Errors
    /// The servers refuse this node, the stream isn't a journal of Usher, or the folder has another
    /// journal, or more than the stream has.
    pub fn open(
        folder: &Path,
        local: LocalOptions,
        options: JetStreamOptions,
    ) -> Result<Self, JournalError> {
        let folder = folder.to_owned();
        // A node that has a journal doesn't make a stream without it.
        let makes_stream = options.makes_stream && LocalJournal::id_in(&folder)?.is_none();
        let journal = Self::opened(options.clone(), |options, is_stopping| async move {
            let client = connect(&options).await?;
            let options = JetStreamOptions { makes_stream, ..options };
            let stream = Stream::open(client, &options, None, is_stopping).await?;
            Ok((stream, LocalFiles { folder, local }))
        })?;
        // Last: a node that is refused makes no stream.
        let shared = Arc::clone(&journal.shared);
        journal.wait(async move { shared.stream.open_blobs(&options).await })?;
        if let Some(executor) = &journal.executor {
            let shared = &journal.shared;
            executor.spawn(Arc::clone(shared).follow());
            let Shared { stream, options, heard, .. } = &**shared;
            let client = stream.servers.client();
            executor.spawn(owner::listen(client, options.stream.clone(), heard.clone()));
            executor.spawn(Arc::clone(shared).watch_for_owners());
        }
        Ok(journal)
    }

    /// The link to the router's other nodes.
    pub fn link(&self) -> Link {
        let JetStreamOptions { stream, node, .. } = &self.shared.options;
        Link::new(self.shared.stream.servers.client(), stream, node)
    }

    /// Writes a blob where every node finds it, unless this owner has.
    ///
    /// # Errors
    /// The servers are away or refuse.
    pub fn put_blob(&self, name: &str, content: &[u8]) -> Result<(), JournalError> {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        let content = Bytes::copy_from_slice(content);
        self.wait(async move {
            shared.stream.servers.blobs()?.put(&name, shared.epoch(), content).await
        })
    }

    /// Whether this owner has written a blob.
    pub fn has_put_blob(&self, name: &str) -> bool {
        self.shared
            .stream
            .servers
            .blobs()
            .is_ok_and(|blobs| blobs.has_put(name, self.shared.epoch()))
    }

    /// Reads a blob; `None` if there is none. What comes may not be what was written.
    ///
    /// # Errors
    /// The servers are away or refuse.
    pub fn blob(&self, name: &str) -> Result<Option<Bytes>, JournalError> {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        self.wait(async move {
            let mut is_stopping = shared.stop.subscribe();
            tokio::select! {
                read = async { shared.stream.servers.blobs()?.get(&name).await } => read,
                _ = is_stopping.wait_for(|is| *is) => {
                    Err(JournalError::Failed("the journal is being closed".to_owned()))
                }
            }
        })
    }

    /// Removes a blob, unless a later owner has written it.
    ///
    /// # Errors
    /// The servers are away or refuse.
    pub fn remove_blob(&self, name: &str) -> Result<(), JournalError> {
        let (shared, name) = (Arc::clone(&self.shared), name.to_owned());
        self.wait(async move { shared.stream.servers.blobs()?.remove(&name, shared.epoch()).await })
    }

    /// The names of all blobs.
    ///
    /// # Errors
    /// The servers are away or refuse.
    pub fn blobs(&self) -> Result<Vec<String>, JournalError> {
        let shared = Arc::clone(&self.shared);
        self.wait(async move { shared.stream.servers.blobs()?.names().await })
    }
}

impl<S: Servers> JetStreamJournal<S> {
    /// Opens the journal on these servers, whose stream has the id. Follows the stream only when
    /// it is claimed, or told to [`JetStreamJournal::catch_up`].
    ///
    /// # Errors
    /// See [`JetStreamJournal::open`].
    pub fn on(
        servers: S,
        id: JournalId,
        part_max_bytes: usize,
        options: JetStreamOptions,
        files: impl ReplicaFiles,
    ) -> Result<Self, JournalError> {
        Self::opened(options, move |options, is_stopping| async move {
            Ok((Stream::new(servers, options.stream, id, part_max_bytes, is_stopping), files))
        })
    }

    fn opened<R: ReplicaFiles, F>(
        options: JetStreamOptions,
        connect: impl FnOnce(JetStreamOptions, watch::Receiver<bool>) -> F,
    ) -> Result<Self, JournalError>
    where
        F: Future<Output = Result<(Stream<S>, R), JournalError>> + Send + 'static,
    {
        let executor = executor()?;
        let (stop, is_stopping) = watch::channel(false);
        let connecting = connect(options.clone(), is_stopping);
        let opened = wait(&executor, async move {
            let (stream, files) = connecting.await?;
            Shared::open(&files, options, stream, stop).await.map(Arc::new)
        });
        match opened {
            Ok(shared) => Ok(Self { shared, executor: Some(executor) }),
            Err(error) => {
                executor.shutdown_background();
                Err(error)
            }
        }
    }

    /// Reads the stream up to its end.
    ///
    /// # Errors
    /// The servers refuse, or have something that can't follow what this node has.
    pub fn catch_up(&self) -> Result<(), JournalError> {
        let shared = Arc::clone(&self.shared);
        self.wait(async move {
            let mut tip = shared.tip.lock().await;
            shared.catch_up(&mut tip).await
        })
    }

    /// The name of this node.
    pub fn node(&self) -> &str {
        &self.shared.options.node
    }

    /// Where clients reach this node, as it tells the others.
    pub fn url(&self) -> Option<&str> {
        self.shared.options.url.as_deref()
    }

    /// The epoch of this node's claim; 0 while it has made none.
    pub fn epoch(&self) -> u64 {
        self.shared.epoch()
    }

    /// Tells when there is more of the journal, or something new of its owner.
    pub fn changes(&self) -> Changes {
        Changes { end: self.shared.end.subscribe(), heard: self.shared.heard.subscribe() }
    }

    /// What the owner told last, if it was heard.
    pub fn owner(&self) -> Option<Owner> {
        self.shared.heard.borrow().owner.clone()
    }

    /// Waits until it is this node's turn to take over: the owner has left, or nothing was heard of it
    /// for as long as the options say.
    ///
    /// What is claimed then is the end of the epoch that this node knows of: if there is a newer one, or its
    /// owner is heard after all, [`Journal::claim`] is fenced.
    pub async fn until_vacant(&self) {
        let shared = &self.shared;
        let is_sure = owner::until_vacant(shared.heard.subscribe(), &shared.options).await;
        let epoch = shared.tip.lock().await.epoch;
        *shared.vacancy() = Some(Vacancy { epoch, is_sure });
    }

    /// Names the node that takes over once this owner closes the journal; the first one counts.
    pub fn leave_to(&self, node: &str) {
        // Already set: keep the first one.
        let _ = self.shared.successor.set(node.to_owned());
    }

    /// Waits until this node can't append or follow any more; returns why.
    pub async fn until_failed(&self) -> String {
        let mut changes = self.changes();
        loop {
            if let Some(reason) = self.failure() {
                return reason;
            }
            changes.next().await;
        }
    }

    /// Why this node can't follow the journal any more; `None` while it can.
    pub fn failure(&self) -> Option<String> {
        self.shared.failed.reason().map(str::to_owned)
    }

    /// Gives up what waits for servers that are away.
    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
    }

    /// Runs on the journal's thread, and waits here for what it comes to. The caller may be a thread of
    /// another executor.
    fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, JournalError>> + Send + 'static,
    ) -> Result<T, JournalError> {
        match &self.executor {
            Some(executor) => wait(executor, work),
            None => Err(JournalError::Failed("it is closed".to_owned())),
        }
    }
}

/// One thread for what is asked of the servers.
pub(crate) fn executor() -> Result<Runtime, JournalError> {
    let executor = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("journal-nats")
        .enable_all()
        .build();
    executor.map_err(|error| JournalError::Failed(format!("no thread can be started: {error}")))
}

pub(crate) fn wait<T: Send + 'static>(
    executor: &Runtime,
    work: impl Future<Output = Result<T, JournalError>> + Send + 'static,
) -> Result<T, JournalError> {
    let (reply, answer) = mpsc::sync_channel(1);
    executor.spawn(async move {
        // The caller waits.
        let _ = reply.send(work.await);
    });
    let panicked = || JournalError::Failed("the journal's thread panicked; see the log".to_owned());
    answer.recv().unwrap_or_else(|_| Err(panicked()))
}

impl<S: Servers> Drop for JetStreamJournal<S> {
    fn drop(&mut self) {
        self.stop();
        // The next process to open the folder must be its only writer.
        let end = Instant::now() + DROP_TIMEOUT;
        while self.shared.tip.try_lock().is_err() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        if let Some(executor) = self.executor.take() {
            executor.shutdown_background();
        }
    }
}

impl<S: Servers> Shared<S> {
    async fn open(
        files: &impl ReplicaFiles,
        options: JetStreamOptions,
        stream: Stream<S>,
        stop: watch::Sender<bool>,
    ) -> Result<Self, JournalError> {
        let (begin, mut end) = begin_and_end(&stream).await?;
        let replica = match block_in_place(|| files.open())? {
            Some(replica) if replica.id() != stream.id => {
                return Err(stream.error(
                    "it is another journal than the one in this node's data folder; give another data folder \
                     or stream",
                ));
            }
            Some(replica) if replica.end() >= begin.position => replica,
            Some(replica) => {
                tracing::warn!(
                    end = replica.end(),
                    start = begin.position,
                    "what follows this node's replica was given up: it is fetched anew"
                );
                drop(replica);
                block_in_place(|| files.begin(begin))?
            }
            None => block_in_place(|| files.begin(begin))?,
        };
        let deadline = tokio::time::Instant::now() + STALE_MAX;
        while replica.end() > end {
            // A server that was cut off or stopped may not know yet what the others have.
            if tokio::time::Instant::now() >= deadline {
                return Err(stream.error(format!(
                    "it ends before position {end}, and this node has seen {}: the servers have lost something, \
                     or an old backup was restored; docs/cluster.md says what to do: What is refused",
                    replica.end()
                )));
            }
            tokio::time::sleep(STALE_RETRY_AFTER).await;
            end = begin_and_end(&stream).await?.1;
        }
        // Again from the record that is known, which tells whether they are the same.
        let from = replica.end().saturating_sub(1).max(replica.start());
        let sequence = stream.find(from).await?.saturating_sub(1);
        let tip = Tip { sequence, epoch: 0, parts: Parts::default() };
        let shared = Self {
            options,
            stream,
            end: watch::channel(replica.end()).0,
            replica,
            tip: Mutex::new(tip),
            claimed: AtomicU64::new(0),
            vacancy: std::sync::Mutex::default(),
            heard: watch::channel(Heard::nothing()).0,
            stop,
            failed: FirstFailure::default(),
            successor: OnceLock::new(),
        };
        {
            let mut tip = shared.tip.lock().await;
            shared.catch_up(&mut tip).await?;
        }
        Ok(shared)
    }

    fn vacancy(&self) -> std::sync::MutexGuard<'_, Option<Vacancy>> {
        self.vacancy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That of this node's newest claim.
    fn epoch(&self) -> u64 {
        self.claimed.load(Ordering::Acquire)
    }

    /// Reads the stream up to its end.
    async fn catch_up(&self, tip: &mut Tip) -> Result<(), JournalError> {
        loop {
            let (_, last) = self.stream.bounds().await?;
            if last <= tip.sequence {
                return Ok(());
            }
            let mut messages = self.stream.messages(tip.sequence + 1).await?;
            while tip.sequence < last {
                let next = tokio::time::timeout(SILENT_AFTER, messages.next()).await;
                let Ok(Some(message)) = next else { break };
                if !self.take(tip, message)? {
                    break;
                }
            }
        }
    }

    /// The epoch of the newest message; 0 if that doesn't tell.
    async fn newest_epoch(&self) -> Result<u64, JournalError> {
        let (_, last) = self.stream.bounds().await?;
        let newest = self.stream.message(last).await?;
        Ok(newest.map_or(0, |Message { content, .. }| match content {
            Content::Claim { epoch, .. } => epoch,
            Content::Part { frame, .. } => {
                Record::from_frame(&frame, &self.stream.id).map_or(0, |record| record.epoch)
            }
        }))
    }

    /// Finds out that another node has overtaken this one, also while nothing is written.
    async fn watch_for_owners(self: Arc<Self>) {
        let mut heard = self.heard.subscribe();
        while heard.changed().await.is_ok() {
            let told = heard.borrow_and_update().owner.as_ref().map_or(0, |owner| owner.epoch);
            let epoch = self.epoch();
            if epoch == 0 || told <= epoch {
                continue;
            }
            // What is told is a hint; the stream says whether it is so.
            let Ok(newer) = self.newest_epoch().await else { return };
            if newer > epoch {
                self.failed.note(JournalError::Fenced { epoch, newer });
                self.end.send_modify(|_| {});
                return;
            }
        }
    }

    /// Follows the stream while another node is the owner.
    async fn follow(self: Arc<Self>) {
        loop {
            let from = self.tip.lock().await.sequence + 1;
            let Ok(mut messages) = self.stream.messages(from).await else { return };
            while let Some(message) = messages.next().await {
                let mut tip = self.tip.lock().await;
                if self.epoch() > 0 || self.failed.check().is_err() || *self.stop.borrow() {
                    return;
                }
                match self.take(&mut tip, message) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        let error = self.failed.note(error);
                        tracing::error!(%error, "this node can't follow the journal any more");
                        // Wakes who waits for more.
                        self.end.send_modify(|_| {});
                        return;
                    }
                }
            }
        }
    }

    /// Takes in the next message of the stream; whether it is the next, and none before it is missing.
    fn take(&self, tip: &mut Tip, arrival: Arrival) -> Result<bool, JournalError> {
        let Arrival { sequence, is_first, stored } = arrival;
        if sequence <= tip.sequence {
            return Ok(true);
        }
        // A new reader gets those that were lost on the way, unless they were given up.
        if sequence > tip.sequence + 1 && !is_first {
            return Ok(false);
        }
        let Message { position, content } = self.stream.known(sequence, stored)?;
        if position > self.replica.end() {
            return Err(self.stream.error(format!(
                "position {position} follows {}: what lies between was given up while this node was \
                 away; start it again, and it fetches the journal anew",
                self.replica.end()
            )));
        }
        match content {
            Content::Claim { epoch, .. } => {
                tip.parts.clear();
                tip.epoch = epoch;
            }
            Content::Part { number, of, frame } => {
                let pushed = tip.parts.push((number, of), frame, &self.stream.id);
                let record = pushed.map_err(|reason| {
                    self.stream.error(format!("message {sequence} is damaged: {reason}"))
                })?;
                if let Some(record) = record {
                    tip.epoch = tip.epoch.max(record.epoch);
                    block_in_place(|| self.keep(&record))?;
                }
            }
        }
        tip.sequence = sequence;
        Ok(true)
    }

    /// Adds a record to the replica, which may have it.
    fn keep(&self, record: &Record) -> Result<(), JournalError> {
        let Record { position, epoch, first_sequence, events, payload } = record;
        let end = self.replica.end();
        if *position < end {
            let known = self.replica.read(*position, position + 1)?.next().transpose()?;
            return match known {
                // Older ones may have been rewritten.
                Some(known) if known != *record && position + 1 == end => {
                    Err(self.stream.error(format!(
                        "it has another record at position {position} than this node: this node's data \
                         folder went on elsewhere, or the stream was restored from an old backup"
                    )))
                }
                _ => Ok(()),
            };
        }
        self.replica.follow(*epoch)?;
        let (first_sequence, events) = (*first_sequence, *events);
        let entry = Entry { first_sequence, events, payload: &[payload] };
        self.replica.append(*epoch, *position, &entry)?;
        self.end.send_replace(position + 1);
        Ok(())
    }

    async fn claim(self: Arc<Self>) -> Result<u64, JournalError> {
        let mut tip = self.tip.lock().await;
        self.failed.check()?;
        let id =
            new_id().map_err(|error| self.stream.error(format!("no random numbers: {error}")))?;
        let id = hex(&id);
        let epoch = loop {
            self.catch_up(&mut tip).await?;
            let (vacancy, newer) = (*self.vacancy(), tip.epoch);
            if let Some(Vacancy { epoch, is_sure }) = vacancy {
                if newer > epoch {
                    return Err(JournalError::Fenced { epoch, newer });
                }
                if !is_sure {
                    // It may be this node that couldn't hear.
                    if self.stream.servers.is_owner_heard(newer).await {
                        return Err(JournalError::Fenced { epoch, newer });
                    }
                    *self.vacancy() = Some(Vacancy { epoch, is_sure: true });
                    continue;
                }
            }
            let epoch = tip.epoch + 1;
            let content = Content::Claim { epoch, node: self.options.node.clone(), id: id.clone() };
            let claim = Message { position: self.replica.end(), content };
            match self.stream.place(&claim, tip.sequence).await? {
                Placed::At(sequence) => {
                    tip.sequence = sequence;
                    break epoch;
                }
                Placed::Taken(Message { content: Content::Claim { epoch: newer, .. }, .. }) => {
                    return Err(JournalError::Fenced { epoch, newer });
                }
                // The owner still appends: it is overtaken all the same.
                Placed::Taken(_) | Placed::GivenUp => {}
            }
        };
        tip.epoch = epoch;
        tip.parts.clear();
        if let Some(vacancy) = &mut *self.vacancy() {
            // Its own claims don't stand in the way of another one.
            vacancy.epoch = epoch;
        }
        self.replica.follow(epoch)?;
        let is_first = self.claimed.swap(epoch, Ordering::AcqRel) == 0;
        if is_first {
            tokio::spawn(Arc::clone(&self).keep_telling());
        }
        Ok(epoch)
    }

    /// Tells that this node is the owner, as long as it is.
    async fn keep_telling(self: Arc<Self>) {
        while self.failed.check().is_ok() && !*self.stop.borrow() {
            self.stream.servers.tell(&self.told(false)).await;
            tokio::time::sleep(owner::EVERY).await;
        }
    }

    /// What this node tells as the owner.
    fn told(&self, is_leaving: bool) -> Owner {
        Owner {
            node: self.options.node.clone(),
            epoch: self.epoch(),
            url: self.options.url.clone(),
            end: self.replica.end(),
            start: self.replica.start(),
            is_leaving,
            successor: self.successor.get().cloned(),
        }
    }

    async fn append(
        self: Arc<Self>,
        epoch: u64,
        position: u64,
        frame: Bytes,
    ) -> Result<(), JournalError> {
        let mut tip = self.tip.lock().await;
        self.failed.check()?;
        check_place((epoch, tip.epoch), (position, self.replica.end()))?;
        for part in Message::parts(position, &frame, self.stream.part_max_bytes) {
            let placed = self.stream.place(&part, tip.sequence).await;
            match placed.map_err(|error| self.failed.note(error))? {
                Placed::At(sequence) => tip.sequence = sequence,
                Placed::Taken(Message { content: Content::Claim { epoch: newer, .. }, .. }) => {
                    return Err(self.failed.note(JournalError::Fenced { epoch, newer }));
                }
                Placed::GivenUp => {
                    let newest = self.newest_epoch().await;
                    let newer = newest.map_err(|error| self.failed.note(error))?.max(epoch + 1);
                    return Err(self.failed.note(JournalError::Fenced { epoch, newer }));
                }
                Placed::Taken(Message { position, .. }) => {
                    return Err(self.failed.note(self.stream.error(format!(
                        "somebody else wrote the record at position {position} without a claim"
                    ))));
                }
            }
        }
        let record = Record::from_frame(&frame, &self.stream.id);
        let record = record.ok_or_else(|| self.stream.error("a record can't be read again"))?;
        block_in_place(|| self.keep(&record)).map_err(|error| self.failed.note(error))
    }
}

/// Where a replica of the stream begins, and the position that the next record gets.
async fn begin_and_end<S: Servers>(stream: &Stream<S>) -> Result<(ReplicaOf, u64), JournalError> {
    let (mut begin, mut end) = (ReplicaOf { id: stream.id, position: 0, sequence: 1 }, 0);
    if let Some((first, last)) = first_and_last(stream).await? {
        // A claim, or a part of an unfinished record, has the position of the next record.
        let is_whole = matches!(last.content, Content::Part { number, of, .. } if number == of);
        end = last.position + u64::from(is_whole);
        begin.position = first.position;
        if let Some(record) = first_record(stream, first.position).await? {
            begin.sequence = record.first_sequence;
        }
    }
    Ok((begin, end))
}

/// Where a node keeps its replica.
pub trait ReplicaFiles: Send + Sync + 'static {
    /// The replica; `None` if there is none.
    ///
    /// # Errors
    /// See [`JournalError`].
    fn open(&self) -> Result<Option<Arc<dyn Replica>>, JournalError>;

    /// A new one, in place of what there is.
    ///
    /// # Errors
    /// See [`JournalError`].
    fn begin(&self, of: ReplicaOf) -> Result<Arc<dyn Replica>, JournalError>;
}

/// Segment files.
struct LocalFiles {
    folder: PathBuf,
    local: LocalOptions,
}

impl ReplicaFiles for LocalFiles {
    fn open(&self) -> Result<Option<Arc<dyn Replica>>, JournalError> {
        if !LocalJournal::exists(&self.folder)? {
            return Ok(None);
        }
        let (replica, recovery) = LocalJournal::open(&self.folder, self.local)?;
        if let Some((bytes, segment)) = recovery.torn {
            tracing::info!(segment, bytes, "the replica's torn tail is fetched again");
        }
        Ok(Some(Arc::new(replica)))
    }

    fn begin(&self, of: ReplicaOf) -> Result<Arc<dyn Replica>, JournalError> {
        Ok(Arc::new(LocalJournal::replica(&self.folder, self.local, of)?))
    }
}

/// The first message of a stream, and the last; `None` if there is none yet.
async fn first_and_last<S: Servers>(
    stream: &Stream<S>,
) -> Result<Option<(Message, Message)>, JournalError> {
    for _ in 0..TRIM_TRIES_MAX {
        let (first, last) = stream.bounds().await?;
        if last == 0 {
            return Ok(None);
        }
        if let (Some(first), Some(last)) =
            (stream.message(first).await?, stream.message(last).await?)
        {
            return Ok(Some((first, last)));
        }
    }
    Err(stream.error("it has no message any more: somebody purged it; restore a backup"))
}

/// The first record from a position on that is whole.
async fn first_record<S: Servers>(
    stream: &Stream<S>,
    position: u64,
) -> Result<Option<Record>, JournalError> {
    let (mut sequence, last) = stream.bounds().await?;
    let mut parts = Parts::default();
    while sequence <= last {
        if let Some(Message { position: found, content: Content::Part { number, of, frame } }) =
            stream.message(sequence).await?
            && found >= position
            && let Ok(Some(record)) = parts.push((number, of), frame, &stream.id)
        {
            return Ok(Some(record));
        }
        sequence += 1;
    }
    Ok(None)
}

impl<S: Servers> Journal for JetStreamJournal<S> {
    fn id(&self) -> JournalId {
        self.shared.stream.id
    }

    fn claim(&self) -> Result<u64, JournalError> {
        self.wait(Arc::clone(&self.shared).claim())
    }

    fn start(&self) -> u64 {
        self.shared.replica.start()
    }

    fn end(&self) -> u64 {
        self.shared.replica.end()
    }

    fn append(&self, epoch: u64, position: u64, entry: &Entry<'_>) -> Result<(), JournalError> {
        entry.check_size()?;
        let frame = Record::frame(entry, position, epoch, &self.shared.stream.id);
        self.wait(Arc::clone(&self.shared).append(epoch, position, frame.into()))
    }

    fn check(&self) -> Result<(), JournalError> {
        self.shared.failed.check()
    }

    fn is_waiting(&self) -> bool {
        self.shared.stream.is_away()
    }

    fn sync(&self, position: u64) -> Result<(), JournalError> {
        // What is in the replica was acknowledged by the stream.
        match self.end() {
            end if position < end => Ok(()),
            _ => self.shared.failed.check(),
        }
    }

    fn read(&self, from: u64, to: u64) -> Result<Records, JournalError> {
        self.shared.replica.read(from, to)
    }

    fn near(&self, sequence: u64) -> Result<u64, JournalError> {
        self.shared.replica.near(sequence)
    }

    fn trimmable(&self, before: u64) -> u64 {
        self.shared.replica.trimmable(before)
    }

    fn close(&self) -> Result<(), JournalError> {
        let shared = Arc::clone(&self.shared);
        if shared.epoch() > 0 && shared.failed.check().is_ok() {
            self.wait(async move {
                shared.stop.send_replace(true);
                let told = shared.told(true);
                shared.stream.servers.tell(&told).await;
                Ok(())
            })?;
        }
        self.shared.replica.close()
    }

    fn size_bytes(&self, from: u64) -> Result<u64, JournalError> {
        self.shared.replica.size_bytes(from)
    }

    fn part(&self, from: u64) -> Option<Range<u64>> {
        self.shared.replica.part(from)
    }

    /// Only of the replica: the stream keeps its messages until they are given up.
    fn rewrite(&self, part: Range<u64>, payload: &mut Payload<'_>) -> Result<bool, JournalError> {
        self.shared.replica.rewrite(part, payload)
    }

    fn copy_to(
        &self,
        folder: &Path,
        until: u64,
        base: Option<&Path>,
        is_stopping: &dyn Fn() -> bool,
    ) -> Result<Copied, JournalError> {
        self.shared.replica.copy_to(folder, until, base, is_stopping)
    }

    fn trim(&self, before: u64) -> Result<u64, JournalError> {
        let start = self.shared.replica.trim(before)?;
        if self.shared.epoch() > 0 {
            let shared = Arc::clone(&self.shared);
            let purged = self.wait(async move {
                let first = shared.stream.find(start).await?;
                shared.stream.purge(first).await
            });
            // The next trim gives up these, too.
            if let Err(error) = purged {
                tracing::warn!(%error, "the stream is not trimmed");
            }
        }
        Ok(start)
    }
}

impl<S: Servers> std::fmt::Debug for JetStreamJournal<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stream = &self.shared.options.stream;
        f.debug_struct("JetStreamJournal").field("stream", stream).finish_non_exhaustive()
    }
}
