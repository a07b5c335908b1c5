//! Applies operator actions to the ledger.

use bytes::Bytes;
use usher_event::{Event, Identity, SubscriptionName};

use crate::api::{Actor, BrokerError, Change, DeadLetter, Document, Operated};
use crate::ledger::Ledger;
use crate::prepare::edited_redrive_event;
use crate::replay::Found;
use crate::store::rows::DeadRow;
use crate::store::{View, keys, schema};

/// An operation, with what it needs of the store.
pub(crate) enum Prepared {
    Redrive(u64),
    RedriveEdited { id: u64, event: Event, identity: Identity },
    Discard(u64),
    Replay { subscription: SubscriptionName, found: Found },
    Record(Change),
    Keep(Change, Vec<Document>),
}

impl Prepared {
    /// A redrive of this dead letter with corrections.
    pub(crate) fn redrive_edited(dead: &DeadLetter, edited: &Event) -> Result<Self, BrokerError> {
        let event = edited_redrive_event(dead, edited)?;
        let identity = event.identity();
        Ok(Self::RedriveEdited { id: dead.id, event, identity })
    }

    /// Size of the events it holds.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::RedriveEdited { event, .. } => event.encoded().len(),
            Self::Replay { found, .. } => {
                found.candidates.iter().map(|one| one.stored.event.encoded().len()).sum()
            }
            Self::Keep(_, documents) => document_bytes(documents),
            Self::Redrive(_) | Self::Discard(_) | Self::Record(_) => 0,
        }
    }
}

/// Size of documents.
pub(crate) fn document_bytes(documents: &[Document]) -> usize {
    documents.iter().map(|one| one.name.len() + one.content.as_ref().map_or(0, Bytes::len)).sum()
}

/// Applies an operation. `view` must show the latest commit, as only the committer can be sure of.
pub(crate) fn operate(
    ledger: &mut Ledger,
    view: &dyn View,
    actor: &Actor,
    operation: Prepared,
    now_ms: u64,
) -> Result<Operated, BrokerError> {
    let dead = |ledger: &Ledger, id| dead_letter(ledger, view, id);
    match operation {
        Prepared::Redrive(id) => {
            let Some(dead) = dead(ledger, id)? else { return Ok(Operated::NotFound) };
            ledger.redrive(id, &dead, actor, now_ms).map(|()| Operated::Done)
        }
        Prepared::RedriveEdited { id, event, identity } => {
            let Some(dead) = dead(ledger, id)? else { return Ok(Operated::NotFound) };
            let new = (event, &identity);
            ledger.redrive_edited(id, &dead, new, actor, now_ms).map(Operated::Appended)
        }
        Prepared::Discard(id) => {
            let Some(dead) = dead(ledger, id)? else { return Ok(Operated::NotFound) };
            ledger.discard(id, &dead, actor, now_ms);
            Ok(Operated::Done)
        }
        Prepared::Replay { subscription, found } => {
            ledger.replay(&subscription, found, actor, now_ms).map(Operated::Replayed)
        }
        Prepared::Record(change) => {
            ledger.record_change(change, actor, now_ms);
            Ok(Operated::Done)
        }
        Prepared::Keep(change, documents) => {
            ledger.keep(documents)?;
            ledger.record_change(change, actor, now_ms);
            Ok(Operated::Done)
        }
    }
}

fn dead_letter(ledger: &Ledger, view: &dyn View, id: u64) -> Result<Option<DeadRow>, BrokerError> {
    if ledger.is_dead_letter_gone(id) {
        return Ok(None);
    }
    let dead = view.row::<schema::Dead>(keys::number(id));
    dead.map_err(|failure| BrokerError::Read(failure.0))
}
