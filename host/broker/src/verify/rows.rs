//! Each row can be read, and what it refers to is there.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;

use bytes::Bytes;
use usher_event::{Digest, StateUsage};

use super::verified::Verified;
use crate::store::lost::Lost;
use crate::store::rows::{
    COUNTERS_KEY, Counters, CursorRow, DeadRow, IdentitiesRow, RetryRow, ScheduleRow,
    SubscriptionRow, read_attempt, read_blob, read_parked, read_record, read_usage,
};
use crate::store::{Space, View, audit, keys};

/// Reads all rows of all tables.
pub(super) fn check(view: &dyn View, report: &mut Verified) {
    let counters = match view.get(Space::Meta, COUNTERS_KEY) {
        Ok(None) => Counters::default(),
        Ok(Some(row)) => match Counters::read(&row) {
            Some(counters) => counters,
            None => return report.problem("meta counters", "it can't be understood"),
        },
        Err(failure) => return report.problem("meta counters", failure.0),
    };
    let lost = match Lost::read_from(view) {
        Ok(lost) => lost,
        Err(failure) => return report.problem("meta lost", failure.0),
    };
    let mut check = Check { view, report, counters, lost, cursors: HashMap::new() };
    check.events();
    check.identities();
    check.flows();
    check.subscriptions();
    check.deliveries();
    check.attempts();
    check.dead_letters();
    check.audit();
    check.delayed();
    check.schedules();
    check.state();
    check.blobs();
}

/// What is wrong with a row.
type Finding = Result<(), String>;

struct Check<'a> {
    view: &'a dyn View,
    report: &'a mut Verified,
    counters: Counters,
    /// What is missing, and known to be.
    lost: Lost,
    /// Where each subscription stands.
    cursors: HashMap<u32, CursorRow>,
}

