//! For tests of any engine: operations by the local actor, each with the result that is its own.

use async_trait::async_trait;
use usher_event::Event;

use crate::api::{Actor, BrokerError, Change, Operated, Operation, Operator};
use crate::{ReplayQuery, Replayed};

/// See [`Operation`].
#[async_trait]
pub trait LocalOperator: Operator {
    /// Whether there was such a dead letter.
    async fn redrive(&self, id: u64) -> Result<bool, BrokerError> {
        let operated = self.operate(&Actor::local(), Operation::Redrive(id)).await?;
        Ok(operated != Operated::NotFound)
    }

    /// The new event's sequence; `None` if there is no such dead letter.
    async fn redrive_edited(&self, id: u64, edited: Event) -> Result<Option<u64>, BrokerError> {
        let operation = Operation::RedriveEdited { id, edited };
        match self.operate(&Actor::local(), operation).await? {
            Operated::Appended(sequence) => Ok(Some(sequence)),
            _ => Ok(None),
        }
    }

    /// Whether there was such a dead letter.
    async fn discard(&self, id: u64) -> Result<bool, BrokerError> {
        let operated = self.operate(&Actor::local(), Operation::Discard(id)).await?;
        Ok(operated != Operated::NotFound)
    }

    /// One step.
    async fn replay(&self, query: ReplayQuery) -> Result<Replayed, BrokerError> {
        match self.operate(&Actor::local(), Operation::Replay(query)).await? {
            Operated::Replayed(replayed) => Ok(replayed),
            _ => Err(BrokerError::Invalid("a replay came to something else".to_owned())),
        }
    }

    /// Records the change.
    async fn record(&self, change: Change) -> Result<(), BrokerError> {
        self.operate(&Actor::local(), Operation::Record(change)).await.map(drop)
    }
}

impl<T: Operator + ?Sized> LocalOperator for T {}
