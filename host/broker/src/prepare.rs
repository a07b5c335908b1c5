//! Validation and preparation that runs off the committer's thread.

use std::collections::BTreeSet;

use usher_event::{BlobChange, BlobInfo, Event, Failure, FailureClass, SYSTEM_TYPE_PREFIX};

use crate::api::{
    BrokerError, Changes, DeadLetter, Disposition, Document, Order, Schedule, Settlement,
    Subscription,
};
use crate::blobs::Blobs;
use crate::ledger::PreparedSettlement;
use crate::{
    DOCUMENT_MAX_BYTES, DOCUMENT_NAME_MAX_BYTES, IN_FLIGHT_MAX, SCHEDULES_MAX,
    STATE_ADDRESS_MAX_BYTES,
};

/// Checks the sizes of documents.
pub(crate) fn check_documents(documents: &[Document]) -> Result<(), BrokerError> {
    let mut names = BTreeSet::new();
    for Document { name, content } in documents {
        if !names.insert(name) {
            return Err(BrokerError::Invalid(format!("document {name} is there twice")));
        }
        if !(1..=DOCUMENT_NAME_MAX_BYTES).contains(&name.len()) {
            return Err(BrokerError::Invalid(format!(
                "the name of a document has {} bytes, use 1 to {DOCUMENT_NAME_MAX_BYTES}",
                name.len()
            )));
        }
        if let Some(content) = content.as_ref().filter(|new| new.len() > DOCUMENT_MAX_BYTES) {
            return Err(BrokerError::Invalid(format!(
                "document {name} has {} bytes, the limit is {DOCUMENT_MAX_BYTES}",
                content.len()
            )));
        }
    }
    Ok(())
}

/// Validates the numbers of a subscription.
pub(crate) fn check_subscription(subscription: &Subscription) -> Result<(), BrokerError> {
    let Subscription { name, order, retry, max_in_flight, pace, .. } = subscription;
    let wrong = |what: &str| Err(BrokerError::Invalid(format!("subscription {name}: {what}")));
    if !(1..=IN_FLIGHT_MAX).contains(max_in_flight) {
        return wrong(&format!("max_in_flight must be 1 to {IN_FLIGHT_MAX}"));
    }
    if let Order::Key(attribute) = order
        && Order::key(attribute).is_none()
    {
        return wrong(&format!("{attribute:?} is not the name of an attribute: use a-z and 0-9"));
    }
    if let Err(what) = pace.check(order) {
        return wrong(&what);
    }
    if !(retry.factor.is_finite() && retry.factor >= 1.0) {
        return wrong("the factor of retries must be at least 1");
    }
    if !(0.0..=1.0).contains(&retry.jitter) {
        return wrong("the jitter of retries must be 0 to 1");
    }
    let own = retry.classes.values();
    if own.clone().filter_map(|own| own.factor).any(|factor| !(factor.is_finite() && factor >= 1.0))
    {
        return wrong("the factor of retries must be at least 1");
    }
    let mut attempts = own.filter_map(|own| own.max_attempts).chain([retry.max_attempts]);
    if attempts.any(|attempts| attempts == 0) {
        return wrong("max_attempts must be at least 1");
    }
    Ok(())
}

/// Validates the set of schedules.
pub(crate) fn check_schedules(schedules: &[Schedule]) -> Result<(), BrokerError> {
    if schedules.len() > SCHEDULES_MAX {
        return Err(BrokerError::Invalid(format!(
            "there are {} schedules, the limit is {SCHEDULES_MAX}",
            schedules.len()
        )));
    }
    let mut names = BTreeSet::new();
    for Schedule { name, event, .. } in schedules {
        let wrong = |what: &str| Err(BrokerError::Invalid(format!("schedule {name}: {what}")));
        if !names.insert(name) {
            return wrong("there are two of this name");
        }
        if let Some((attribute, what)) = event.reserved_attribute() {
            return wrong(&format!("attribute {attribute:?} must not {what}"));
        }
    }
    Ok(())
}

/// Builds the event that is appended in place of a dead letter's.
pub(crate) fn edited_redrive_event(
    dead: &DeadLetter,
    edited: &Event,
) -> Result<Event, BrokerError> {
    let (id, old) = (dead.id, &dead.stored.event);
    for (attribute, found, wanted) in
        [("source", edited.source(), old.source()), ("id", edited.id(), old.id())]
    {
        if found != wanted {
            return Err(BrokerError::Invalid(format!(
                "attribute {attribute:?} is {found:?}, but the event of dead letter {id} has \
                 {wanted:?}: leave id and source as they are, the new event gets an id of its own"
            )));
        }
    }
    if edited.has_system_type() && !old.has_system_type() {
        return Err(BrokerError::Invalid(format!(
            "attribute \"type\" must not start with {SYSTEM_TYPE_PREFIX}, which is for the \
             router's own events"
        )));
    }
    let new_id = format!("{}/redrive/{id}", old.id());
    edited.in_place_of(old, &new_id).map_err(|error| BrokerError::Invalid(error.to_string()))
}

/// Precomputes what the committer will need. Changes that can never be committed become a failure.
pub(crate) fn prepare_settlement(mut settlement: Settlement, blobs: &Blobs) -> PreparedSettlement {
    if let Disposition::Ack(changes) = &mut settlement.disposition
        && let Some(disposition) = refusal(changes, blobs)
    {
        settlement.disposition = disposition;
    }
    let identities = match &settlement.disposition {
        Disposition::Ack(changes) => {
            changes.emissions.iter().map(|new| new.event.identity()).collect()
        }
        _ => Vec::new(),
    };
    PreparedSettlement { settlement, identities, stored_blobs: Vec::new() }
}

fn refusal(changes: &mut Changes, blobs: &Blobs) -> Option<Disposition> {
    if changes.writes.iter().any(|write| write.address.name_bytes() > STATE_ADDRESS_MAX_BYTES) {
        let reason = format!(
            "a state address has more than {STATE_ADDRESS_MAX_BYTES} bytes of bucket and key"
        );
        return Some(Disposition::Reject { failure: Failure::new(FailureClass::Limit, reason) });
    }
    for change in &changes.blobs {
        let BlobChange::Put(BlobInfo { digest, .. }) = change else { continue };
        // Held here as well: not every caller has just written the blob.
        match blobs.hold(digest) {
            Some(staged) => changes.staged.push(staged),
            None => {
                let reason = format!("the content of blob {digest} is not there");
                let failure = Failure::new(FailureClass::Host, reason);
                return Some(Disposition::Retry { failure, after: None });
            }
        }
    }
    None
}
