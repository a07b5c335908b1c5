//! Failed attempts: recorded, counted, retried with backoff, and finally dead-lettered.

use std::time::Duration;

use usher_event::text::{self, ELLIPSIS};
use usher_event::{Failure, FailureClass};

use super::Ledger;
use super::settle::Report;
use super::subscription::{Pending, Retry};
use crate::api::{AttemptRecord, RetryPolicy, Settled};
use crate::store::rows::{RetryRow, millis, write_attempt};
use crate::store::{Space, keys};
use crate::{AFTER_MAX, ATTEMPTS_KEPT, BACKTRACE_MAX_BYTES, RATE_LIMITED_MIN, REASON_MAX_BYTES};

/// Space in a reason for the note about a delay that was cut.
const CUT_WAIT_MAX_BYTES: usize = 128;

impl Ledger {
    /// Schedules a retry by the policy, or ends the delivery.
    pub(super) fn fail(
        &mut self,
        report: &Report,
        mut failure: Failure,
        after: Option<Duration>,
        now_ms: u64,
    ) -> Settled {
        let Some(left_ms) = self.left_ms(report, now_ms) else { return Settled::Stale };
        let after_ms = after.map_or(0, millis);
        let allowed_ms = after_ms.min(millis(AFTER_MAX)).min(left_ms);
        let asked_ms = (after_ms > allowed_ms).then_some(after_ms);
        if asked_ms.is_some() {
            let (asked_s, left_s) = (after_ms / 1_000, allowed_ms / 1_000);
            failure.reason =
                text::cut(failure.reason, REASON_MAX_BYTES - CUT_WAIT_MAX_BYTES, ELLIPSIS);
            failure.reason += &format!(" (asked to wait {asked_s} s, {left_s} s are left)");
        }
        let (class, recording) = (failure.class, failure.recording.take());
        let tick = self.timeline.tick(now_ms);
        let (id, sequence) = (report.subscription, report.sequence);
        let Some(sub) = self.subs.get(&id) else { return Settled::Stale };
        let Some(held) = sub.held.get(&sequence) else { return Settled::Stale };
        let mut row = held.pending.retry.unwrap_or_default();
        // Otherwise a clock set back since would keep `max_age` from being reached.
        row.first_ms = row.first_ms.min(now_ms);
        let policy = sub.subscription().retry.clone();
        if row.failures == 0 {
            row.first_ms = now_ms;
        }
        let counted =
            class != FailureClass::Retry || after.is_none_or(|after| after < RATE_LIMITED_MIN);
        let Some(pending) = self.failed(report, failure, (counted, asked_ms), now_ms) else {
            return Settled::Stale;
        };
        let mut pending = Pending { retry: None, ..pending };
        row.failures = row.failures.saturating_add(1);
        row.count(class, counted);
        let class_policy = ClassPolicy::of(&policy, class);
        let count = row.counted(&policy, class);
        let is_last = counted && count >= class_policy.max_attempts;
        if is_last || (left_ms == 0 && row.failures > 1) {
            pending.retry = Some(row);
            return self.make_dead_letter(report, pending, recording, now_ms);
        }
        if self.is_gone(sequence, row.replay.is_some()) {
            return self.expire_failed(report, pending);
        }
        let spread = self.jitter.next_fraction();
        // At least the delay after a first failure.
        let backoff_ms = class_policy.backoff_ms(count.max(1), policy.jitter * spread);
        // The last attempt may start when `max_age` is reached, not later.
        let wait_ms = backoff_ms.max(allowed_ms).min(left_ms);
        let Some(sub) = self.subs.get_mut(&id) else { return Settled::Stale };
        row.due_ms = now_ms.saturating_add(wait_ms);
        let due_tick = tick.saturating_add(wait_ms);
        row.lane = pending.lane;
        sub.unpark(sequence, &mut self.outgoing);
        if let Some(lane) = pending.lane {
            sub.stall_lane(lane, &mut self.outgoing);
        }
        sub.retries.insert(sequence, Retry { row, waiting: true });
        self.due.insert((due_tick, id, sequence));
        self.outgoing.put(Space::Retries, keys::retry(id, sequence), row.write());
        self.unsaved.insert(id);
        Settled::RetryAt(row.due_ms)
    }

