//! Blobs of a journal on JetStream: a stream beside the journal's, with a subject for each blob and the
//! epoch in which it was written. A long one is several messages, with headers as a record's parts have.
//!
//! An owner writes each blob that its commits refer to in its own epoch, and never removes copies of later
//! epochs. So a fenced owner that doesn't know it yet can't remove what its successor relies on.
//!
//! An interrupted write is repeated from the start. `Usher-Copy` tells the copies apart.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, Config};
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use tokio::sync::watch;
use usher_journal::{JournalError, new_id};

use crate::JetStreamOptions;
use crate::message::part_of;
use crate::nats::{find_or_make, hex, kept, lossy, reader};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long reading a blob may take.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Which writing of a blob a part is of.
const COPY: &str = "Usher-Copy";

/// Parts under way to the servers.
const UNDER_WAY_MAX: usize = 8;

/// The stream of a journal's blobs.
pub(crate) struct Blobs {
    context: Context,
    stream: stream::Stream<()>,
    name: String,
    prefix: String,
    part_max_bytes: usize,
    /// One is written at a time, so that copies don't mix.
    writing: tokio::sync::Mutex<()>,
    /// The epochs in which each was written, as far as this node knows; perhaps not all of it.
    known: Mutex<HashMap<String, BTreeSet<u64>>>,
    /// The newest epoch in which this node has written all of one.
    written: Mutex<HashMap<String, u64>>,
}

impl Blobs {
    /// The blobs of a journal; a stream is made for them if there is none.
    pub(crate) async fn open(
        client: Client,
        options: &JetStreamOptions,
        part_max_bytes: usize,
        is_stopping: &watch::Receiver<bool>,
    ) -> Result<Self, JournalError> {
        let name = format!("{}_blobs", options.stream);
        let prefix = format!("usher.blob.{}.", options.stream);
        let context = ContextBuilder::new().timeout(ANSWER_TIMEOUT).build(client);
        let config = Config {
            name: name.clone(),
            description: Some("The blobs of an Usher router".to_owned()),
            subjects: vec![format!("{prefix}>")],
            num_replicas: options.replicas,
            ..kept()
        };
        let refused = |reason: String| JournalError::Service { stream: name.clone(), reason };
        let info = find_or_make(&context, config, options.makes_stream, is_stopping).await?;
        let info =
            info.ok_or_else(|| refused("it isn't there: it has the router's blobs".to_owned()))?;
        if let Some(reason) = lossy(&info.config) {
            return Err(refused(format!("{reason}, so that it would lose blobs")));
        }
        let stream = context.get_stream_no_info(&name).await;
        let stream = stream.map_err(|error| refused(error.to_string()))?;
        Ok(Self {
            context,
            stream,
            name,
            prefix,
            part_max_bytes,
            writing: Default::default(),
            known: Mutex::default(),
            written: Mutex::default(),
        })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, BTreeSet<u64>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: impl std::fmt::Display) -> JournalError {
        JournalError::Service { stream: self.name.clone(), reason: error.to_string() }
    }

    /// Whether this node has written a blob in this epoch.
    pub(crate) fn has_put(&self, name: &str, epoch: u64) -> bool {
        self.written().get(name) == Some(&epoch)
    }

    /// Writes a blob in this epoch, unless it was.
    pub(crate) async fn put(
        &self,
        name: &str,
        epoch: u64,
        content: Bytes,
    ) -> Result<(), JournalError> {
        let _writing = self.writing.lock().await;
        if self.has_put(name, epoch) {
            return Ok(());
        }
        let copy = new_id().map_err(|error| self.failed(error))?;
        let copy = hex(&copy);
        let subject = format!("{}{name}.{epoch}", self.prefix);
        let of = content.len().div_ceil(self.part_max_bytes).max(1);
        let mut under_way = std::collections::VecDeque::new();
        for number in 1..=of {
            let start = (number - 1) * self.part_max_bytes;
            let end = content.len().min(start + self.part_max_bytes);
            let publish = PublishMessage::build()
                .header(COPY, copy.as_str())
                .header(crate::message::PART, format!("{number}/{of}"))
                .payload(content.slice(start..end));
            let sent = self.context.send_publish(subject.clone(), publish).await;
            under_way.push_back(sent.map_err(|error| self.failed(error))?);
            if under_way.len() >= UNDER_WAY_MAX
                && let Some(first) = under_way.pop_front()
            {
                first.await.map_err(|error| self.failed(error))?;
            }
        }
        for sent in under_way {
            sent.await.map_err(|error| self.failed(error))?;
        }
        self.known().entry(name.to_owned()).or_default().insert(epoch);
        self.written().insert(name.to_owned(), epoch);
        Ok(())
    }

