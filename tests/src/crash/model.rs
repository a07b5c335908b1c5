//! What must be true of the log, derived only from what was published and acknowledged.
//!
//! One model exists per data folder. Each round feeds it the published events, every
//! acknowledgement and the new part of the log; it returns all violations.

use std::collections::{BTreeMap, BTreeSet};

use super::log::{Entry, event_hash};
use super::plan::{Kind, Planned, SOURCE};
use crate::http::Receipt;

/// Everything known to be in the log.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// The whole log, as it was at the end of the last round.
    entries: Vec<Entry>,
    /// Source and id of all entries.
    identities: BTreeSet<(String, String)>,
    /// Sequence of each acknowledged event, by id.
    acknowledged: BTreeMap<String, u64>,
    /// Current value of each counter.
    counts: BTreeMap<String, u64>,
    /// Expected revenue, by concert.
    revenue_cents: BTreeMap<String, u64>,
    /// Number of tickets that couldn't be printed.
    abandoned: usize,
    /// Number of purchases and mails so far.
    purchases: usize,
    mails: usize,
}

impl Model {
    /// The sequence after the newest event of the last round.
    pub(super) fn next(&self) -> u64 {
        self.entries.last().map_or(1, |entry| entry.sequence + 1)
    }

    /// The log at the end of the last round.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Expected revenue, by concert.
    pub(super) fn revenue_cents(&self) -> &BTreeMap<String, u64> {
        &self.revenue_cents
    }

    /// Expected number of dead letters.
    pub(super) fn abandoned(&self) -> usize {
        self.abandoned
    }

    /// Expected number of charges requested from the gateway.
    pub(super) fn purchases(&self) -> usize {
        self.purchases
    }

    /// Expected number of mails.
    pub(super) fn mails(&self) -> usize {
        self.mails
    }

    /// Records an acknowledgement; returns a violation if it contradicts an earlier one.
    pub(super) fn acknowledge(&mut self, receipt: &Receipt) -> Option<String> {
        let Receipt { id, sequence, duplicate, .. } = receipt;
        match self.acknowledged.insert(id.clone(), *sequence) {
            Some(before) if before != *sequence => {
                Some(format!("{id} was acknowledged as {before}, and later as {sequence}"))
            }
            Some(_) if !duplicate => {
                Some(format!("{id} was acknowledged as {sequence} before, and is taken in anew"))
            }
            _ => None,
        }
    }

    /// Records the fully settled log growth of a round; returns the violations.
    pub(super) fn grow(&mut self, planned: &[Planned], new: &[Entry]) -> Vec<String> {
        let mut problems = Vec::new();
        self.check_places(planned, new, &mut problems);
        self.check_flows(planned, new, &mut problems);
        check_lanes(planned, new, &mut problems);
        self.check_counts(planned, new, &mut problems);
        for planned in planned {
            if let Kind::Purchase(order) = &planned.kind {
                self.purchases += 1;
                self.mails += usize::from(order.is_mailed());
                self.abandoned += usize::from(order.is_paid() && order.unprintable);
                if order.is_paid() {
                    *self.revenue_cents.entry(order.concert.clone()).or_default() +=
                        order.amount_cents;
                }
            }
        }
        self.entries.extend(new.iter().cloned());
        problems
    }

    /// Every published event is present once, unmodified, at its acknowledged sequence; no others
    /// are.
    fn check_places(&mut self, planned: &[Planned], new: &[Entry], problems: &mut Vec<String>) {
        let mut next = self.next();
        let mut wanted: BTreeMap<&str, &Planned> =
            planned.iter().map(|planned| (planned.id.as_str(), planned)).collect();
        for entry in new {
            let Entry { sequence, id, source, .. } = entry;
            if *sequence < next {
                problems.push(format!("sequence {sequence} comes after {}", next - 1));
            }
            next = sequence + 1;
            if !self.identities.insert((source.clone(), id.clone())) {
                problems.push(format!("{source} {id} is in the log twice, again as {sequence}"));
            }
            if entry.cause.is_some() {
                continue;
            }
            match wanted.remove(id.as_str()) {
                Some(planned) if source == SOURCE => {
                    if entry.event_hash != event_hash(&planned.event()) {
                        problems.push(format!("{id} at {sequence} is not as it was sent"));
                    }
                }
                _ => problems.push(format!("nobody sent {source} {id} at {sequence}")),
            }
            match self.acknowledged.get(id) {
                Some(acknowledged) if acknowledged != sequence => problems
                    .push(format!("{id} was acknowledged as {acknowledged} and is {sequence}")),
                Some(_) => {}
                None => problems.push(format!("{id} at {sequence} was never acknowledged")),
            }
        }
        for id in wanted.keys() {
            let acknowledged = self.acknowledged.get(*id);
            problems.push(format!("{id} is lost; it was acknowledged as {acknowledged:?}"));
        }
    }

