//! Replay: turns events of the log into retries that are due, independent of the cursor.

use usher_event::SubscriptionName;

use super::Ledger;
use super::dead::MANY_RETRIES_AFTER;
use crate::api::{Actor, AuditAction, BrokerError, Replayed};
use crate::replay::{Candidate, Found};
use crate::store::{Space, keys};
use crate::{REPLAYS_MAX, RETRIES_MAX};

impl Ledger {
    /// Redelivers events to a subscription, except those that are still pending. New events are
    /// delivered concurrently.
    pub(crate) fn replay(
        &mut self,
        name: &SubscriptionName,
        found: Found,
        actor: &Actor,
        now_ms: u64,
    ) -> Result<Replayed, BrokerError> {
        let known = self.names.get(name).and_then(|id| self.subs.get(id));
        let Some(sub) = known else { return Err(BrokerError::NoSubscription(name.clone())) };
        if let Some(refusal) = self.refusal_of(sub) {
            return Err(refusal);
        }
        let replays = sub.retries.values().filter(|retry| retry.row.replay.is_some()).count();
        let more = found.candidates.len();
        if replays + more > REPLAYS_MAX || sub.retries.len() + more > RETRIES_MAX {
            let (subscription, retry_after) = (name.clone(), MANY_RETRIES_AFTER);
            return Err(BrokerError::ManyRetries { subscription, retry_after });
        }
        let sub_id = sub.id;
        let Found { candidates, to, next } = found;
        let mut replayed = Replayed { events: 0, pending: 0, dead: 0, to, next };
        let mut ends: Option<(u64, u64)> = None;
        for Candidate { stored, before, letter } in candidates {
            let sequence = stored.sequence;
            let last = self.counters.last_sequence;
            let is_pending =
                self.subs.get(&sub_id).is_some_and(|sub| sub.is_pending(&stored, last));
            if is_pending {
                replayed.pending += 1;
            } else if letter.is_some_and(|letter| letter != 0) {
                replayed.dead += 1;
            } else if sequence >= self.counters.first_sequence {
                if letter.is_some() {
                    let delivery = keys::delivery(sequence, sub_id);
                    self.outgoing.delete(Space::DeadByDelivery, delivery);
                }
                self.deliver_again(sub_id, &stored, before, now_ms);
                replayed.events += 1;
                ends = Some((ends.map_or(sequence, |(first, _)| first), sequence));
            }
        }
        if let Some((first, last)) = ends {
            let action = AuditAction::Replay { first, last, events: replayed.events };
            self.record(name, action, actor, now_ms);
        }
        Ok(replayed)
    }
}