    /// Reads a blob, of the newest epoch in which all of it was written; `None` if there is none. Whether it
    /// is what its name says is for who asked to see.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<Bytes>, JournalError> {
        let epochs = || -> Vec<u64> {
            self.known().get(name).into_iter().flatten().rev().copied().collect()
        };
        // What this node knows may be out of date.
        for is_first in [true, false] {
            if !is_first {
                self.look(&format!("{name}.*")).await?;
            }
            for epoch in epochs() {
                let subject = format!("{}{name}.{epoch}", self.prefix);
                let read = tokio::time::timeout(READ_TIMEOUT, self.read(subject)).await;
                let late = || self.failed(format!("blob {name} was not read in time"));
                if let Some(content) = read.unwrap_or_else(|_| Err(late()))? {
                    return Ok(Some(content));
                }
            }
        }
        Ok(None)
    }

    /// The first copy below a subject of which every part is there.
    async fn read(&self, subject: String) -> Result<Option<Bytes>, JournalError> {
        let config = pull::Config { filter_subject: subject, ..reader() };
        let made = self.stream.create_consumer(config).await;
        let mut consumer = made.map_err(|error| self.failed(error))?;
        let read = self.first_copy(&mut consumer).await;
        // Servers limit how many there are; if this fails, it is forgotten after a while.
        let _ = self.stream.delete_consumer(&consumer.cached_info().name).await;
        read
    }

    async fn first_copy(
        &self,
        consumer: &mut Consumer<pull::Config>,
    ) -> Result<Option<Bytes>, JournalError> {
        let info = consumer.info().await.map_err(|error| self.failed(error))?;
        if info.num_pending == 0 && info.delivered.stream_sequence == 0 {
            return Ok(None);
        }
        let messages = consumer.messages().await.map_err(|error| self.failed(error))?;
        let mut messages = std::pin::pin!(messages);
        let (mut content, mut next, mut copy) = (BytesMut::new(), 1, None);
        while let Some(message) = messages.try_next().await.map_err(|error| self.failed(error))? {
            let headers = message.headers.as_ref();
            let no_part = || self.failed("a message there is no part of a blob");
            let (number, of) = part_of(headers).ok_or_else(no_part)?;
            let of_copy = headers.and_then(|headers| headers.get(COPY)).cloned();
            if number == 1 {
                content.clear();
                (next, copy) = (1, of_copy.clone());
            }
            if number == next && copy == of_copy {
                content.extend_from_slice(&message.payload);
                next += 1;
                if number == of {
                    return Ok(Some(content.freeze()));
                }
            }
            if message.info().map_err(|error| self.failed(error))?.pending == 0 {
                break;
            }
        }
        Ok(None)
    }

    /// Removes what was written of a blob up to this epoch.
    pub(crate) async fn remove(&self, name: &str, epoch: u64) -> Result<(), JournalError> {
        self.look(&format!("{name}.*")).await?;
        // Before any of it goes.
        self.written().remove(name);
        let gone: Vec<u64> = {
            let known = self.known();
            known.get(name).into_iter().flatten().copied().filter(|of| *of <= epoch).collect()
        };
        for of in gone {
            let subject = format!("{}{name}.{of}", self.prefix);
            let purged = self.stream.purge().filter(subject).await;
            purged.map_err(|error| self.failed(error))?;
            if let Some(epochs) = self.known().get_mut(name) {
                epochs.remove(&of);
            }
        }
        Ok(())
    }

    /// The names of all blobs.
    pub(crate) async fn names(&self) -> Result<Vec<String>, JournalError> {
        self.look(">").await?;
        let known = self.known();
        let written = known.iter().filter(|(_, epochs)| !epochs.is_empty());
        Ok(written.map(|(name, _)| name.clone()).collect())
    }

    /// Asks what there is.
    async fn look(&self, subjects: &str) -> Result<(), JournalError> {
        let info = self.stream.info_with_subjects(format!("{}{subjects}", self.prefix)).await;
        let mut info = info.map_err(|error| self.failed(error))?;
        while let Some((subject, _)) = info.try_next().await.map_err(|error| self.failed(error))? {
            let name = subject.strip_prefix(&self.prefix).and_then(|name| name.split_once('.'));
            if let Some((name, epoch)) = name
                && let Ok(epoch) = epoch.parse()
            {
                self.known().entry(name.to_owned()).or_default().insert(epoch);
            }
        }
        Ok(())
    }
}