    /// Each event caused exactly the expected events.
    fn check_flows(&self, planned: &[Planned], new: &[Entry], problems: &mut Vec<String>) {
        let mut roots: BTreeMap<u64, u64> = BTreeMap::new();
        let mut flows: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for entry in new {
            let root = match &entry.cause {
                None => entry.sequence,
                Some((parent, subscription)) => {
                    let Some(root) = roots.get(parent) else {
                        problems.push(format!(
                            "{} at {} is an emission of {subscription} for {parent}, which was \
                             settled in an earlier round",
                            entry.ty, entry.sequence
                        ));
                        continue;
                    };
                    *root
                }
            };
            roots.insert(entry.sequence, root);
            flows.entry(root).or_default().push(&entry.ty);
        }
        for planned in planned {
            let root = self.acknowledged.get(&planned.id).copied().unwrap_or_default();
            // A missing event has been reported already.
            let Some(flow) = flows.get(&root) else { continue };
            let wanted = planned.flow();
            if flow != wanted {
                problems.push(format!(
                    "the flow of {} at {root} is {flow:?} instead of {wanted:?}",
                    planned.id
                ));
            }
        }
    }

    /// Each counter counted each event once: no update was lost or done twice.
    fn check_counts(&mut self, planned: &[Planned], new: &[Entry], problems: &mut Vec<String>) {
        let mut wanted: BTreeMap<&str, u64> = BTreeMap::new();
        for planned in planned {
            if let Kind::Count { key, .. } | Kind::Ordered { key } = &planned.kind {
                *wanted.entry(key).or_default() += 1;
            }
        }
        let mut counted: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
        for entry in new {
            if let (Some((parent, _)), Some((key, value))) = (&entry.cause, &entry.counted) {
                counted.entry(key).or_default().push((*parent, *value));
            }
        }
        for (key, number) in wanted {
            let before = self.counts.entry(key.to_owned()).or_default();
            let mut found = counted.remove(key).unwrap_or_default();
            // Ordered counters must increase in log order.
            found.sort_by_key(
                |(parent, value)| {
                    if key.starts_with("ordered-") { *parent } else { *value }
                },
            );
            let found: Vec<u64> = found.into_iter().map(|(_, value)| value).collect();
            let right: Vec<u64> = (*before + 1..=*before + number).collect();
            if found != right {
                problems.push(format!("{key} counted {found:?} instead of {right:?}"));
            }
            *before += number;
        }
        for (key, found) in counted {
            problems.push(format!("{key} counted {found:?}, which nobody asked for"));
        }
    }
}

/// Within a lane, emissions are in the order of the events that caused them.
fn check_lanes(planned: &[Planned], new: &[Entry], problems: &mut Vec<String>) {
    let lanes: BTreeMap<&str, &str> =
        planned.iter().filter_map(|p| Some((p.id.as_str(), p.lane()?.1))).collect();
    let lane_of: BTreeMap<u64, &str> = new
        .iter()
        .filter(|entry| entry.cause.is_none())
        .filter_map(|entry| Some((entry.sequence, *lanes.get(entry.id.as_str())?)))
        .collect();
    let mut newest: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for entry in new {
        let Some((parent, subscription)) = &entry.cause else { continue };
        let Some(lane) = lane_of.get(parent) else { continue };
        let before = newest.insert((subscription, lane), *parent).unwrap_or_default();
        if before > *parent {
            problems.push(format!(
                "{subscription} answered {parent} after {before}, both of lane {lane}: at {}",
                entry.sequence
            ));
        }
    }
}

#[cfg(test)]
mod tests;