    /// How much longer the delivery may be retried.
    fn left_ms(&self, report: &Report, now_ms: u64) -> Option<u64> {
        let sub = self.subs.get(&report.subscription)?;
        let retry = sub.held.get(&report.sequence)?.pending.retry.filter(|row| row.failures > 0);
        let age_ms = retry.map_or(0, |row| now_ms.saturating_sub(row.first_ms));
        Some(millis(sub.subscription().retry.max_age).saturating_sub(age_ms))
    }

    /// Dead-letters a delivery immediately.
    pub(super) fn give_up(
        &mut self,
        report: &Report,
        mut failure: Failure,
        now_ms: u64,
    ) -> Settled {
        let recording = failure.recording.take();
        let Some(mut pending) = self.failed(report, failure, (true, None), now_ms) else {
            return Settled::Stale;
        };
        let mut row = pending.retry.take().unwrap_or_default();
        row.failures = row.failures.saturating_add(1);
        pending.retry = Some(row);
        self.make_dead_letter(report, pending, recording, now_ms)
    }

    /// Ends the lease and records the failed attempt. `retry` of the result doesn't include it yet.
    fn failed(
        &mut self,
        report: &Report,
        failure: Failure,
        (counted, asked_ms): (bool, Option<u64>),
        now_ms: u64,
    ) -> Option<Pending> {
        let (id, sequence) = (report.subscription, report.sequence);
        let sub = self.subs.get_mut(&id)?;
        let mut pending = sub.remove_held(sequence)?;
        sub.failed += 1;
        self.stats.failed += 1;
        let before = pending.retry.map_or(0, |retry| retry.before);
        let attempt = pending.retry.map_or(0, |retry| retry.failures).saturating_add(1);
        let record = AttemptRecord {
            attempt,
            time_ms: now_ms,
            took_us: report.took_us,
            class: failure.class,
            reason: text::cut(failure.reason, REASON_MAX_BYTES, ELLIPSIS),
            backtrace: failure
                .backtrace
                .map(|trace| text::cut(trace, BACKTRACE_MAX_BYTES, ELLIPSIS)),
            digest: report.digest,
            version: report.version.as_deref().map(str::to_owned),
            counted,
            asked_ms,
            ended: false,
        };
        let key = |attempt: u32| keys::attempt(sequence, id, before.saturating_add(attempt));
        self.outgoing.put(Space::Attempts, key(attempt), write_attempt(&record));
        if pending.attempts.len() >= ATTEMPTS_KEPT {
            // Keep the first, remove the oldest of the others.
            let gone = pending.attempts.remove(1);
            self.outgoing.delete(Space::Attempts, key(gone.attempt));
        }
        pending.attempts.push(record);
        Some(pending)
    }
}

impl RetryRow {
    /// Counts a failure of this round.
    fn count(&mut self, class: FailureClass, counted: bool) {
        if !counted {
            self.uncounted = self.uncounted.saturating_add(1);
        } else if let Some(count) = self.counts.get_mut(place(class)) {
            *count = count.saturating_add(1);
        }
    }

    /// How many failures count together with one of this class.
    fn counted(&self, policy: &RetryPolicy, class: FailureClass) -> u32 {
        let of = |class: FailureClass| self.counts.get(place(class)).copied().unwrap_or(0);
        if policy.classes.contains_key(&class) {
            return of(class);
        }
        let apart = policy.classes.keys().map(|class| of(*class)).fold(0, u32::saturating_add);
        self.failures.saturating_sub(self.uncounted).saturating_sub(apart)
    }
}

/// Index of a class in [`FailureClass::ALL`].
fn place(class: FailureClass) -> usize {
    FailureClass::ALL.iter().position(|other| *other == class).unwrap_or(usize::MAX)
}

/// The effective policy of one class.
struct ClassPolicy {
    first_delay: Duration,
    factor: f64,
    max_delay: Duration,
    max_attempts: u32,
}

