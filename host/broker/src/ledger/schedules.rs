//! Schedules: an event at each tick of a calendar. An event and its schedule's position are in one
//! batch, so each tick is handled once: it becomes one event or, if it was missed and the schedule
//! says so, none. A clock set back by up to two hours repeats nothing. One set back by more was
//! wrong: schedules continue from the present, and a repeated tick is a duplicate by its identity.

use std::collections::BTreeMap;

use usher_event::ScheduleName;

use super::Ledger;
use super::timeline::is_schedule_ahead;
use crate::api::{Missed, Schedule, ScheduleStatus};
use crate::store::rows::{ScheduleRow, millis};
use crate::store::{Space, keys};
use crate::{TICK_LATE_MAX, TICKS_CAUGHT_UP_MAX, TICKS_COUNTED_MAX};

/// Maximum ticks that become events in one commit; the rest goes into the next.
const COMMIT_MAX_TICKS: usize = 256;

/// Maximum bytes of those events.
const COMMIT_MAX_BYTES: usize = 4 * 1_024 * 1_024;

/// All schedules and their positions.
#[derive(Default)]
pub(super) struct Schedules {
    running: BTreeMap<ScheduleName, Running>,
    /// Stored rows, until [`Ledger::set_schedules`] tells which schedules exist.
    stored: BTreeMap<ScheduleName, ScheduleRow>,
    /// The earliest next tick.
    next_ms: Option<u64>,
    /// The latest position of any schedule.
    until_ms: u64,
}

struct Running {
    schedule: Schedule,
    row: ScheduleRow,
    /// The first tick that isn't handled yet.
    next_ms: Option<u64>,
}

/// Remaining budget of a commit.
struct TickBudget {
    ticks: usize,
    bytes: usize,
}

impl TickBudget {
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
    /// Replaces the set of schedules.
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
            let row = ScheduleRow { until_ms: clamp_position(row.until_ms, now_ms), ..row };
            let next_ms = schedule.calendar.after(row.until_ms);
            self.schedules.running.insert(name, Running { schedule, row, next_ms });
        }
        for gone in rows.into_keys() {
            self.outgoing.delete(Space::Schedules, keys::schedule(&gone));
        }
        self.schedules.find_next();
    }

    /// Status of all schedules, sorted by name.
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

    /// Handles ticks that are due; returns when the next one is, Unix milliseconds.
    pub(super) fn run_schedules(&mut self, now_ms: u64) -> Option<u64> {
        if is_schedule_ahead(self.schedules.until_ms, now_ms) {
            for Running { schedule, row, next_ms } in self.schedules.running.values_mut() {
                row.until_ms = clamp_position(row.until_ms, now_ms);
                *next_ms = schedule.calendar.after(row.until_ms);
            }
            self.schedules.find_next();
        }
        if self.schedules.next_ms? > now_ms {
            return self.schedules.next_ms;
        }
        let mut schedules = std::mem::take(&mut self.schedules);
        let mut room = TickBudget { ticks: COMMIT_MAX_TICKS, bytes: COMMIT_MAX_BYTES };
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

    /// Handles a schedule's ticks up to now, within the commit's budget: missed ones first.
    fn catch_up(&mut self, running: &mut Running, now_ms: u64, room: &mut TickBudget) {
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
        room: &mut TickBudget,
    ) {
        row.until_ms = tick_ms;
        // Its size was checked with the configuration.
        let Ok(event) = schedule.event_at(tick_ms) else { return };
        room.take(event.encoded().len());
        let identity = event.identity();
        // It is a duplicate if its schedule was removed and added again.
        if !self.append(event, &identity, None, now_ms).duplicate {
            row.last_ms = tick_ms;
            row.emitted += 1;
            self.stats.ticks += 1;
        }
    }
}

/// A schedule's position; now, if it was reached while the clock was wrong.
fn clamp_position(until_ms: u64, now_ms: u64) -> u64 {
    if is_schedule_ahead(until_ms, now_ms) { now_ms } else { until_ms }
}

/// Ticks between two times (exclusive), newest first; at most [`TICKS_COUNTED_MAX`].
fn missed(schedule: &Schedule, after_ms: u64, before_ms: u64) -> Vec<u64> {
    let calendar = &schedule.calendar;
    let newest = before_ms.checked_sub(1).and_then(|until_ms| calendar.last_until(until_ms));
    std::iter::successors(newest, |tick_ms| calendar.last_until(tick_ms.checked_sub(1)?))
        .take_while(|tick_ms| *tick_ms > after_ms)
        .take(TICKS_COUNTED_MAX)
        .collect()
}
