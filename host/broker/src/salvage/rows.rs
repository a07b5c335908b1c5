//! What of a damaged store's rows holds together: each is read as what it is, and what it refers to
//! has to be there. Counts and indexes are made anew.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use usher_event::{Digest, PluginName, StateUsage};

use super::blobs::Blobs;
use super::remains::Remains;
use super::salvaged::{SALVAGE_GAP_EVENTS, SalvageError, Salvaged};
use crate::store::copy::Copy;
use crate::store::lost::{LOST_KEY, Lost};
use crate::store::rows::{
    COUNTERS_KEY, Counters, CursorRow, DeadRow, IdentitiesRow, RetryRow, ScheduleRow,
    SubscriptionRow, read_attempt, read_blob, read_parked, read_record, write_usage,
};
use crate::store::{Space, audit, keys};
use crate::verify::state_parts;

/// The least bytes that an event takes in a journal.
const EVENT_MIN_BYTES: u64 = 32;

type Outcome = Result<(), SalvageError>;

/// Rescues all rows.
pub(super) fn rescue(
    remains: &Remains,
    writer: &mut Copy,
    blobs: &mut Blobs,
    report: &mut Salvaged,
) -> Outcome {
    let found = remains.get(Space::Meta, COUNTERS_KEY).and_then(|row| Counters::read(&row));
    if found.is_none() {
        report.lose("the counters; they are made anew");
    }
    let mut rescue = Rescue {
        remains,
        writer,
        report,
        counters: found.unwrap_or_default(),
        is_exact: found.is_some() && remains.is_up_to_date,
        runs: Vec::new(),
        kept_aside: HashSet::new(),
        dead: HashMap::new(),
        next: BTreeMap::new(),
        lost: Lost::default(),
    };
    rescue.events()?;
    rescue.find_ends();
    rescue.choose_last();
    rescue.identities()?;
    rescue.subscriptions()?;
    rescue.deliveries()?;
    rescue.dead_letters()?;
    rescue.others()?;
    rescue.state()?;
    rescue.blobs(blobs)?;
    rescue.end()
}

struct Rescue<'a> {
    remains: &'a Remains,
    writer: &'a mut Copy,
    report: &'a mut Salvaged,
    /// As they were found; then as they will be.
    counters: Counters,
    /// Whether they are those of the last commit that was acknowledged.
    is_exact: bool,
    /// Runs of events that were rescued: the first and the last of each.
    runs: Vec<(u64, u64)>,
    /// Events that retention has let go, and that a redriven delivery needs.
    kept_aside: HashSet<u64>,
    /// Dead letters by subscription.
    dead: HashMap<u32, u64>,
    /// Where each subscription goes on.
    next: BTreeMap<u32, u64>,
    lost: Lost,
}

