//! Schedules, checked against plain arithmetic: their ticks are the multiples of a period.

use std::collections::BTreeMap;

use usher_event::Event;

use super::random::Random;
use super::world::World;
use usher_broker::{Calendar, Missed, Schedule, TICK_LATE_MAX, TICKS_COUNTED_MAX};

/// Cron pattern, period, and what happens to missed ticks. A day has fewer ticks of the last one
/// than fit in one commit.
const PACES: [(&str, &str, u64, Missed); 3] = [
    ("all", "0 */10 * * * *", 600_000, Missed::All),
    ("once", "*/3 * * * * *", 3_000, Missed::Once),
    ("skip", "*/2 * * * * *", 2_000, Missed::Skip),
];

/// Prefix of the source of all events of schedules.
const SOURCE_PREFIX: &str = "/schedules/";

/// Progress of one schedule.
#[derive(Clone, Copy, Debug)]
struct Pace {
    period_ms: u64,
    missed: Missed,
    until_ms: u64,
    emitted: u64,
    passed_over: u64,
}

/// Expected state of all schedules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clockwork {
    paces: BTreeMap<&'static str, Pace>,
    /// Ids of the events that the next commit must contain.
    due: Vec<String>,
    /// Progress of schedules that are no longer configured.
    forgotten: BTreeMap<&'static str, u64>,
}

impl Clockwork {
    /// All schedules, starting now.
    pub(crate) fn from(now_ms: u64) -> Self {
        let mut clockwork = Self::default();
        PACES.iter().for_each(|(name, ..)| clockwork.add(name, now_ms));
        clockwork
    }

    fn add(&mut self, name: &'static str, now_ms: u64) {
        let found = PACES.iter().find(|(other, ..)| *other == name);
        let (.., period_ms, missed) = *found.expect("it is one of them");
        let pace = Pace { period_ms, missed, until_ms: now_ms, emitted: 0, passed_over: 0 };
        self.paces.insert(name, pace);
    }

    /// The configured schedules.
    pub(crate) fn configured(&self) -> Vec<Schedule> {
        let present = PACES.iter().filter(|(name, ..)| self.paces.contains_key(name));
        let schedule = |(name, cron, _, missed): &(&str, &str, u64, Missed)| Schedule {
            name: name.parse().unwrap(),
            calendar: Calendar::new(cron, "UTC").unwrap(),
            missed: *missed,
            event: Event::builder("0", format!("{SOURCE_PREFIX}{name}"), "c").build().unwrap(),
        };
        present.map(schedule).collect()
    }

    /// The ledger reads the clock.
    pub(crate) fn look(&mut self, now_ms: u64) {
        let late_ms = now_ms.saturating_sub(TICK_LATE_MAX.as_millis() as u64);
        for (name, pace) in &mut self.paces {
            let first = (pace.until_ms / pace.period_ms + 1) * pace.period_ms;
            let due: Vec<u64> = (first..=now_ms).step_by(pace.period_ms as usize).collect();
            let (missed, on_time) = due.split_at(due.partition_point(|tick_ms| *tick_ms < late_ms));
            let caught_up_with = match pace.missed {
                Missed::Skip => 0,
                Missed::Once => missed.len().min(1),
                Missed::All => missed.len(),
            };
            let kept = &missed[missed.len() - caught_up_with..];
            pace.passed_over += (missed.len().min(TICKS_COUNTED_MAX) - kept.len()) as u64;
            for tick_ms in kept.iter().chain(on_time) {
                let time = usher_event::format_time(*tick_ms);
                self.due.push(format!("{name}/{time}"));
                pace.emitted += 1;
            }
            pace.until_ms = due.last().copied().unwrap_or(pace.until_ms);
        }
    }

    /// The configuration changes between two processes: a schedule is removed or added back.
    pub(crate) fn reconfigure(&mut self, now_ms: u64, random: &mut Random) {
        let (name, ..) = PACES[random.below(PACES.len())];
        if let Some(gone) = self.paces.remove(name) {
            self.forgotten.insert(name, gone.until_ms);
        } else if self.forgotten.get(name).is_some_and(|until_ms| *until_ms <= now_ms) {
            // With the clock further back, it would repeat ticks.
            self.forgotten.remove(name);
            self.add(name, now_ms);
        }
    }
}

impl World {
    /// Invariant 7: each tick is one event, or none if it was missed and the schedule says so.
    pub(crate) fn check_ticks(&mut self, new: &[Event]) {
        // An event that replaces a dead letter's has the same source, but is no tick.
        let is_tick = |event: &&Event| {
            event.source().starts_with(SOURCE_PREFIX) && event.extension("redriveof").is_none()
        };
        let found: Vec<&str> = new.iter().filter(is_tick).map(Event::id).collect();
        assert_eq!(found, self.expected.due, "ticks");
        self.expected.due.clear();
        self.committed = self.expected.clone();
    }

    /// Compares the reported status of schedules with the expected one, then removes all schedules.
    pub(crate) fn end_schedules(&mut self) {
        for status in self.broker.schedules() {
            let pace = self.committed.paces[status.schedule.name.as_str()];
            let told = (status.emitted, status.passed_over);
            assert_eq!(told, (pace.emitted, pace.passed_over), "{status:?}");
            let next_ms = (pace.until_ms / pace.period_ms + 1) * pace.period_ms;
            assert_eq!(status.next_ms, Some(next_ms), "{status:?}");
            assert!(status.last_ms.is_none_or(|last_ms| last_ms <= pace.until_ms), "{status:?}");
        }
        self.broker.set_schedules(Vec::new(), self.now_ms);
        self.expected = Clockwork::default();
        self.commit();
        assert_eq!(self.broker.counts().schedules, 0);
    }
}
