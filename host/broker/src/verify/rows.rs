//! Each row can be read, and what it refers to is there.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;

use usher_event::{PluginName, StateUsage};

use super::verified::Verified;
use crate::store::lost::Lost;
use crate::store::rows::{COUNTERS_KEY, Counters, CursorRow};
use crate::store::schema::{self, Table};
use crate::store::{Space, View, keys};

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
    check.documents();
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
    fn each<T: Table>(&mut self, mut look: impl FnMut(&Self, T::Key, T::Row) -> Finding) {
        let (mut count, space, view) = (0, T::SPACE, self.view);
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
            let found = match T::read(&key, &value) {
                Some((key, row)) => look(self, key, row),
                None => Err("it can't be understood".to_owned()),
            };
            if let Err(what) = found {
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
        self.each::<schema::Events>(|check, sequence, stored| {
            if sequence >= first {
                if sequence > expected {
                    gaps.push((expected, sequence - 1));
                }
                expected = sequence + 1;
            }
            check.known(sequence)?;
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
        self.each::<schema::Identities>(|_, first, row| {
            let follows = expected.is_none_or(|expected| expected == first);
            expected = Some(first + row.identities.len() as u64);
            ensure(follows, || "it doesn't follow the row before it".to_owned())
        });
        let last = self.counters.last_sequence;
        if expected.unwrap_or(self.lost.window_from.max(1)) != last + 1 {
            self.report.problem("identities", format!("they don't end with event {last}"));
        }
    }

    fn flows(&mut self) {
        self.each::<schema::Children>(|check, (flow, sequence), ()| {
            check.known(sequence)?;
            ensure(flow <= sequence, || format!("event {sequence} is older than its flow"))
        });
        self.each::<schema::Correlations>(|check, sequence, ()| check.known(sequence));
    }

    fn subscriptions(&mut self) {
        let mut names = HashSet::new();
        let mut ids = HashSet::new();
        self.each::<schema::Subscriptions>(|check, id, row| {
            ids.insert(id);
            let name = row.subscription.name.clone();
            ensure(id < check.counters.next_subscription, || "its number was never given".into())?;
            ensure(names.insert(name.clone()), || format!("{name} is there twice"))?;
            ensure(check.has(Space::Cursors, &keys::subscription(id))?, || {
                format!("{name} has no cursor")
            })
        });
        let mut cursors = HashMap::new();
        self.each::<schema::Cursors>(|check, id, cursor| {
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
        self.each::<schema::Retries>(|check, (id, sequence), row| {
            check.subscription(id)?;
            check.known(sequence)?;
            match row.replay {
                Some(_) => check.stored(sequence),
                None => check.stored_or_gone(sequence),
            }
        });
        self.each::<schema::Parked>(|check, (id, sequence), _| {
            check.subscription(id)?;
            check.known(sequence)?;
            check.stored_or_gone(sequence)
        });
    }

    fn attempts(&mut self) {
        self.each::<schema::Attempts>(|check, (sequence, ..), _| check.known(sequence));
    }

    fn dead_letters(&mut self) {
        let mut count = 0;
        self.each::<schema::Dead>(|check, id, dead| {
            count += 1;
            ensure(id < check.counters.next_dead, || "its number was never given".into())?;
            check.known(dead.stored.sequence)
        });
        let counted = self.counters.dead_letters;
        if count != counted {
            let what = format!("there are {count}, but {counted} were counted");
            self.report.problem(Space::Dead.name(), what);
        }
        self.each::<schema::Recordings>(|check, id, _| check.was_dead(id));
        self.each::<schema::DeadByDelivery>(|check, (sequence, _), id| {
            check.known(sequence)?;
            check.was_dead(id)
        });
    }

    fn was_dead(&self, id: u64) -> Finding {
        ensure(id < self.counters.next_dead, || format!("dead letter {id} never was"))
    }

    fn audit(&mut self) {
        self.each::<schema::Audit>(|_, _, _| Ok(()));
    }

    fn delayed(&mut self) {
        self.each::<schema::Delayed>(|check, (_, number), stored| {
            ensure(number < check.counters.next_delayed, || "its number was never given".into())?;
            check.known(stored.flow)
        });
    }

    fn schedules(&mut self) {
        self.each::<schema::Schedules>(|_, _, row| {
            ensure(row.last_ms <= row.until_ms, || "its last tick lies ahead".to_owned())
        });
    }

    fn documents(&mut self) {
        self.each::<schema::Documents>(|_, _, _| Ok(()));
    }

    /// What is counted for each plugin is what it has.
    fn state(&mut self) {
        let mut used: HashMap<PluginName, StateUsage> = HashMap::new();
        self.each::<schema::State>(|_, address, value| {
            let name_bytes = address.name_bytes() as u64;
            let used = used.entry(address.plugin).or_default();
            *used = used.replacing(name_bytes, None, Some(value.len() as u64));
            Ok(())
        });
        self.each::<schema::StateUsage>(|_, plugin, counted| {
            let found = used.remove(&plugin).unwrap_or_default();
            ensure(found == counted, || {
                format!(
                    "{} bytes under {} keys are counted, but there are {} under {}",
                    counted.bytes, counted.keys, found.bytes, found.keys
                )
            })
        });
        for plugin in used.into_keys() {
            self.report.problem(format!("{} {plugin}", Space::StateUsage.name()), "it is missing");
        }
    }

    /// Both tables of blobs have the same.
    fn blobs(&mut self) {
        self.each::<schema::Blobs>(|check, (digest, plugin), _| {
            let key = keys::plugin_blob(plugin.as_str(), &digest);
            ensure(check.has(Space::BlobsByPlugin, &key)?, || format!("{plugin} doesn't have it"))
        });
        self.each::<schema::BlobsByPlugin>(|check, (plugin, digest), ()| {
            let key = keys::blob(&digest, plugin.as_str());
            ensure(check.has(Space::Blobs, &key)?, || format!("blob {digest} has no row"))
        });
    }
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
