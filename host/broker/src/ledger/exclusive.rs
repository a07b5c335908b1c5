//! Deliveries that had too many state conflicts: each runs while nothing else of its plugin is in
//! flight, so that the state it reads can't change.

use std::collections::{BTreeMap, VecDeque};

use usher_event::SubscriptionName;

use super::Ledger;

/// Deliveries that wait to run alone or are doing so, by plugin.
#[derive(Default)]
pub(super) struct ExclusiveQueue(BTreeMap<String, VecDeque<(u32, u64)>>);

impl ExclusiveQueue {
    /// Queues a delivery to run alone.
    pub(super) fn ask(&mut self, subscription: &SubscriptionName, id: u32, sequence: u64) {
        let waiting = self.0.entry(subscription.plugin().to_owned()).or_default();
        if !waiting.contains(&(id, sequence)) {
            waiting.push_back((id, sequence));
        }
    }

    /// Whether a plugin's other deliveries have to wait.
    pub(super) fn blocks(&self, plugin: &str) -> bool {
        !self.0.is_empty() && self.0.contains_key(plugin)
    }
}

impl Ledger {
    /// Grants deliveries that nothing blocks, and removes finished ones.
    pub(super) fn grant_alone(&mut self) {
        let tick = self.timeline.now();
        let plugins: Vec<String> = self.alone.0.keys().cloned().collect();
        for plugin in plugins {
            let Some(waiting) = self.alone.0.get_mut(&plugin) else { continue };
            while let Some((id, sequence)) = waiting.front().copied() {
                let sub = self.subs.get_mut(&id);
                if let Some(sub) = sub.filter(|sub| sub.held.contains_key(&sequence)) {
                    if !sub.is_again(sequence) {
                        break;
                    }
                    let of_plugin = |name: &SubscriptionName| name.plugin() == plugin;
                    let mut all = self.subs.values();
                    if all.any(|sub| of_plugin(&sub.subscription().name) && sub.in_flight() > 0) {
                        break;
                    }
                    let Some(sub) = self.subs.get_mut(&id) else { break };
                    sub.grant_alone(sequence, tick, &mut self.next_token);
                    break;
                }
                waiting.pop_front();
            }
            if waiting.is_empty() {
                self.alone.0.remove(&plugin);
                let subs = self.subs.values();
                let subs = subs.filter(|sub| sub.subscription().name.plugin() == plugin);
                self.touched.extend(subs.map(|sub| sub.id));
            }
        }
    }
}
