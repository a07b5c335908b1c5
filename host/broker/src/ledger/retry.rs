//! Failed attempts: counted, recorded, tried again with growing waits, given up in the end.

use std::time::Duration;

use usher_event::Failure;

use super::Ledger;
use super::settle::Report;
use super::subscription::{Pending, Retry};
use crate::api::{AttemptRecord, RetryPolicy, Settled};
use crate::store::rows::{millis, write_attempt};
use crate::store::{Space, keys};
use crate::{ATTEMPTS_KEPT, BACKTRACE_MAX_BYTES, REASON_MAX_BYTES};

/// Room in a reason for the words about a wait that was cut.
const CUT_WAIT_MAX_BYTES: usize = 128;

impl Ledger {
    /// Another attempt by the policy, or the end.
    pub(super) fn fail(
        &mut self,
        report: &Report,
        mut failure: Failure,
        after: Option<Duration>,
        now_ms: u64,
    ) -> Settled {
        let Some(left_ms) = self.left_ms(report, now_ms) else { return Settled::Stale };
        if let Some(after) = after.filter(|after| millis(*after) > left_ms) {
            let (asked_s, left_s) = (after.as_secs(), left_ms / 1_000);
            failure.reason = cut(failure.reason, REASON_MAX_BYTES - CUT_WAIT_MAX_BYTES);
            failure.reason += &format!(" (asked to wait {asked_s} s, {left_s} s are left)");
        }
        let Some(mut pending) = self.failed(report, failure, now_ms) else {
            return Settled::Stale;
        };
        let tick = self.timeline.tick(now_ms);
        let Some(sub) = self.subs.get_mut(&report.subscription) else { return Settled::Stale };
        let policy = &sub.subscription().retry;
        let mut row = pending.retry.take().unwrap_or_default();
        if row.failures == 0 {
            row.first_ms = now_ms;
        }
        row.failures = row.failures.saturating_add(1);
        if row.failures >= policy.max_attempts || (left_ms == 0 && row.failures > 1) {
            pending.retry = Some(row);
            return self.bury(report, pending, now_ms);
        }
        let spread = self.jitter.next_fraction();
        let wait_ms = backoff_ms(policy, row.failures, spread).max(after.map_or(0, millis));
        // The last attempt may start when the age is reached, not later.
        let wait_ms = wait_ms.min(left_ms);
        row.due_ms = now_ms.saturating_add(wait_ms);
        let due_tick = tick.saturating_add(wait_ms);
        let (id, sequence) = (report.subscription, report.sequence);
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

    /// How long from now on the delivery may be tried again.
    fn left_ms(&self, report: &Report, now_ms: u64) -> Option<u64> {
        let sub = self.subs.get(&report.subscription)?;
        let retry = sub.held.get(&report.sequence)?.pending.retry.filter(|row| row.failures > 0);
        let age_ms = retry.map_or(0, |row| now_ms.saturating_sub(row.first_ms));
        Some(millis(sub.subscription().retry.max_age).saturating_sub(age_ms))
    }

    /// The end at once.
    pub(super) fn give_up(&mut self, report: &Report, failure: Failure, now_ms: u64) -> Settled {
        let Some(mut pending) = self.failed(report, failure, now_ms) else {
            return Settled::Stale;
        };
        let mut row = pending.retry.take().unwrap_or_default();
        row.failures = row.failures.saturating_add(1);
        pending.retry = Some(row);
        self.bury(report, pending, now_ms)
    }

    /// Ends the lease and records the failed attempt. `retry` of the answer is still as it was
    /// before.
    fn failed(&mut self, report: &Report, failure: Failure, now_ms: u64) -> Option<Pending> {
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
            reason: cut(failure.reason, REASON_MAX_BYTES),
            backtrace: failure.backtrace.map(|text| cut(text, BACKTRACE_MAX_BYTES)),
            digest: report.digest,
            version: report.version.as_deref().map(str::to_owned),
        };
        let key = |attempt: u32| keys::attempt(sequence, id, before.saturating_add(attempt));
        self.outgoing.put(Space::Attempts, key(attempt), write_attempt(&record));
        if pending.attempts.len() >= ATTEMPTS_KEPT {
            // The first stays, the oldest of the others goes.
            let gone = pending.attempts.remove(1);
            self.outgoing.delete(Space::Attempts, key(gone.attempt));
        }
        pending.attempts.push(record);
        Some(pending)
    }
}

/// The wait after the `failures`th failure; `spread` is between -1 and 1.
fn backoff_ms(policy: &RetryPolicy, failures: u32, spread: f64) -> u64 {
    let exponent = f64::from(failures.saturating_sub(1));
    let grown = policy.first_delay.as_secs_f64() * policy.factor.max(1.0).powf(exponent);
    let wait = grown.min(policy.max_delay.as_secs_f64());
    let spread = wait * (1.0 + spread * policy.jitter.clamp(0.0, 1.0));
    // Casting saturates; the wait is finite and not negative.
    (spread * 1_000.0) as u64
}

/// At most so many bytes of a text, with a mark where it was cut.
fn cut(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        const MARK: &str = "…";
        text.truncate(text.floor_char_boundary(max_bytes - MARK.len()));
        text.push_str(MARK);
    }
    text
}

/// Pseudo-random numbers from a seed (splitmix64); good enough to keep retries apart.
#[derive(Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Between -1 and 1.
    fn next_fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_cap() {
        let policy = RetryPolicy::default();
        let waits: Vec<u64> = (1..=13).map(|n| backoff_ms(&policy, n, 0.0)).collect();
        assert_eq!(waits[..5], [1_000, 2_000, 4_000, 8_000, 16_000]);
        assert_eq!(waits[11..], [1_800_000, 1_800_000]);
        assert_eq!(backoff_ms(&policy, u32::MAX, 1.0), 2_160_000);
        assert_eq!(backoff_ms(&policy, 1, -1.0), 800);
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

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("abc".into(), 3), "abc");
        assert_eq!(cut("abcdef".into(), 5), "ab…");
        assert_eq!(cut("äöüäöü".into(), 6), "ä…");
    }
}
