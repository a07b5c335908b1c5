//! Schedules: an event at each tick of a calendar. An event and how far its schedule has come are
//! in one batch, so each tick is dealt with once: it becomes one event or, if it was missed and the
//! schedule says so, none. A clock that is set back by an hour or two repeats nothing. One that is set
//! back by more was wrong: schedules go on from the present, and a tick that comes again is recognised by its
//! identity, as any duplicate is.

use std::collections::BTreeMap;

use usher_event::ScheduleName;

use super::Ledger;
use super::timeline::is_schedule_ahead;
use crate::api::{Missed, Schedule, ScheduleStatus};
use crate::store::rows::{ScheduleRow, millis};
use crate::store::{Space, keys};
use crate::{TICK_LATE_MAX, TICKS_CAUGHT_UP_MAX, TICKS_COUNTED_MAX};

/// Most ticks that become events in one commit; what is beyond goes into the next.
const COMMIT_MAX_TICKS: usize = 256;

/// Most bytes of such events.
const COMMIT_MAX_BYTES: usize = 4 * 1_024 * 1_024;

/// All schedules, and how far they have come.
#[derive(Default)]
pub(super) struct Schedules {
    running: BTreeMap<ScheduleName, Running>,
    /// Rows of the store, until it is said which schedules there are.
    stored: BTreeMap<ScheduleName, ScheduleRow>,
    /// The next tick of all.
    next_ms: Option<u64>,
    /// The latest time up to which any schedule has come.
    until_ms: u64,
}

struct Running {
    schedule: Schedule,
    row: ScheduleRow,
    /// The first tick that is not dealt with.
    next_ms: Option<u64>,
}

/// What is left of a commit.
struct Room {
    ticks: usize,
    bytes: usize,
}

impl Room {
    fn is_used_up(&self) -> bool {
        self.ticks == 0 || self.bytes == 0
    }

