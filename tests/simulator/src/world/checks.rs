//! Checks of each lease, and of what the broker reports.

use super::World;
use crate::model::{Key, Stands};
use usher_broker::*;

impl World {
    /// Compares the broker's explanations of a few deliveries with the model.
    pub(crate) fn check_explanations(&self) {
        const FEW: u64 = 4;
        let last = self.model.events.len() as u64;
        for (name, subscription) in &self.model.subscriptions {
            for back in 0..FEW {
                // The newest event, and some from anywhere in the log.
                let sequence = match back {
                    0 => last,
                    _ => (self.tick / 7 + back * 31) % (last + 2),
                };
                let told = self.broker.explain(&subscription.name, sequence);
                let key = (name.clone(), sequence);
                let agrees = self.agrees(&key, told.as_ref());
                assert!(agrees, "{key:?}: {told:?}, stands {:?}", self.model.stands.get(&key));
            }
        }
    }

    fn agrees(&self, key: &Key, told: Option<&Explanation>) -> bool {
        let (name, sequence) = key;
        let first = self.broker.stats().first_sequence;
        let stands = self.model.stands.get(key).copied();
        let (status, filter_from) = match told {
            None => return *sequence == 0 || *sequence > self.model.events.len() as u64,
            Some(Explanation::Expired { first_sequence, .. }) => {
                let is_over = stands.is_none_or(|stands| self.model.is_over(key, stands));
                return *first_sequence == first && *sequence < first && is_over;
            }
            Some(Explanation::BeforeStart { first }) => {
                let was_replayed = self.model.replayed.contains(key);
                return sequence < first
                    && (stands.is_none() || (was_replayed && stands == Some(Stands::Done)));
            }
            Some(Explanation::Unmatched(_)) => {
                // It may have been done under an earlier filter.
                let filter = &self.model.subscriptions[name].filter;
                let matches = self.model.matches(filter, *sequence);
                return !matches && matches!(stands, None | Some(Stands::Done | Stands::Unsure));
            }
            Some(Explanation::Delivery { status, filter_from, .. }) => (status, filter_from),
        };
        let mut out = self.leases.values().map(|out| &out.lease.delivery);
        let is_out = out.any(|out| out.subscription.as_str() == name && out.sequence == *sequence);
        let in_round = status.failures.iter().filter(|one| one.round == status.round).count();
        // Retention that passes a delivery in flight removes its failed attempts, too.
        let was_passed = *sequence < first && self.model.passed.contains(key);
        let has = |failures| was_passed || in_round == failures as usize;
        match (stands, &status.state) {
            // Superseded, as far as one can tell.
            (_, DeliveryState::Done) if self.model.outdated.contains(key) => !is_out,
            (Some(Stands::Ready { failures } | Stands::Waiting { failures, .. }), state) => {
                let stands_so = match state {
                    DeliveryState::InFlight { attempt } => is_out && *attempt == failures + 1,
                    DeliveryState::Pending | DeliveryState::Parked { .. } => !is_out,
                    // A redriven delivery waits until the ledger reads the clock.
                    DeliveryState::Waiting { .. } => {
                        !is_out && (failures > 0 || self.model.replayed.contains(key))
                    }
                    DeliveryState::Done | DeliveryState::Dead { .. } => false,
                };
                stands_so && has(failures)
            }
            (Some(Stands::Unsure), _) | (Some(Stands::Done), DeliveryState::Done) => true,
            // It may have been passed over.
            (None, DeliveryState::Done) => {
                let is_addressed = self.model.addressees.get(sequence) == Some(name);
                is_addressed || filter_from.is_some_and(|from| *sequence < from)
            }
            (Some(Stands::Dead { id }), DeliveryState::Dead { id: told }) => id == *told,
            _ => false,
        }
    }

    pub(crate) fn check_lease(&mut self, lease: &Lease) {
        let delivery = &lease.delivery;
        let name = delivery.subscription.to_string();
        let key = (name.clone(), delivery.sequence);
        self.tell(format_args!("lease {key:?} attempt {}", delivery.attempt));
        // [2] Only accepted events are delivered, unchanged.
        assert_eq!(*self.model.event(delivery.sequence), delivery.event);
        let twice = self.leases.values().map(|out| &out.lease.delivery).any(|other| {
            other.sequence == delivery.sequence && other.subscription == delivery.subscription
        });
        assert!(!twice, "{key:?} is out twice");
        let failures = match self.model.stands.get(&key) {
            Some(Stands::Ready { failures }) => *failures,
            Some(Stands::Unsure) => 0,
            Some(Stands::Waiting { failures, due_tick }) => {
                assert!(*due_tick <= self.tick, "{key:?} comes too early");
                *failures
            }
            other => panic!("{key:?} is delivered, but stands {other:?}"),
        };
        // [8] The attempt count survives everything.
        assert_eq!(delivery.attempt, failures + 1, "{key:?}");
        // [5] No earlier delivery of its lane is open.
        let blocker = self.model.blocker(&name, delivery.sequence);
        assert_eq!(blocker, None, "{key:?} is delivered before one of the same key");
        // [5] Of a debounced lane one is out at a time.
        if self.model.subscriptions[&name].pace.debounce.is_some()
            && let Some(lane) = self.model.lane(&name, delivery.sequence)
            && !self.model.is_exempt(&key)
        {
            let others = self.leases.values().map(|out| &out.lease.delivery);
            let mut others = others.filter(|other| other.subscription.as_str() == name);
            let second = others.find(|other| {
                !self.model.is_exempt(&(name.clone(), other.sequence))
                    && self.model.lane(&name, other.sequence).as_ref() == Some(&lane)
            });
            assert!(second.is_none(), "{key:?} is out together with {second:?}");
        }
        self.model.stands.entry(key).and_modify(|stands| {
            if *stands == Stands::Unsure {
                *stands = Stands::Ready { failures: 0 };
            }
        });
    }
}
