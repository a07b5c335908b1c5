//! Circuit breaker and quarantine of a failing plugin: pure rules, with the clock passed in.
//!
//! Only distinct events count. One event that fails repeatedly is the retry policy's concern and
//! doesn't open the breaker.

use std::collections::VecDeque;
use std::time::Duration;

use usher_event::{FailureClass, millis};

/// When a plugin's breaker opens, and when the plugin is quarantined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Distinct events that must fail in a row to open it; at least 1.
    pub failures: u32,
    /// Wait before the first probe; doubles after each failed probe.
    pub first_wait: Duration,
    /// Maximum wait between two probes.
    pub max_wait: Duration,
    /// The plugin is quarantined if more distinct events than this fail within the window.
    pub quarantine_failures: u32,
    /// The window in which failures count towards quarantine.
    pub quarantine_window: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failures: 5,
            first_wait: Duration::from_millis(500),
            // Short enough that a plugin failing every event is quarantined within the window.
            max_wait: Duration::from_secs(3),
            quarantine_failures: 20,
            quarantine_window: Duration::from_secs(60),
        }
    }
}

/// What the outcome of a delivery tells about its plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakerInput {
    /// It returned a verdict, of whatever kind.
    Answered,
    /// It trapped, timed out or exceeded a limit.
    Failed,
    /// Nothing: it didn't run, or the failure has another cause.
    None,
}

impl BreakerInput {
    /// The sign for a failure of this class.
    pub(crate) fn of(class: FailureClass) -> Self {
        match class {
            FailureClass::Trap | FailureClass::Timeout | FailureClass::Limit => Self::Failed,
            FailureClass::Retry | FailureClass::Reject => Self::Answered,
            FailureClass::Emission | FailureClass::Host => Self::None,
        }
    }

    /// Whether the failure counts against the plugin.
    pub(crate) fn is_failed(self) -> bool {
        self == Self::Failed
    }
}

/// Whether deliveries may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Any number.
    Free,
    /// One, as a probe.
    Probe,
    /// None until this time, in milliseconds.
    Until(u64),
    /// None until the state changes.
    Never,
}

/// State change caused by a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Deliveries stop until a probe.
    Opened,
    /// Deliveries resume.
    Closed,
    /// Deliveries stop; carries the number of failed events.
    Quarantined(usize),
}

