//! Settling deliveries. An acknowledgement and all its effects enter the same batch, or none do.

use usher_event::{Failure, FailureClass, QuotaError};

use super::append::Origin;
use super::{Ledger, PreparedSettlement};
use crate::api::{Cause, CauseKind, Changes, Disposition, NewEvent, Settled};
use crate::{CONFLICTS_MAX, HOPS_MAX};

/// A settlement without its disposition.
pub(super) struct Report {
    pub(super) subscription: u32,
    pub(super) sequence: u64,
    pub(super) took_us: u64,
    pub(super) digest: Option<usher_event::Digest>,
    pub(super) version: Option<Box<str>>,
}

/// What becomes of an acknowledgement's changes.
enum Admission {
    /// They are committed.
    Commit,
    /// State they read has changed: the delivery runs again, uncounted.
    Conflict,
    /// The delivery waits, uncounted, for this subscription, which is too far behind to take more.
    HoldBack { behind: u32 },
    /// The delivery failed; it is retried.
    Fail(Failure),
    /// The delivery failed for good.
    GiveUp(Failure),
}

impl Ledger {
    /// Applies one settlement; one whose lease is no longer valid is only counted.
    pub(crate) fn settle(&mut self, decided: PreparedSettlement, now_ms: u64) -> Settled {
        let settled = self.apply(decided, now_ms);
        if settled == Settled::Stale {
            self.stats.stale += 1;
        }
        settled
    }

    fn apply(&mut self, decided: PreparedSettlement, now_ms: u64) -> Settled {
        let PreparedSettlement { settlement, identities, stored_blobs } = decided;
        let sequence = settlement.sequence;
        let Some(id) = self.names.get(&settlement.subscription).copied() else {
            return Settled::Stale;
        };
        let Some(sub) = self.subs.get_mut(&id) else { return Settled::Stale };
        if !sub.is_leased(sequence, settlement.token) {
            return Settled::Stale;
        }
        self.touched.insert(id);
        let report = Report {
            subscription: id,
            sequence,
            took_us: usher_event::micros(settlement.took),
            digest: settlement.digest,
            version: settlement.version,
        };
        match settlement.disposition {
            Disposition::Release => {
                sub.release(sequence);
                self.expire_if_gone(id, sequence, Settled::Committed)
            }
            Disposition::Retry { failure, after } => self.fail(&report, failure, after, now_ms),
            Disposition::Reject { failure } => self.give_up(&report, failure, now_ms),
            Disposition::Ack(changes) => match self.admission(&report, &changes, &stored_blobs) {
                Admission::Commit => {
                    self.acknowledge(&report, changes, &identities, &stored_blobs, now_ms)
                }
                Admission::Fail(failure) => self.fail(&report, failure, None, now_ms),
                Admission::GiveUp(failure) => self.give_up(&report, failure, now_ms),
                Admission::Conflict => self.run_again(id, sequence),
                Admission::HoldBack { behind } => self.wait_for(id, sequence, behind),
            },
        }
    }

    /// Has a delivery run again, alone if that has happened too often.
    fn run_again(&mut self, id: u32, sequence: u64) -> Settled {
        self.stats.conflicts += 1;
        if let Some(sub) = self.subs.get_mut(&id)
            && sub.put_back_conflicting(sequence) > CONFLICTS_MAX
        {
            self.alone.ask(&sub.subscription().name, id, sequence);
        }
        self.expire_if_gone(id, sequence, Settled::Conflict)
    }

    /// Has a delivery wait until the subscription `behind` has caught up.
    fn wait_for(&mut self, id: u32, sequence: u64, behind: u32) -> Settled {
        self.stats.held_back += 1;
        self.hold_back(id, behind);
        if let Some(sub) = self.subs.get_mut(&id) {
            sub.put_back(sequence);
        }
        self.expire_if_gone(id, sequence, Settled::HeldBack)
    }