impl ClassPolicy {
    fn of(policy: &RetryPolicy, class: FailureClass) -> Self {
        let own = policy.classes.get(&class).copied().unwrap_or_default();
        Self {
            first_delay: own.first_delay.unwrap_or(policy.first_delay),
            factor: own.factor.unwrap_or(policy.factor),
            max_delay: own.max_delay.unwrap_or(policy.max_delay),
            max_attempts: own.max_attempts.unwrap_or(policy.max_attempts),
        }
    }

    /// Delay after the `failures`th failure; `spread` is a fraction of it, between -1 and 1.
    fn backoff_ms(&self, failures: u32, spread: f64) -> u64 {
        let exponent = f64::from(failures.saturating_sub(1));
        let grown = self.first_delay.as_secs_f64() * self.factor.max(1.0).powf(exponent);
        let wait = grown.min(self.max_delay.as_secs_f64());
        // Casting saturates; the wait is finite and not negative.
        (wait * (1.0 + spread.clamp(-1.0, 1.0)) * 1_000.0) as u64
    }
}

/// The longest delay after this many failures, over all classes.
pub(super) fn longest_backoff_ms(policy: &RetryPolicy, failures: u32) -> u64 {
    let classes = FailureClass::ALL.iter();
    let waits = classes
        .map(|class| ClassPolicy::of(policy, *class).backoff_ms(failures.max(1), policy.jitter));
    waits.max().unwrap_or_default()
}

/// Pseudo-random numbers from a seed (splitmix64); good enough to keep retries apart.
#[derive(Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Between -1 and 1.
    fn next_fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ClassRetry;

    #[test]
    fn waits_grow_up_to_the_cap() {
        let policy = ClassPolicy::of(&RetryPolicy::default(), FailureClass::Trap);
        let waits: Vec<u64> = (1..=13).map(|n| policy.backoff_ms(n, 0.0)).collect();
        assert_eq!(waits[..5], [1_000, 2_000, 4_000, 8_000, 16_000]);
        assert_eq!(waits[11..], [1_800_000, 1_800_000]);
        assert_eq!(policy.backoff_ms(u32::MAX, 0.2), 2_160_000);
        assert_eq!(policy.backoff_ms(1, -0.2), 800);
    }

    #[test]
    fn classes_of_their_own_are_counted_by_themselves() {
        let own = ClassRetry { max_attempts: Some(2), ..ClassRetry::default() };
        let classes = [(FailureClass::Trap, own)].into();
        let policy = RetryPolicy { classes, ..RetryPolicy::default() };
        // Two failures recorded by an older version, which knew no classes.
        let mut row = RetryRow { failures: 2, ..RetryRow::default() };
        let failures = [
            (FailureClass::Trap, true),
            (FailureClass::Timeout, true),
            (FailureClass::Retry, false),
            (FailureClass::Trap, true),
        ];
        for (class, counted) in failures {
            row.failures += 1;
            row.count(class, counted);
        }
        assert_eq!(row.counted(&policy, FailureClass::Trap), 2);
        assert_eq!(row.counted(&policy, FailureClass::Timeout), 3);
        assert_eq!(row.counted(&policy, FailureClass::Retry), 3);
        let trap = ClassPolicy::of(&policy, FailureClass::Trap);
        assert_eq!((trap.max_attempts, trap.first_delay), (2, policy.first_delay));
        assert_eq!(ClassPolicy::of(&policy, FailureClass::Host).max_attempts, 60);
    }

    #[test]
    fn jitter_covers_its_range_and_repeats_by_seed() {
        let mut jitter = Jitter::new(7);
        let drawn: Vec<f64> = (0..1_000).map(|_| jitter.next_fraction()).collect();
        assert!(drawn.iter().all(|fraction| (-1.0..=1.0).contains(fraction)));
        assert!(drawn.iter().any(|fraction| *fraction < -0.9));
        assert!(drawn.iter().any(|fraction| *fraction > 0.9));
        assert_eq!(drawn[0], Jitter::new(7).next_fraction());
    }
}