/// Breaker state of one plugin.
#[derive(Debug)]
pub(crate) struct Breaker {
    policy: BreakerPolicy,
    state: BreakerState,
    /// Distinct events that failed since the last verdict; at most `policy.failures`.
    run: Vec<u64>,
    /// Distinct failed events as (time of first failure, sequence), oldest first; at most
    /// `policy.quarantine_failures` + 1.
    recent: VecDeque<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BreakerState {
    Closed,
    Open { until_ms: u64, wait_ms: u64 },
    Probing { wait_ms: u64 },
    Quarantined,
}

impl Breaker {
    pub(crate) fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: BreakerState::Closed, run: Vec::new(), recent: VecDeque::new() }
    }

    /// Applies to the next failure; the state is kept.
    pub(crate) fn change_policy(&mut self, policy: BreakerPolicy) {
        self.policy = policy;
    }

    /// Whether deliveries are admitted at `now_ms`.
    pub(crate) fn admission(&self, now_ms: u64) -> Admission {
        match self.state {
            BreakerState::Closed => Admission::Free,
            BreakerState::Open { until_ms, .. } if now_ms < until_ms => Admission::Until(until_ms),
            BreakerState::Open { .. } => Admission::Probe,
            BreakerState::Probing { .. } | BreakerState::Quarantined => Admission::Never,
        }
    }

    /// Begins a probe if one may; it has to be followed by [`Breaker::probed`].
    pub(crate) fn begin_probe(&mut self, now_ms: u64) -> bool {
        match self.state {
            BreakerState::Open { until_ms, wait_ms } if now_ms >= until_ms => {
                self.state = BreakerState::Probing { wait_ms };
                true
            }
            _ => false,
        }
    }

    /// Records the outcome of a delivery of event `sequence`.
    pub(crate) fn note(
        &mut self,
        sign: BreakerInput,
        sequence: u64,
        now_ms: u64,
    ) -> Option<Change> {
        match sign {
            BreakerInput::None => None,
            BreakerInput::Answered => self.answered(),
            BreakerInput::Failed => self.failed(sequence, now_ms),
        }
    }

    /// Ends a probe. Doubles the wait unless the probe changed the state.
    pub(crate) fn probed(&mut self, now_ms: u64) {
        if let BreakerState::Probing { wait_ms } = self.state {
            self.wait(wait_ms.saturating_mul(2), now_ms);
        }
    }

    /// Whether a verdict would change anything: failures are pending, or it isn't closed.
    pub(crate) fn is_troubled(&self) -> bool {
        !self.run.is_empty() || self.state != BreakerState::Closed
    }

    /// Whether only probes are admitted.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, BreakerState::Open { .. } | BreakerState::Probing { .. })
    }

    /// Restores a quarantine.
    pub(crate) fn quarantine(&mut self) {
        self.state = BreakerState::Quarantined;
    }

    /// Closes the breaker and forgets all failures.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.policy);
    }

    fn answered(&mut self) -> Option<Change> {
        self.run.clear();
        match self.state {
            BreakerState::Closed | BreakerState::Quarantined => None,
            BreakerState::Open { .. } | BreakerState::Probing { .. } => {
                self.state = BreakerState::Closed;
                Some(Change::Closed)
            }
        }
    }

    fn failed(&mut self, sequence: u64, now_ms: u64) -> Option<Change> {
        if self.state == BreakerState::Quarantined {
            return None;
        }
        let window_ms = millis(self.policy.quarantine_window);
        let is_old = |(first_ms, _): &(u64, u64)| now_ms.saturating_sub(*first_ms) >= window_ms;
        while self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
        if self.recent.iter().all(|(_, known)| *known != sequence) {
            self.recent.push_back((now_ms, sequence));
        }
        if self.recent.len() > size(self.policy.quarantine_failures) {
            self.state = BreakerState::Quarantined;
            return Some(Change::Quarantined(self.recent.len()));
        }
        if self.state != BreakerState::Closed {
            return None;
        }
        if !self.run.contains(&sequence) {
            self.run.push(sequence);
        }
        if self.run.len() < size(self.policy.failures) {
            return None;
        }
        self.wait(millis(self.policy.first_wait), now_ms);
        Some(Change::Opened)
    }

    fn wait(&mut self, wait_ms: u64, now_ms: u64) {
        let wait_ms = wait_ms.min(millis(self.policy.max_wait));
        self.state = BreakerState::Open { until_ms: now_ms.saturating_add(wait_ms), wait_ms };
    }
}