    fn take(&mut self, bytes: usize) {
        self.ticks -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Schedules {
    pub(super) fn new(stored: BTreeMap<ScheduleName, ScheduleRow>) -> Self {
        Self { stored, ..Self::default() }
    }

    fn find_next(&mut self) {
        self.next_ms = self.running.values().filter_map(|running| running.next_ms).min();
        self.until_ms =
            self.running.values().map(|running| running.row.until_ms).max().unwrap_or(0);
    }
}

impl Ledger {
    /// Makes these the schedules there are.
    pub(crate) fn set_schedules(&mut self, schedules: Vec<Schedule>, now_ms: u64) {
        let before = std::mem::take(&mut self.schedules);
        let mut rows = before.stored;
        rows.extend(before.running.into_iter().map(|(name, running)| (name, running.row)));
        for schedule in schedules {
            let name = schedule.name.clone();
            let row = rows.remove(&name).unwrap_or_else(|| {
                let row = ScheduleRow { until_ms: now_ms, ..ScheduleRow::default() };
                self.outgoing.put(Space::Schedules, keys::schedule(&name), row.write());
                row
            });
            let row = ScheduleRow { until_ms: come_to(row.until_ms, now_ms), ..row };
            let next_ms = schedule.calendar.after(row.until_ms);
            self.schedules.running.insert(name, Running { schedule, row, next_ms });
        }
        for gone in rows.into_keys() {
            self.outgoing.delete(Space::Schedules, keys::schedule(&gone));
        }
        self.schedules.find_next();
    }

    /// All schedules and where they stand, by name.
    pub(crate) fn schedules(&self) -> Vec<ScheduleStatus> {
        let status = |running: &Running| ScheduleStatus {
            schedule: running.schedule.clone(),
            next_ms: running.next_ms,
            last_ms: Some(running.row.last_ms).filter(|last_ms| *last_ms > 0),
            emitted: running.row.emitted,
            passed_over: running.row.passed_over,
        };
        self.schedules.running.values().map(status).collect()
    }

    /// Deals with the ticks whose time has come; answers when the next one is.
    pub(super) fn run_schedules(&mut self, now_ms: u64) -> Option<u64> {
        if is_schedule_ahead(self.schedules.until_ms, now_ms) {
            for Running { schedule, row, next_ms } in self.schedules.running.values_mut() {
                row.until_ms = come_to(row.until_ms, now_ms);
                *next_ms = schedule.calendar.after(row.until_ms);
            }
            self.schedules.find_next();
        }
        if self.schedules.next_ms? > now_ms {
            return self.schedules.next_ms;
        }
        let mut schedules = std::mem::take(&mut self.schedules);
        let mut room = Room { ticks: COMMIT_MAX_TICKS, bytes: COMMIT_MAX_BYTES };
        for (name, running) in &mut schedules.running {
            if running.next_ms.is_some_and(|next_ms| next_ms <= now_ms) && !room.is_used_up() {
                self.catch_up(running, now_ms, &mut room);
                running.next_ms = running.schedule.calendar.after(running.row.until_ms);
                let row = running.row.write();
                self.outgoing.put(Space::Schedules, keys::schedule(name), row);
            }
        }
        schedules.find_next();
        self.schedules = schedules;
        self.schedules.next_ms
    }

    /// Deals with a schedule's ticks up to now, as far as there is room: first with those that are
    /// too late.
    fn catch_up(&mut self, running: &mut Running, now_ms: u64, room: &mut Room) {
        let Running { schedule, row, .. } = running;
        let on_time_ms = now_ms.saturating_sub(millis(TICK_LATE_MAX));
        let missed = missed(schedule, row.until_ms, on_time_ms);
        if let Some(newest_ms) = missed.first().copied() {
            let kept = match schedule.missed {
                Missed::Skip => 0,
                Missed::Once => 1,
                Missed::All => TICKS_CAUGHT_UP_MAX,
            };
            let kept = missed.get(..kept).unwrap_or(&missed);
            let passed_over = (missed.len() - kept.len()) as u64;
            row.passed_over += passed_over;
            self.stats.ticks_passed_over += passed_over;
            for tick_ms in kept.iter().rev() {
                if room.is_used_up() {
                    return;
                }
                self.emit(schedule, row, (*tick_ms, now_ms), room);
            }
            row.until_ms = newest_ms;
        }
        while let Some(tick_ms) = schedule.calendar.after(row.until_ms) {
            if tick_ms > now_ms || room.is_used_up() {
                return;
            }
            self.emit(schedule, row, (tick_ms, now_ms), room);
        }
    }

    /// Appends the event of a tick.
    fn emit(
        &mut self,
        schedule: &Schedule,
        row: &mut ScheduleRow,
        (tick_ms, now_ms): (u64, u64),
        room: &mut Room,
    ) {
        row.until_ms = tick_ms;
        // Its size was checked with the configuration.
        let Ok(event) = schedule.event_at(tick_ms) else { return };
        room.take(event.encoded().len());
        let identity = event.identity();
        // It may have been there before its schedule was forgotten.
        if !self.append(event, &identity, None, now_ms).duplicate {
            row.last_ms = tick_ms;
            row.emitted += 1;
            self.stats.ticks += 1;
        }
    }
}

/// How far a schedule has come, seen from now: where it came further while the clock was wrong, it
/// goes on from here.
fn come_to(until_ms: u64, now_ms: u64) -> u64 {
    if is_schedule_ahead(until_ms, now_ms) { now_ms } else { until_ms }
}

/// Ticks after one time and before another, newest first; at most as many as are counted.
fn missed(schedule: &Schedule, after_ms: u64, before_ms: u64) -> Vec<u64> {
    let calendar = &schedule.calendar;
    let newest = before_ms.checked_sub(1).and_then(|until_ms| calendar.last_until(until_ms));
    std::iter::successors(newest, |tick_ms| calendar.last_until(tick_ms.checked_sub(1)?))
        .take_while(|tick_ms| *tick_ms > after_ms)
        .take(TICKS_COUNTED_MAX)
        .collect()
}
