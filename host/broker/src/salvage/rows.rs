//! What of a damaged store's rows holds together: each is read as what it is, and what it refers to
//! has to be there. Counts and indexes are made anew.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use usher_event::{PluginName, StateUsage};

use super::blobs::Blobs;
use super::remains::Remains;
use super::salvaged::{SALVAGE_GAP_EVENTS, SalvageError, Salvaged};
use crate::store::copy::Copy;
use crate::store::lost::{LOST_KEY, Lost};
use crate::store::rows::{COUNTERS_KEY, Counters, CursorRow, write_usage};
use crate::store::schema::{self, Table};
use crate::store::{Space, keys};

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
    let found = remains.counters();
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
    /// Looks at each row of a table that can be read; keeps those that `is_kept` approves.
    fn each<T: Table>(
        &mut self,
        mut is_kept: impl FnMut(&mut Self, &T::Key, &T::Row) -> Result<bool, SalvageError>,
    ) -> Outcome {
        let (space, remains) = (T::SPACE, self.remains);
        let (mut kept, mut left_out, mut is_cut) = (0, 0u64, false);
        for row in remains.rows(space) {
            let Ok((key, value)) = row else {
                is_cut = true;
                break;
            };
            match T::read(&key, &value) {
                Some((typed, row)) if is_kept(self, &typed, &row)? => {
                    self.writer.put(space, key, value)?;
                    kept += 1;
                }
                _ => left_out += 1,
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

    /// Keeps each row of a table that can be read.
    fn all<T: Table>(&mut self) -> Outcome {
        self.each::<T>(|_, _, _| Ok(true))
    }

    fn events(&mut self) -> Outcome {
        self.counters.log_bytes = 0;
        self.each::<schema::Events>(|rescue, &sequence, stored| {
            let parent = stored.cause.as_ref().map_or(0, |cause| cause.parent);
            if sequence == 0 || stored.flow > sequence || parent >= sequence {
                return Ok(false);
            }
            if stored.cause.is_some() {
                let child = keys::pair(stored.flow, sequence);
                rescue.writer.put(Space::Children, child, Bytes::new())?;
            }
            if sequence < rescue.counters.first_sequence {
                rescue.kept_aside.insert(sequence);
                return Ok(true);
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
            Ok(true)
        })
    }

    /// Finds the highest number of each kind that anything tells of.
    fn find_ends(&mut self) {
        let remains = self.remains;
        let counters = &mut self.counters;
        let mut last = counters.last_sequence.max(self.runs.last().map_or(0, |run| run.1));
        let mut event = |sequence: u64| last = last.max(sequence);
        let Counters { next_dead, next_delayed, next_subscription, .. } = counters;
        let mut dead = |id: u64| *next_dead = (*next_dead).max(id.saturating_add(1));
        let mut sub = |id: u32| *next_subscription = (*next_subscription).max(id.saturating_add(1));
        for (first, row) in remains.readable::<schema::Identities>() {
            event((first + row.identities.len() as u64).saturating_sub(1));
        }
        for ((_, sequence), ()) in remains.readable::<schema::Children>() {
            event(sequence);
        }
        for (id, cursor) in remains.readable::<schema::Cursors>() {
            sub(id);
            event(cursor.next.saturating_sub(1));
        }
        for (id, row) in remains.readable::<schema::Subscriptions>() {
            sub(id);
            event(row.filter_from.saturating_sub(1));
        }
        let retries = remains.readable::<schema::Retries>().map(|(key, _)| key);
        let parked = remains.readable::<schema::Parked>().map(|(key, _)| key);
        for (id, sequence) in retries.chain(parked) {
            sub(id);
            event(sequence);
        }
        for ((sequence, id, _), _) in remains.readable::<schema::Attempts>() {
            sub(id);
            event(sequence);
        }
        for (id, row) in remains.readable::<schema::Dead>() {
            dead(id);
            sub(row.subscription_id);
            *self.dead.entry(row.subscription_id).or_default() += 1;
            event(row.stored.sequence);
        }
        for ((sequence, _), id) in remains.readable::<schema::DeadByDelivery>() {
            dead(id);
            event(sequence);
        }
        for ((_, number), stored) in remains.readable::<schema::Delayed>() {
            *next_delayed = (*next_delayed).max(number.saturating_add(1));
            event(stored.flow);
        }
        counters.last_sequence = last;
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
        let (mut begin, mut expected) = (0, None);
        for (first, row) in self.remains.readable::<schema::Identities>() {
            if expected != Some(first) {
                begin = first;
            }
            expected = Some(first + row.identities.len() as u64);
        }
        let end = self.counters.last_sequence + 1;
        if expected.unwrap_or(1) == end {
            return self.each::<schema::Identities>(|_, first, _| Ok(*first >= begin));
        }
        self.report.lose("the duplicates window: what is published again is taken as new");
        self.lost.window_from = end;
        Ok(())
    }

    fn subscriptions(&mut self) -> Outcome {
        let mut names = HashSet::new();
        self.each::<schema::Subscriptions>(|rescue, &id, row| {
            let name = row.subscription.name.clone();
            if !names.insert(name.clone()) {
                return Ok(false);
            }
            let Counters { first_sequence, last_sequence, .. } = rescue.counters;
            let cursor = rescue.remains.get::<schema::Cursors>(keys::subscription(id));
            let mut cursor = cursor.unwrap_or_else(|| {
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
                rescue.remains.get::<schema::Retries>(key.clone()).is_none()
                    && rescue.remains.get::<schema::Parked>(key).is_none()
            });
            rescue.next.insert(id, cursor.next);
            rescue.writer.put(Space::Cursors, keys::subscription(id), cursor.write())?;
            Ok(true)
        })
    }

    /// Deliveries that wait. What lies ahead of a subscription comes by itself.
    fn deliveries(&mut self) -> Outcome {
        self.each::<schema::Retries>(|rescue, &(id, sequence), _| Ok(rescue.waits(id, sequence)))?;
        self.each::<schema::Parked>(|rescue, &(id, sequence), _| {
            let retry = rescue.remains.get::<schema::Retries>(keys::retry(id, sequence));
            Ok(retry.is_none() && rescue.waits(id, sequence))
        })?;
        self.all::<schema::Attempts>()
    }

    /// Whether a delivery can wait: its event is there, and its subscription is past it.
    fn waits(&self, id: u32, sequence: u64) -> bool {
        self.next.get(&id).is_some_and(|next| sequence < *next) && self.has(sequence)
    }

    fn dead_letters(&mut self) -> Outcome {
        self.counters.dead_letters = 0;
        self.each::<schema::Dead>(|rescue, _, _| {
            rescue.counters.dead_letters += 1;
            Ok(true)
        })?;
        self.all::<schema::Recordings>()?;
        self.all::<schema::DeadByDelivery>()
    }

    fn others(&mut self) -> Outcome {
        self.all::<schema::Audit>()?;
        self.all::<schema::Schedules>()?;
        self.all::<schema::Documents>()?;
        self.all::<schema::Delayed>()
    }

    fn state(&mut self) -> Outcome {
        let mut used: BTreeMap<PluginName, StateUsage> = BTreeMap::new();
        self.each::<schema::State>(|_, address, value| {
            let used = used.entry(address.plugin.clone()).or_default();
            *used = used.replacing(address.name_bytes() as u64, None, Some(value.len() as u64));
            Ok(true)
        })?;
        for (plugin, usage) in used {
            self.writer.put(Space::StateUsage, plugin.as_str().to_owned(), write_usage(usage))?;
        }
        Ok(())
    }

    fn blobs(&mut self, blobs: &mut Blobs) -> Outcome {
        self.each::<schema::Blobs>(|rescue, (digest, plugin), _| {
            if !blobs.copy(digest)? {
                rescue.report.lose(format!("blob {digest} of {plugin}: its content"));
                return Ok(false);
            }
            let by_plugin = keys::plugin_blob(plugin.as_str(), digest);
            rescue.writer.put(Space::BlobsByPlugin, by_plugin, Bytes::new())?;
            Ok(true)
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