fn size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(BreakerPolicy::default())
    }

    /// Fails each of these events once.
    fn fail(breaker: &mut Breaker, events: std::ops::Range<u64>, now_ms: u64) -> Option<Change> {
        events.map(|event| breaker.note(BreakerInput::Failed, event, now_ms)).last().flatten()
    }

    /// Runs a probe with this outcome.
    fn probe(breaker: &mut Breaker, sign: BreakerInput, event: u64, now_ms: u64) -> Option<Change> {
        assert!(breaker.begin_probe(now_ms));
        let change = breaker.note(sign, event, now_ms);
        breaker.probed(now_ms);
        change
    }

    #[test]
    fn a_run_of_failures_opens_it_and_an_answered_probe_closes_it() {
        let mut breaker = breaker();
        assert_eq!(fail(&mut breaker, 1..5, 0), None);
        assert_eq!(breaker.admission(0), Admission::Free);
        assert_eq!(fail(&mut breaker, 5..6, 0), Some(Change::Opened));
        assert_eq!(breaker.admission(499), Admission::Until(500));
        assert!(!breaker.begin_probe(499));
        assert_eq!(breaker.admission(500), Admission::Probe);
        assert!(breaker.begin_probe(500));
        assert!(!breaker.begin_probe(500), "one probe at a time");
        assert_eq!(breaker.admission(500), Admission::Never);
        assert_eq!(breaker.note(BreakerInput::Answered, 6, 501), Some(Change::Closed));
        breaker.probed(501);
        assert_eq!(breaker.admission(501), Admission::Free);
        assert!(!breaker.is_troubled());
    }

    #[test]
    fn an_answer_in_between_begins_the_run_anew() {
        let mut breaker = breaker();
        for round in 0..3 {
            assert_eq!(fail(&mut breaker, round * 4..round * 4 + 4, round * 1_000), None);
            assert_eq!(breaker.note(BreakerInput::Answered, 100, round * 1_000), None);
        }
        assert_eq!(breaker.admission(3_000), Admission::Free);
    }

    #[test]
    fn waits_between_probes_double_up_to_the_longest() {
        let mut breaker = breaker();
        fail(&mut breaker, 1..6, 0);
        let mut now_ms = 0;
        for wait_ms in [500, 1_000, 2_000, 3_000, 3_000] {
            assert_eq!(breaker.admission(now_ms), Admission::Until(now_ms + wait_ms));
            now_ms += wait_ms;
            // An inconclusive probe must not shorten the wait.
            assert_eq!(probe(&mut breaker, BreakerInput::None, 9, now_ms), None);
        }
    }

    #[test]
    fn a_plugin_that_fails_at_everything_is_quarantined_within_the_window() {
        let mut breaker = breaker();
        fail(&mut breaker, 1..6, 0);
        let mut event = 6;
        let quarantined_ms = loop {
            let Admission::Until(now_ms) = breaker.admission(0) else { panic!("not open") };
            match probe(&mut breaker, BreakerInput::Failed, event, now_ms) {
                Some(Change::Quarantined(failures)) => {
                    assert_eq!(failures, 21);
                    break now_ms;
                }
                other => assert_eq!(other, None),
            }
            event += 1;
        };
        assert_eq!(quarantined_ms, 42_500);
        assert_eq!(breaker.admission(u64::MAX), Admission::Never);
        // Deliveries still in flight change nothing.
        assert_eq!(breaker.note(BreakerInput::Answered, 99, quarantined_ms), None);
        assert_eq!(breaker.admission(u64::MAX), Admission::Never);
        breaker.reset();
        assert_eq!(breaker.admission(quarantined_ms), Admission::Free);
    }

    #[test]
    fn one_event_that_fails_for_ever_opens_nothing() {
        let mut breaker = breaker();
        for now_ms in 0..1_000 {
            assert_eq!(breaker.note(BreakerInput::Failed, 7, now_ms * 1_000), None);
        }
        assert_eq!(breaker.admission(1_000_000), Admission::Free);
    }

    #[test]
    fn failures_beyond_the_window_no_longer_count() {
        let mut breaker = breaker();
        for event in 0..200 {
            // 20 within any 60 s, never two in a row.
            assert_eq!(breaker.note(BreakerInput::Failed, event, event * 3_000), None, "{event}");
            breaker.note(BreakerInput::Answered, 1_000, event * 3_000);
        }
        let policy = BreakerPolicy { quarantine_failures: 19, ..BreakerPolicy::default() };
        breaker.change_policy(policy);
        let change = breaker.note(BreakerInput::Failed, 200, 600_000);
        assert_eq!(change, Some(Change::Quarantined(20)));
    }

    #[test]
    fn what_was_under_way_when_it_opened_counts_for_the_quarantine_alone() {
        let mut breaker = breaker();
        assert_eq!(fail(&mut breaker, 1..6, 0), Some(Change::Opened));
        assert_eq!(fail(&mut breaker, 6..21, 1), None);
        assert_eq!(breaker.admission(1), Admission::Until(500));
        assert_eq!(fail(&mut breaker, 21..22, 2), Some(Change::Quarantined(21)));
    }

    #[test]
    fn a_failure_counts_as_long_as_the_window() {
        for (last_ms, is_quarantined) in [(59_999, true), (60_000, false), (60_001, false)] {
            let mut breaker = breaker();
            assert_eq!(breaker.note(BreakerInput::Failed, 1, 0), None);
            assert_eq!(fail(&mut breaker, 2..21, 1), None, "20 may fail within it");
            let change = breaker.note(BreakerInput::Failed, 21, last_ms);
            let expected = is_quarantined.then_some(Change::Quarantined(21));
            assert_eq!(change, expected, "{last_ms}");
        }
    }
}
