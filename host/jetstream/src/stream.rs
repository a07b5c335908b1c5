//! The stream: what is asked of it, and what its answers mean.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use usher_journal::{JournalError, JournalId};

use crate::message::Message;
use crate::servers::{Failure, Refusal, Servers, Stored};

/// Who tries that often in vain says so.
const TRIES_QUIET: u32 = 20;

/// A journal's stream.
pub(crate) struct Stream<S> {
    pub(crate) servers: S,
    name: String,
    pub(crate) id: JournalId,
    /// The longest part of a record's frame.
    pub(crate) part_max_bytes: usize,
    /// Whether a message waits for servers that are away.
    is_away: AtomicBool,
    /// Set once nothing is waited for any more.
    pub(crate) is_stopping: watch::Receiver<bool>,
}

/// Where a message came to stand.
pub(crate) enum Placed {
    /// At this sequence.
    At(u64),
    /// This one stands there instead.
    Taken(Message),
    /// What had its place was purged, which only a later owner does.
    GivenUp,
}

impl<S: Servers> Stream<S> {
    pub(crate) fn new(
        servers: S,
        name: String,
        id: JournalId,
        part_max_bytes: usize,
        is_stopping: watch::Receiver<bool>,
    ) -> Self {
        let is_away = AtomicBool::new(false);
        Self { servers, name, id, part_max_bytes, is_away, is_stopping }
    }

    pub(crate) fn error(&self, reason: impl Into<String>) -> JournalError {
        JournalError::Service { stream: self.name.clone(), reason: reason.into() }
    }

    /// The sequences of the first message and of the last; the last is 0 as long as there was none.
    pub(crate) async fn bounds(&self) -> Result<(u64, u64), JournalError> {
        let extent = self.insist("the stream's state", || self.servers.extent()).await?;
        // The id is asked for each time: whoever deletes a stream may make one of the same name.
        if extent.id != Some(self.id) {
            return Err(self.error("it was deleted and made anew: restore a backup"));
        }
        Ok((extent.first, extent.last))
    }

    /// The message with this sequence; `None` if there is none, or not any more.
    pub(crate) async fn message(&self, sequence: u64) -> Result<Option<Message>, JournalError> {
        let found = self.insist("a message", || self.servers.message(sequence)).await?;
        found.map(|stored| self.known(sequence, stored)).transpose()
    }

    /// What is stored, unless somebody else wrote it.
    pub(crate) fn known(&self, sequence: u64, stored: Stored) -> Result<Message, JournalError> {
        stored.ok_or_else(|| {
            self.error(format!(
                "message {sequence} was not written by Usher: nobody else may publish there"
            ))
        })
    }

    /// Appends a message behind the one with sequence `last`. Asks until it is known what became of it.
    pub(crate) async fn place(&self, message: &Message, last: u64) -> Result<Placed, JournalError> {
        let placed = self.ask_to_place(message, last).await;
        if self.is_away.swap(false, Ordering::AcqRel) && placed.is_ok() {
            tracing::info!(stream = self.name, "the journal can be written again");
        }
        placed
    }

    /// Whether a message waits for servers that are away.
    pub(crate) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Acquire)
    }

    async fn ask_to_place(&self, message: &Message, last: u64) -> Result<Placed, JournalError> {
        let mut is_told = false;
        loop {
            match self.servers.publish(message, last).await {
                Ok(sequence) => return Ok(Placed::At(sequence)),
                // Ours, the answer to which was lost, or another's.
                Err(Refusal::Conflict) => match self.message(last + 1).await? {
                    Some(found) if found == *message => return Ok(Placed::At(last + 1)),
                    Some(found) => return Ok(Placed::Taken(found)),
                    None => {
                        let (first, end) = self.bounds().await?;
                        if end < last {
                            return Err(self.error(format!(
                                "it ends with message {end}, and {last} had been acknowledged: the \
                                 server has lost it, or an old backup was restored"
                            )));
                        }
                        if last + 1 < first {
                            return Ok(Placed::GivenUp);
                        }
                    }
                },
                Err(Refusal::TooLarge) => {
                    return Err(
                        self.error("the server's max_payload was lowered; restart this node")
                    );
                }
                Err(Refusal::Unknown(reason)) => {
                    if !std::mem::replace(&mut is_told, true) {
                        self.is_away.store(true, Ordering::Release);
                        tracing::warn!(
                            stream = self.name,
                            reason,
                            "the journal can't be written; trying again"
                        );
                    }
                }
            }
            self.again().await?;
        }
    }

    /// The sequence of the first message that is about this position or a later one; that of the next
    /// message if there is none.
    pub(crate) async fn find(&self, position: u64) -> Result<u64, JournalError> {
        let (mut low, last) = self.bounds().await?;
        let mut high = last + 1;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.message(middle).await? {
                Some(message) if message.position >= position => high = middle,
                // Messages go from the beginning on.
                Some(_) | None => low = middle + 1,
            }
        }
        Ok(low)
    }

    /// Messages from a sequence on, as they come. They end when the server has gone, and some may be missing
    /// then.
    pub(crate) async fn messages(&self, from: u64) -> Result<S::Arrivals, JournalError> {
        self.insist("a consumer", || self.servers.messages(from)).await
    }

    /// Gives up the messages before a sequence.
    pub(crate) async fn purge(&self, before: u64) -> Result<(), JournalError> {
        self.servers.purge(before).await.map_err(|failure| match failure {
            Failure::Passing(reason) | Failure::Lasting(reason) => self.error(reason),
        })
    }

    /// Asks again while the failure may pass.
    async fn insist<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        what: &str,
        ask: impl Fn() -> F,
    ) -> Result<T, JournalError> {
        let mut tries = 0_u32;
        loop {
            tries = tries.saturating_add(1);
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Passing(reason)) => {
                    if tries == TRIES_QUIET {
                        tracing::warn!(
                            stream = self.name,
                            reason,
                            "cannot get {what}; trying again"
                        );
                    }
                    self.again().await?;
                }
                Err(Failure::Lasting(reason)) => {
                    return Err(self.error(format!("cannot get {what}: {reason}")));
                }
            }
        }
    }

    async fn again(&self) -> Result<(), JournalError> {
        again(&self.is_stopping, self.servers.pause()).await
    }
}

/// Waits before the next try; fails once nothing is to be waited for any more.
pub(crate) async fn again(
    is_stopping: &watch::Receiver<bool>,
    pause: impl Future<Output = ()>,
) -> Result<(), JournalError> {
    let mut is_stopping = is_stopping.clone();
    tokio::select! {
        biased;
        _ = is_stopping.wait_for(|is| *is) => Err(JournalError::Failed(
            "stopped while the journal's servers were away".to_owned(),
        )),
        () = pause => Ok(()),
    }
}