impl Rescue<'_> {
    /// Looks at each row of a table that can be read; `look` says whether it is kept.
    fn each(
        &mut self,
        space: Space,
        mut look: impl FnMut(&mut Self, &Bytes, &Bytes) -> Result<bool, SalvageError>,
    ) -> Outcome {
        let remains = self.remains;
        let (mut kept, mut left_out, mut is_cut) = (0, 0u64, false);
        for row in remains.rows(space) {
            let Ok((key, value)) = row else {
                is_cut = true;
                break;
            };
            if look(self, &key, &value)? {
                kept += 1;
            } else {
                left_out += 1;
            }
        }
        let name = space.name();
        if is_cut {
            self.report.lose(format!("{name}: not all rows can be read"));
        }
        if left_out > 0 {
            self.report.lose(format!("{name}: {left_out} rows don't hold together with the rest"));
        }
        self.report.counts.push((name, kept));
        Ok(())
    }

    fn put(&mut self, space: Space, key: &Bytes, value: &Bytes) -> Result<bool, SalvageError> {
        self.writer.put(space, key.clone(), value.clone())?;
        Ok(true)
    }

    fn events(&mut self) -> Outcome {
        self.counters.log_bytes = 0;
        self.each(Space::Events, |rescue, key, value| {
            let sequence = keys::first_number(key).filter(|_| key.len() == 8);
            let stored = sequence.and_then(|sequence| read_record(sequence, value));
            let is_possible = |stored: &crate::api::StoredEvent| {
                let parent = stored.cause.as_ref().map_or(0, |cause| cause.parent);
                stored.sequence > 0 && stored.flow <= stored.sequence && parent < stored.sequence
            };
            let Some(stored) = stored.filter(is_possible) else { return Ok(false) };
            let sequence = stored.sequence;
            if stored.cause.is_some() {
                let child = keys::pair(stored.flow, sequence);
                rescue.writer.put(Space::Children, child, Bytes::new())?;
            }
            if sequence < rescue.counters.first_sequence {
                rescue.kept_aside.insert(sequence);
                return rescue.put(Space::Events, key, value);
            }
            if let Some(correlationid) = stored.event.attribute("correlationid")
                && stored.cause.is_none()
            {
                let key = keys::correlation(&correlationid, sequence);
                rescue.writer.put(Space::Correlations, key, Bytes::new())?;
            }
            rescue.counters.log_bytes += stored.event.encoded().len() as u64;
            match rescue.runs.last_mut() {
                Some(run) if run.1 + 1 == sequence => run.1 = sequence,
                _ => rescue.runs.push((sequence, sequence)),
            }
            rescue.put(Space::Events, key, value)
        })
    }

    /// Finds the highest number of each kind that anything tells of.
    fn find_ends(&mut self) {
        let mut last = self.runs.last().map_or(0, |run| run.1);
        let remains = self.remains;
        let mut each = |space, look: &mut dyn FnMut(&Bytes, &Bytes) -> Option<u64>| {
            let rows = remains.rows(space).map_while(Result::ok);
            let highest = rows.filter_map(|(key, value)| look(&key, &value)).max();
            last = last.max(highest.unwrap_or(0));
        };
        let Counters { next_dead, next_delayed, next_subscription, .. } = &mut self.counters;
        let mut dead = |id: u64| *next_dead = (*next_dead).max(id.saturating_add(1));
        let mut sub = |id: u32| *next_subscription = (*next_subscription).max(id.saturating_add(1));
        each(Space::Identities, &mut |key, value| {
            let count = IdentitiesRow::read(value)?.identities.len() as u64;
            (keys::first_number(key)? + count).checked_sub(1)
        });
        each(Space::Children, &mut |key, _| keys::last_number(key));
        each(Space::Cursors, &mut |key, value| {
            sub(keys::first_subscription(key)?);
            CursorRow::read(value)?.next.checked_sub(1)
        });
        each(Space::Subscriptions, &mut |key, value| {
            sub(keys::first_subscription(key)?);
            SubscriptionRow::read(value)?.filter_from.checked_sub(1)
        });
        for space in [Space::Retries, Space::Parked] {
            each(space, &mut |key, _| {
                sub(keys::first_subscription(key)?);
                keys::last_number(key)
            });
        }
        each(Space::Attempts, &mut |key, _| {
            sub(keys::first_subscription(key.get(8..)?)?);
            keys::first_number(key)
        });
        let by_subscription = &mut self.dead;
        each(Space::Dead, &mut |key, value| {
            let (id, row) = (keys::first_number(key)?, DeadRow::read(value)?);
            dead(id);
            sub(row.subscription_id);
            *by_subscription.entry(row.subscription_id).or_default() += 1;
            Some(row.stored.sequence)
        });
        each(Space::DeadByDelivery, &mut |key, value| {
            dead(keys::first_number(value)?);
            keys::first_number(key)
        });
        each(Space::Delayed, &mut |key, value| {
            let number = keys::last_number(key)?;
            *next_delayed = (*next_delayed).max(number.saturating_add(1));
            Some(read_record(0, value)?.flow)
        });
        self.counters.last_sequence = self.counters.last_sequence.max(last);
    }

    /// Chooses where the new log ends: where newer events may be lost, far above all there can have
    /// been.
    fn choose_last(&mut self) {
        let counters = &mut self.counters;
        let known = counters.last_sequence;
        if !self.is_exact {
            let skipped = SALVAGE_GAP_EVENTS + self.remains.lost_bytes / EVENT_MIN_BYTES;
            self.report.skipped_sequences = skipped;
            counters.last_sequence += skipped;
            counters.next_dead += skipped;
            counters.next_delayed += skipped;
            counters.next_subscription += 1_024;
        }
        let last = counters.last_sequence;
        self.report.last_sequence = last;
        // What is missing before all others is as if retention had let it go.
        let first = self.runs.first().map_or(last + 1, |run| run.0);
        if counters.first_sequence < first.min(known + 1) {
            let missing = (counters.first_sequence, first.min(known + 1) - 1);
            self.report.missing_events.push(missing);
        }
        counters.first_sequence = first;
        let ends = self.runs.iter().map(|run| run.1);
        let begins = self.runs.iter().skip(1).map(|run| run.0).chain([last + 1]);
        let holes = ends.zip(begins).map(|(end, begin)| (end + 1, begin - 1));
        self.lost.runs = holes.filter(|(first, last)| first <= last).collect();
        let told = self.lost.runs.iter().map(|(first, last)| (*first, (*last).min(known)));
        self.report.missing_events.extend(told.filter(|(first, last)| first <= last));
    }

    fn has(&self, sequence: u64) -> bool {
        let place = self.runs.partition_point(|run| run.1 < sequence);
        self.runs.get(place).is_some_and(|run| run.0 <= sequence)
            || self.kept_aside.contains(&sequence)
    }

    /// The duplicates window, if it is whole up to the end; else it begins anew.
    fn identities(&mut self) -> Outcome {
        let mut chain: Vec<(Bytes, Bytes)> = Vec::new();
        let mut expected = None;
        self.each(Space::Identities, |_, key, value| {
            let row = IdentitiesRow::read(value);
            let Some((first, row)) = keys::first_number(key).zip(row) else { return Ok(false) };
            if expected != Some(first) {
                chain.clear();
            }
            expected = Some(first + row.identities.len() as u64);
            chain.push((key.clone(), value.clone()));
            Ok(true)
        })?;
        let end = self.counters.last_sequence + 1;
        if expected.unwrap_or(1) == end {
            for (key, value) in chain {
                self.writer.put(Space::Identities, key, value)?;
            }
        } else {
            self.report.lose("the duplicates window: what is published again is taken as new");
            self.lost.window_from = end;
        }
        Ok(())
    }

    fn subscriptions(&mut self) -> Outcome {
        let mut names = HashSet::new();
        self.each(Space::Subscriptions, |rescue, key, value| {
            let id = keys::first_subscription(key).filter(|_| key.len() == 4);
            let Some((id, row)) = id.zip(SubscriptionRow::read(value)) else { return Ok(false) };
            let name = row.subscription.name;
            if !names.insert(name.clone()) {
                return Ok(false);
            }
            let Counters { first_sequence, last_sequence, .. } = rescue.counters;
            let cursor = rescue.remains.get(Space::Cursors, key);
            let mut cursor = cursor.and_then(|row| CursorRow::read(&row)).unwrap_or_else(|| {
                let next = row.first.clamp(first_sequence, last_sequence + 1);
                rescue.report.lose(format!(
                    "where {name} stands: it begins again with event {next}, and what it has done \
                     since is done again"
                ));
                CursorRow { next, ..CursorRow::default() }
            });
            cursor.dead = rescue.dead.get(&id).copied().unwrap_or(0);
            let before = cursor.open.len();
            cursor.open.retain(|sequence| rescue.has(*sequence) && *sequence < cursor.next);
            if cursor.open.len() < before {
                let gone = before - cursor.open.len();
                rescue.report.lose(format!("{gone} deliveries of {name} that were under way"));
            }
            cursor.open.retain(|sequence| {
                let key = keys::retry(id, *sequence);
                let has = |space| rescue.remains.get(space, &key).is_some();
                !has(Space::Retries) && !has(Space::Parked)
            });
            rescue.next.insert(id, cursor.next);
            rescue.writer.put(Space::Cursors, key.clone(), cursor.write())?;
            rescue.put(Space::Subscriptions, key, value)
        })
    }

    /// Deliveries that wait. What lies ahead of a subscription comes by itself.
    fn deliveries(&mut self) -> Outcome {
        for space in [Space::Retries, Space::Parked] {
            self.each(space, |rescue, key, value| {
                let is_row = match space {
                    Space::Retries => RetryRow::read(value).is_some(),
                    _ => read_parked(value).is_some(),
                };
                let read_key = || Some((keys::first_subscription(key)?, keys::last_number(key)?));
                let Some((id, sequence)) = read_key().filter(|_| is_row && key.len() == 12) else {
                    return Ok(false);
                };
                let is_behind = rescue.next.get(&id).is_some_and(|next| sequence < *next);
                let is_twice =
                    space == Space::Parked && rescue.remains.get(Space::Retries, key).is_some();
                if !is_behind || is_twice || !rescue.has(sequence) {
                    return Ok(false);
                }
                rescue.put(space, key, value)
            })?;
        }
        self.each(Space::Attempts, |rescue, key, value| {
            let is_row = key.len() == 16 && read_attempt(value).is_some();
            if is_row { rescue.put(Space::Attempts, key, value) } else { Ok(false) }
        })
    }

    fn dead_letters(&mut self) -> Outcome {
        self.counters.dead_letters = 0;
        self.each(Space::Dead, |rescue, key, value| {
            if key.len() != 8 || DeadRow::read(value).is_none() {
                return Ok(false);
            }
            rescue.counters.dead_letters += 1;
            rescue.put(Space::Dead, key, value)
        })?;
        self.each(Space::Recordings, |rescue, key, value| {
            if key.len() == 8 { rescue.put(Space::Recordings, key, value) } else { Ok(false) }
        })?;
        self.each(Space::DeadByDelivery, |rescue, key, value| {
            let is_row = key.len() == 12 && value.len() == 8;
            if is_row { rescue.put(Space::DeadByDelivery, key, value) } else { Ok(false) }
        })
    }

    fn others(&mut self) -> Outcome {
        self.each(Space::Audit, |rescue, key, value| {
            let number = keys::first_number(key).filter(|_| key.len() == 8);
            let record = number.and_then(|number| audit::read(number, value));
            if record.is_some() { rescue.put(Space::Audit, key, value) } else { Ok(false) }
        })?;
        self.each(Space::Schedules, |rescue, key, value| {
            let is_row = keys::schedule_name(key).is_some() && ScheduleRow::read(value).is_some();
            if is_row { rescue.put(Space::Schedules, key, value) } else { Ok(false) }
        })?;
        self.each(Space::Delayed, |rescue, key, value| {
            let stored = read_record(0, value).filter(|_| key.len() == 16);
            let is_row = stored.is_some_and(|stored| stored.cause.is_some());
            if is_row { rescue.put(Space::Delayed, key, value) } else { Ok(false) }
        })
    }

    fn state(&mut self) -> Outcome {
        let mut used: BTreeMap<Bytes, StateUsage> = BTreeMap::new();
        self.each(Space::State, |rescue, key, value| {
            let is_plugin = |plugin: &[u8]| {
                std::str::from_utf8(plugin).is_ok_and(|name| name.parse::<PluginName>().is_ok())
            };
            let Some((plugin, address_bytes)) =
                state_parts(key).filter(|(plugin, _)| is_plugin(plugin))
            else {
                return Ok(false);
            };
            let used = used.entry(plugin).or_default();
            used.bytes += (value.len() + address_bytes) as u64;
            used.keys += 1;
            rescue.put(Space::State, key, value)
        })?;
        for (plugin, usage) in used {
            self.writer.put(Space::StateUsage, plugin, write_usage(usage))?;
        }
        Ok(())
    }

    fn blobs(&mut self, blobs: &mut Blobs) -> Outcome {
        self.each(Space::Blobs, |rescue, key, value| {
            let Some((digest, plugin)) = key.split_first_chunk::<32>() else { return Ok(false) };
            let digest = Digest::from_bytes(*digest);
            let plugin = std::str::from_utf8(plugin).ok().and_then(|name| name.parse().ok());
            let plugin: Option<PluginName> = plugin.filter(|_| read_blob(digest, value).is_some());
            let Some(plugin) = plugin else { return Ok(false) };
            if !blobs.copy(&digest)? {
                rescue.report.lose(format!("blob {digest} of {plugin}: its content"));
                return Ok(false);
            }
            let by_plugin = keys::plugin_blob(plugin.as_str(), &digest);
            rescue.writer.put(Space::BlobsByPlugin, by_plugin, Bytes::new())?;
            rescue.put(Space::Blobs, key, value)
        })?;
        self.report.counts.push(("blob files", blobs.count));
        Ok(())
    }

    fn end(&mut self) -> Outcome {
        if self.lost != Lost::default() {
            self.writer.put(Space::Meta, LOST_KEY, self.lost.write())?;
        }
        Ok(self.writer.put(Space::Meta, COUNTERS_KEY, self.counters.write())?)
    }
}
