//! Reading the log for subscriptions that are behind: one scan at a time, for all of them that stand
//! near each other. A thousand subscriptions that begin with the oldest event read it once.

use std::collections::{BTreeSet, VecDeque};

use usher_filter::Filter;

use super::subscription::{Position, Sub};
use super::{Fetch, Ledger};
use crate::api::StoredEvent;

/// Maximum events looked at by one scan; what stands farther apart than that is scanned separately.
pub(crate) const SCAN_MAX_LOOKED_AT: usize = 16_384;

/// Subscriptions that wait for a scan, in the order in which they asked.
#[derive(Debug, Default)]
pub(super) struct Scans {
    waiting: VecDeque<u32>,
    is_under_way: bool,
}

/// A subscription that hasn't looked at the events of the log from here on.
#[derive(Clone, Debug)]
pub(crate) struct Behind {
    pub(crate) subscription: u32,
    pub(crate) epoch: u64,
    pub(crate) filter: Filter,
    pub(crate) from: u64,
}

/// What a scan has found for a subscription.
#[derive(Debug)]
pub(crate) struct ScanFound {
    pub(crate) subscription: u32,
    pub(crate) epoch: u64,
    pub(crate) events: Vec<StoredEvent>,
    /// Where it stands now.
    pub(crate) next: u64,
}

impl Scans {
    pub(super) fn ask(&mut self, subscription: u32) {
        self.waiting.push_back(subscription);
    }
}

impl Sub {
    pub(super) fn behind(&self, from: u64) -> Behind {
        let filter = self.filter().clone();
        Behind { subscription: self.id, epoch: self.epoch, filter, from }
    }
}

impl Ledger {
    /// The next scan, unless one is under way: from where the subscription stands that has waited longest,
    /// and for those that stand shortly behind that.
    pub(super) fn next_scan(&mut self) -> Option<Fetch> {
        if self.scans.is_under_way {
            return None;
        }
        // One that was changed since may have asked twice.
        let mut parts: Vec<Behind> = Vec::new();
        let (mut seen, mut near) = (BTreeSet::new(), None);
        let mut others = VecDeque::new();
        for id in std::mem::take(&mut self.scans.waiting) {
            let Some(sub) = self.subs.get(&id) else { continue };
            let Position::Behind { from, fetching: true } = sub.position() else { continue };
            if !seen.insert(id) {
                continue;
            }
            let first = *near.get_or_insert(from);
            if !(first..first + SCAN_MAX_LOOKED_AT as u64).contains(&from) {
                others.push_back(id);
                continue;
            }
            parts.push(sub.behind(from));
        }
        self.scans.waiting = others;
        if parts.is_empty() {
            return None;
        }
        self.scans.is_under_way = true;
        let to = self.tail.first().unwrap_or(self.counters.last_sequence + 1);
        Some(Fetch::Scan { parts, to })
    }

    /// Takes the result of a scan.
    pub(super) fn scanned(&mut self, found: Vec<ScanFound>) {
        self.scans.is_under_way = false;
        for ScanFound { subscription, epoch, events, next } in found {
            if let Some(sub) = self.subs.get_mut(&subscription)
                && sub.epoch == epoch
            {
                sub.scanned(events, next);
                self.touched.insert(subscription);
            }
        }
    }
}
