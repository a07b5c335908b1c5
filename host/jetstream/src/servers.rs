//! What a journal asks of the servers that keep its stream.

use std::future::Future;
use std::time::Duration;

use futures_util::Stream as Items;
use usher_journal::JournalId;

use crate::message::Message;
use crate::owner::Owner;

/// Waits between two tries.
pub(crate) const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The servers, as one node reaches them. Answers may be lost, and what was asked may be done later, or not
/// at all.
pub trait Servers: Send + Sync + 'static {
    /// Messages as they come, until the connection is lost. Some may be missing.
    type Arrivals: Items<Item = Arrival> + Send + Unpin;

    /// Appends a message behind the one with sequence `last`, and returns its sequence.
    fn publish(
        &self,
        message: &Message,
        last: u64,
    ) -> impl Future<Output = Result<u64, Refusal>> + Send;

    /// The message with this sequence; `None` if there is none, or not any more.
    fn message(
        &self,
        sequence: u64,
    ) -> impl Future<Output = Result<Option<Stored>, Failure>> + Send;

    /// How far the stream goes.
    fn extent(&self) -> impl Future<Output = Result<Extent, Failure>> + Send;

    /// Messages from a sequence on.
    fn messages(&self, from: u64) -> impl Future<Output = Result<Self::Arrivals, Failure>> + Send;

    /// Gives up the messages before a sequence.
    fn purge(&self, before: u64) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Tells the other nodes who the owner is, once.
    fn tell(&self, owner: &Owner) -> impl Future<Output = ()> + Send;

    /// Whether the owner of this epoch, or of a later one, is heard by who begins to listen now.
    fn is_owner_heard(&self, epoch: u64) -> impl Future<Output = bool> + Send;

    /// Waits before the next try.
    fn pause(&self) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(AGAIN_AFTER)
    }
}

/// What is stored in a stream: a message, unless somebody else wrote it.
pub type Stored = Option<Message>;

/// How far a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The journal whose stream it is; `None` if it says nothing.
    pub id: Option<JournalId>,
    /// The sequence of the first message.
    pub first: u64,
    /// That of the last; 0 as long as there was none.
    pub last: u64,
}

/// A message that has come.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its sequence.
    pub sequence: u64,
    /// Whether it is the first that was sent to this reader, of which others may be lost on the way.
    pub is_first: bool,
    /// What it is.
    pub stored: Stored,
}

/// Why a message was not appended, as far as is known.
#[derive(Debug)]
pub enum Refusal {
    /// The stream's last sequence is another.
    Conflict,
    /// It is larger than the servers take.
    TooLarge,
    /// It may have been; why that isn't known.
    Unknown(String),
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// It may be otherwise soon.
    Passing(String),
    /// It stays like that.
    Lasting(String),
}