impl Check<'_> {
    /// Looks at all rows of a table; those that it can't read are a problem, too.
    fn each(&mut self, space: Space, mut look: impl FnMut(&Self, &Bytes, &Bytes) -> Finding) {
        let mut count = 0;
        let view = self.view;
        for row in view.range(space, &[], None) {
            let (key, value) = match row {
                Ok(row) => row,
                Err(failure) => {
                    // What follows can't be reached from here.
                    self.report.problem(space.name(), failure.0);
                    break;
                }
            };
            count += 1;
            if let Err(what) = look(self, &key, &value) {
                self.report.problem(place(space, &key), what);
            }
        }
        self.report.count(space.name(), count);
    }

    /// A sequence that was given to an event.
    fn known(&self, sequence: u64) -> Finding {
        let last = self.counters.last_sequence;
        ensure((1..=last).contains(&sequence), || format!("event {sequence} was never appended"))
    }

    fn has(&self, space: Space, key: &[u8]) -> Result<bool, String> {
        Ok(self.view.get(space, key).map_err(|failure| failure.0)?.is_some())
    }

    /// An event that a delivery still needs.
    fn stored(&self, sequence: u64) -> Finding {
        let there = self.has(Space::Events, &keys::number(sequence))?;
        ensure(there, || format!("event {sequence} is gone"))
    }

    /// The same; what retention has let go while a listener had it is counted at the next start.
    fn stored_or_gone(&self, sequence: u64) -> Finding {
        if sequence < self.counters.first_sequence { Ok(()) } else { self.stored(sequence) }
    }

    fn subscription(&self, id: u32) -> Result<&CursorRow, String> {
        self.cursors.get(&id).ok_or_else(|| format!("there is no subscription {id}"))
    }

    /// Sequences have no gaps from the oldest that is kept to the newest. Rows below are on their
    /// way out.
    fn events(&mut self) {
        let (first, last) = (self.counters.first_sequence, self.counters.last_sequence);
        let mut expected = first;
        let mut gaps = Vec::new();
        self.each(Space::Events, |check, key, value| {
            let sequence = read(keys::first_number(key).filter(|_| key.len() == 8))?;
            if sequence >= first {
                if sequence > expected {
                    gaps.push((expected, sequence - 1));
                }
                expected = sequence + 1;
            }
            check.known(sequence)?;
            let stored = read(read_record(sequence, value))?;
            if sequence < first {
                // It has left the log, and goes with its segment.
                return Ok(());
            }
            ensure(stored.flow <= sequence, || format!("it belongs to flow {}", stored.flow))?;
            let Some(cause) = stored.cause else { return Ok(()) };
            ensure(cause.parent < sequence, || format!("its parent is {}", cause.parent))?;
            if stored.flow < first {
                // What finds a flow's events goes with its first.
                return Ok(());
            }
            let child = keys::pair(stored.flow, sequence);
            ensure(check.has(Space::Children, &child)?, || "its flow doesn't have it".to_owned())
        });
        if expected <= last {
            gaps.push((expected, last));
        }
        gaps.retain(|(from, to)| !self.lost.has(*from, *to));
        for (from, to) in gaps {
            self.report.problem("events", format!("events {from} to {to} are missing"));
        }
    }

    /// One row follows another up to the newest event.
    fn identities(&mut self) {
        let mut expected = None;
        self.each(Space::Identities, |_, key, value| {
            let first = read(keys::first_number(key).filter(|_| key.len() == 8))?;
            let follows = expected.is_none_or(|expected| expected == first);
            let row = read(IdentitiesRow::read(value))?;
            expected = Some(first + row.identities.len() as u64);
            ensure(follows, || "it doesn't follow the row before it".to_owned())
        });
        let last = self.counters.last_sequence;
        if expected.unwrap_or(self.lost.window_from.max(1)) != last + 1 {
            self.report.problem("identities", format!("they don't end with event {last}"));
        }
    }

    fn flows(&mut self) {
        self.each(Space::Children, |check, key, value| {
            let read_key = || Some((keys::first_number(key)?, keys::last_number(key)?));
            let (flow, sequence) = read(read_key().filter(|_| key.len() == 16))?;
            check.known(sequence)?;
            ensure(flow <= sequence && value.is_empty(), || "it can't be understood".to_owned())
        });
        self.each(Space::Correlations, |check, key, _| {
            check.known(read(keys::last_number(key).filter(|_| key.len() > 9))?)
        });
    }

    fn subscriptions(&mut self) {
        let mut names = HashSet::new();
        let mut ids = HashSet::new();
        self.each(Space::Subscriptions, |check, key, value| {
            let id = read(keys::first_subscription(key).filter(|_| key.len() == 4))?;
            ids.insert(id);
            let row = read(SubscriptionRow::read(value))?;
            let name = row.subscription.name.clone();
            ensure(id < check.counters.next_subscription, || "its number was never given".into())?;
            ensure(names.insert(name.clone()), || format!("{name} is there twice"))?;
            ensure(check.has(Space::Cursors, key)?, || format!("{name} has no cursor"))
        });
        let mut cursors = HashMap::new();
        self.each(Space::Cursors, |check, key, value| {
            let id = read(keys::first_subscription(key).filter(|_| key.len() == 4))?;
            let cursor = read(CursorRow::read(value))?;
            let end = check.counters.last_sequence + 1;
            let wrong = cursor.open.iter().find(|open| **open >= cursor.next).copied();
            cursors.insert(id, cursor.clone());
            ensure(ids.contains(&id), || format!("there is no subscription {id}"))?;
            ensure(cursor.next <= end, || format!("it stands at {}, above the log", cursor.next))?;
            ensure(wrong.is_none(), || format!("{} is open, but lies ahead", wrong.unwrap_or(0)))?;
            cursor.open.iter().try_for_each(|open| check.stored_or_gone(*open))
        });
        self.cursors = cursors;
    }

    /// Deliveries that wait: for another attempt, or in their lane behind one that does.
    fn deliveries(&mut self) {
        for space in [Space::Retries, Space::Parked] {
            self.each(space, |check, key, value| {
                let read_key = || Some((keys::first_subscription(key)?, keys::last_number(key)?));
                let (id, sequence) = read(read_key().filter(|_| key.len() == 12))?;
                let is_replay = match space {
                    Space::Retries => read(RetryRow::read(value))?.replay.is_some(),
                    _ => read(read_parked(value)).map(|_| false)?,
                };
                check.subscription(id)?;
                check.known(sequence)?;
                if is_replay { check.stored(sequence) } else { check.stored_or_gone(sequence) }
            });
        }
    }

    fn attempts(&mut self) {
        self.each(Space::Attempts, |check, key, value| {
            read(read_attempt(value))?;
            check.known(read(keys::first_number(key).filter(|_| key.len() == 16))?)
        });
    }

    fn dead_letters(&mut self) {
        let mut count = 0;
        self.each(Space::Dead, |check, key, value| {
            count += 1;
            let id = read(keys::first_number(key).filter(|_| key.len() == 8))?;
            let dead = read(DeadRow::read(value))?;
            ensure(id < check.counters.next_dead, || "its number was never given".into())?;
            check.known(dead.stored.sequence)
        });
        let counted = self.counters.dead_letters;
        if count != counted {
            let what = format!("there are {count}, but {counted} were counted");
            self.report.problem(Space::Dead.name(), what);
        }
        self.each(Space::Recordings, |check, key, _| {
            let id = read(keys::first_number(key).filter(|_| key.len() == 8))?;
            ensure(id < check.counters.next_dead, || format!("dead letter {id} never was"))
        });
        self.each(Space::DeadByDelivery, |check, key, value| {
            check.known(read(keys::first_number(key).filter(|_| key.len() == 12))?)?;
            let id = read(keys::first_number(value).filter(|_| value.len() == 8))?;
            ensure(id < check.counters.next_dead, || format!("dead letter {id} never was"))
        });
    }

    fn audit(&mut self) {
        self.each(Space::Audit, |_, key, value| {
            let number = read(keys::first_number(key).filter(|_| key.len() == 8))?;
            read(audit::read(number, value)).map(drop)
        });
    }

    fn delayed(&mut self) {
        self.each(Space::Delayed, |check, key, value| {
            let number = read(keys::last_number(key).filter(|_| key.len() == 16))?;
            let stored = read(read_record(0, value))?;
            read(stored.cause.as_ref())?;
            ensure(number < check.counters.next_delayed, || "its number was never given".into())?;
            check.known(stored.flow)
        });
    }

    fn schedules(&mut self) {
        self.each(Space::Schedules, |_, key, value| {
            read(keys::schedule_name(key))?;
            let row = read(ScheduleRow::read(value))?;
            ensure(row.last_ms <= row.until_ms, || "its last tick lies ahead".to_owned())
        });
    }

    /// What is counted for each plugin is what it has.
    fn state(&mut self) {
        let mut used: HashMap<Bytes, StateUsage> = HashMap::new();
        self.each(Space::State, |_, key, value| {
            let (plugin, address_bytes) = read(state_parts(key))?;
            let used = used.entry(plugin).or_default();
            used.bytes += (value.len() + address_bytes) as u64;
            used.keys += 1;
            Ok(())
        });
        self.each(Space::StateUsage, |_, key, value| {
            let counted = read(read_usage(value))?;
            let found = used.remove(key).unwrap_or_default();
            ensure(found == counted, || {
                format!(
                    "{} bytes under {} keys are counted, but there are {} under {}",
                    counted.bytes, counted.keys, found.bytes, found.keys
                )
            })
        });
        for plugin in used.into_keys() {
            self.report.problem(place(Space::StateUsage, &plugin), "it is missing");
        }
    }

    /// Both tables of blobs have the same.
    fn blobs(&mut self) {
        self.each(Space::Blobs, |check, key, value| {
            let (digest, plugin) = read(key.split_first_chunk::<32>())?;
            let plugin = read(std::str::from_utf8(plugin).ok())?;
            let digest = Digest::from_bytes(*digest);
            read(read_blob(digest, value))?;
            let there = check.has(Space::BlobsByPlugin, &keys::plugin_blob(plugin, &digest))?;
            ensure(there, || format!("{plugin} doesn't have it"))
        });
        self.each(Space::BlobsByPlugin, |check, key, _| {
            let split = || {
                let (rest, digest) = key.split_last_chunk::<32>()?;
                let plugin = std::str::from_utf8(rest.strip_suffix(&[0])?).ok()?;
                Some((plugin, Digest::from_bytes(*digest)))
            };
            let (plugin, digest) = read(split())?;
            let there = check.has(Space::Blobs, &keys::blob(&digest, plugin))?;
            ensure(there, || format!("blob {digest} has no row"))
        });
    }
}

/// The plugin of a row of `state`, and the length of bucket and key.
pub(crate) fn state_parts(key: &Bytes) -> Option<(Bytes, usize)> {
    let end = key.iter().position(|byte| *byte == 0)?;
    let (length, address) = key.get(end + 1..)?.split_first_chunk::<2>()?;
    (address.len() >= usize::from(u16::from_be_bytes(*length)))
        .then(|| (key.slice(..end), address.len()))
}

fn read<T>(found: Option<T>) -> Result<T, String> {
    found.ok_or_else(|| "it can't be understood".to_owned())
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Finding {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// A row in words: its table, and its key as a number where it is one.
fn place(space: Space, key: &[u8]) -> String {
    let key: &dyn Display = match <[u8; 8]>::try_from(key) {
        Ok(number) => &u64::from_be_bytes(number),
        Err(_) => &key.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
    };
    format!("{} {key}", space.name())
}
