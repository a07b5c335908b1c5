//! Blobs of a journal on JetStream: a stream beside the journal's, with a subject for each blob and the
//! epoch in which it was written. A long one is several messages, with headers as a record's parts have.
//!
//! Whoever refers to a blob has written it in its own epoch, and nobody removes what a later epoch than
//! its own has written. So an owner that was overtaken, and doesn't know yet, can't remove what the next
//! one relies on.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, Config, DiscardPolicy, StorageType};
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use usher_journal::JournalError;

use crate::JetStreamOptions;
use crate::message::part_of;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Readers that have gone are forgotten after this.
const INACTIVE_AFTER: Duration = Duration::from_secs(10);

/// Parts under way to the servers.
const UNDER_WAY_MAX: usize = 8;

/// The stream of a journal's blobs.
pub(crate) struct Blobs {
    context: Context,
    stream: stream::Stream<()>,
    name: String,
    prefix: String,
    part_max_bytes: usize,
    /// The epochs in which each was written, as far as this node knows.
    known: Mutex<HashMap<String, BTreeSet<u64>>>,
}

impl Blobs {
    /// The blobs of a journal; a stream is made for them if there is none.
    pub(crate) async fn open(
        client: Client,
        options: &JetStreamOptions,
        part_max_bytes: usize,
    ) -> Result<Self, JournalError> {
        let name = format!("{}_blobs", options.stream);
        let prefix = format!("usher.blob.{}.", options.stream);
        let context = ContextBuilder::new().timeout(ANSWER_TIMEOUT).build(client);
        let config = Config {
            name: name.clone(),
            description: Some("The blobs of an Usher router".to_owned()),
            subjects: vec![format!("{prefix}>")],
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            num_replicas: options.replicas,
            ..Config::default()
        };
        let refused = |reason: String| JournalError::Service { stream: name.clone(), reason };
        // Of another configuration it is all the same, as long as it keeps what is written.
        let stream = match context.get_stream(&name).await {
            Ok(found) => found,
            Err(_) => match context.create_stream(config).await {
                Ok(made) => made,
                // Another node was faster, or the answer was lost.
                Err(_) => {
                    let found = context.get_stream(&name).await;
                    found.map_err(|error| refused(format!("cannot make it: {error}")))?
                }
            },
        };
        let kept = &stream.cached_info().config;
        if !kept.max_age.is_zero() || kept.discard != DiscardPolicy::New {
            return Err(refused(
                "it has a max_age, or discards old messages: it would lose blobs".to_owned(),
            ));
        }
        let stream = context.get_stream_no_info(&name).await;
        let stream = stream.map_err(|error| refused(error.to_string()))?;
        Ok(Self { context, stream, name, prefix, part_max_bytes, known: Mutex::default() })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, BTreeSet<u64>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: impl std::fmt::Display) -> JournalError {
        JournalError::Service { stream: self.name.clone(), reason: error.to_string() }
    }

    /// Writes a blob in this epoch, unless it was.
    pub(crate) async fn put(
        &self,
        name: &str,
        epoch: u64,
        content: Bytes,
    ) -> Result<(), JournalError> {
        if self.known().get(name).is_some_and(|epochs| epochs.contains(&epoch)) {
            return Ok(());
        }
        let subject = format!("{}{name}.{epoch}", self.prefix);
        let of = content.len().div_ceil(self.part_max_bytes).max(1);
        let mut under_way = std::collections::VecDeque::new();
        for number in 1..=of {
            let start = (number - 1) * self.part_max_bytes;
            let end = content.len().min(start + self.part_max_bytes);
            let publish = PublishMessage::build()
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
        Ok(())
    }

    /// Reads a blob; `None` if there is none. Whether it is what its name says is for who asked to see.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<Bytes>, JournalError> {
        let find = || self.known().get(name).and_then(|epochs| epochs.last().copied());
        let epoch = match find() {
            Some(epoch) => epoch,
            None => {
                self.look(&format!("{name}.*")).await?;
                let Some(epoch) = find() else { return Ok(None) };
                epoch
            }
        };
        let config = pull::Config {
            filter_subject: format!("{}{name}.{epoch}", self.prefix),
            ack_policy: AckPolicy::None,
            inactive_threshold: INACTIVE_AFTER,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let made = self.stream.create_consumer(config).await;
        let consumer = made.map_err(|error| self.failed(error))?;
        let messages = consumer.messages().await.map_err(|error| self.failed(error))?;
        let read = async {
            let mut messages = std::pin::pin!(messages);
            let mut content = BytesMut::new();
            while let Some(message) =
                messages.try_next().await.map_err(|error| self.failed(error))?
            {
                let (number, of) = part_of(message.headers.as_ref())
                    .ok_or_else(|| self.failed("a message there is no part of a blob"))?;
                if number == 1 {
                    content.clear();
                }
                content.extend_from_slice(&message.payload);
                if number == of {
                    break;
                }
            }
            Ok(Some(content.freeze()))
        };
        let read = tokio::time::timeout(ANSWER_TIMEOUT * 4, read).await;
        read.unwrap_or_else(|_| Err(self.failed(format!("blob {name} doesn't come"))))
    }

    /// Removes what was written of a blob up to this epoch.
    pub(crate) async fn remove(&self, name: &str, epoch: u64) -> Result<(), JournalError> {
        self.look(&format!("{name}.*")).await?;
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