    /// Whether an acknowledgement may commit. The one place that decides it: what the sandbox and
    /// the router check before is only to fail early.
    fn admission(
        &self,
        report: &Report,
        changes: &Changes,
        stored_blobs: &[Option<u64>],
    ) -> Admission {
        let limit = |reason: String| Failure::new(FailureClass::Limit, reason);
        if !self.state.still_holds(&changes.reads) {
            return Admission::Conflict;
        }
        if let Err(error) = self.fits(report.subscription, changes, stored_blobs) {
            return Admission::Fail(limit(error.to_string()));
        }
        if changes.emissions.is_empty() {
            return Admission::Commit;
        }
        if let Some(sub) = self.subs.get(&report.subscription)
            && let Some(held) = sub.held.get(&report.sequence)
        {
            let stored = &held.pending.stored;
            if stored.depth >= HOPS_MAX {
                let subscription = sub.subscription().name.as_str();
                let emitted = changes.emissions.first().map_or("", |new| new.event.ty());
                let way = self.path_to(stored, subscription, emitted);
                let reason = format!("the flow is {HOPS_MAX} hops deep and would go on{way}");
                return Admission::GiveUp(limit(reason));
            }
            let more = changes.emissions.iter().filter(|new| new.wait().is_some()).count();
            let plugin = sub.subscription().name.plugin();
            match self.delayed.objection(plugin, more, changes.delayed_max) {
                Some((reason, true)) => return Admission::GiveUp(limit(reason)),
                Some((reason, false)) => return Admission::Fail(limit(reason)),
                None => {}
            }
        }
        match self.taker_too_far_behind(report.subscription, &changes.emissions) {
            Some(behind) => Admission::HoldBack { behind },
            None => Admission::Commit,
        }
    }

    /// Checks the plugin's quota. Only conclusive here: other deliveries may have committed since.
    fn fits(
        &self,
        subscription: u32,
        changes: &Changes,
        stored_blobs: &[Option<u64>],
    ) -> Result<(), QuotaError> {
        let Changes { writes, blobs, quota, .. } = changes;
        if let Some(write) = writes.first() {
            let (before, after) = self.state.usage(&write.address.plugin, writes);
            quota.check_state(before, after)?;
        }
        if !blobs.is_empty()
            && let Some(sub) = self.subs.get(&subscription)
        {
            let plugin = sub.subscription().name.plugin();
            let (before_bytes, after_bytes) = self.blobs.usage(plugin, blobs, stored_blobs);
            quota.check_blobs(before_bytes, after_bytes)?;
        }
        Ok(())
    }

    fn acknowledge(
        &mut self,
        report: &Report,
        changes: Changes,
        identities: &[usher_event::Identity],
        stored_blobs: &[Option<u64>],
        now_ms: u64,
    ) -> Settled {
        let id = report.subscription;
        let Some(sub) = self.subs.get_mut(&id) else { return Settled::Stale };
        let Some(pending) = sub.remove_held(report.sequence) else { return Settled::Stale };
        sub.acked += 1;
        self.stats.acked += 1;
        sub.end(report.sequence, pending.lane, &mut self.outgoing);
        // Without a row of its own only the cursor tells that it is over.
        if pending.retry.is_none() {
            self.unsaved.insert(id);
        }
        let subscription = sub.subscription().name.clone();
        let attempt = pending.attempt();
        for (new, identity) in changes.emissions.into_iter().zip(identities) {
            let wait = new.wait();
            let NewEvent { event, .. } = new;
            let cause = Cause {
                kind: CauseKind::Emission,
                parent: report.sequence,
                subscription: subscription.clone(),
                attempt,
                took_us: report.took_us,
            };
            let depth = pending.stored.depth + 1;
            let origin = Origin { flow: pending.stored.flow, depth, cause };
            match wait {
                None => {
                    self.append(event, identity, Some(origin), now_ms);
                }
                Some(wait) => self.delay(event, origin, wait, now_ms),
            }
        }
        self.state.write(self.commit, changes.writes, &mut self.outgoing);
        let Changes { blobs, staged, .. } = changes;
        self.change_blobs(subscription.plugin(), blobs, stored_blobs, staged, now_ms);
        Settled::Committed
    }
}
