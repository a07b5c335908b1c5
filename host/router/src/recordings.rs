//! What the newest deliveries were told that failed, or that asked other servers: in memory, by plugin.
//! A dead letter keeps that of its last attempt; of everything else these are what there is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use usher_broker::Disposition;
use usher_event::{Delivery, Digest, Failure, Listener, PluginName, SubscriptionName};

use crate::verdict::verdict_of;

/// Limit on the recordings of one plugin; those of deliveries that succeeded go first, but for half of
/// them.
const PLUGIN_MAX: usize = 64;
const PLUGIN_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Limit on all of them together; the plugin that has most gives way.
const ALL_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Counted for each besides its bytes.
const RECORDED_BYTES: usize = 512;

/// A delivery that was recorded.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its number among all recordings since the router started, from 1.
    pub number: u64,
    /// When it ended, Unix milliseconds.
    pub time_ms: u64,
    /// Position of the event in the log.
    pub sequence: u64,
    /// The subscription.
    pub subscription: SubscriptionName,
    /// Number of the attempt.
    pub attempt: u32,
    /// The component.
    pub digest: Digest,
    /// Its version.
    pub version: String,
    /// `ack`, `retry` or `reject`.
    pub verdict: &'static str,
    /// Why it failed, if it did; without the recording.
    pub failure: Option<Failure>,
    /// A [`Recording`](usher_event::Recording) as JSON.
    pub recording: Bytes,
}

/// The newest recordings of all plugins.
#[derive(Debug, Default)]
pub struct Recordings(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    newest: u64,
    plugins: BTreeMap<PluginName, Own>,
    bytes: usize,
}

/// Those of one plugin, oldest first.
#[derive(Debug, Default)]
struct Own {
    recorded: VecDeque<Recorded>,
    bytes: usize,
}

impl Recordings {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of a plugin, newest first.
    pub fn of(&self, plugin: &PluginName) -> Vec<Recorded> {
        let kept = self.lock();
        kept.plugins
            .get(plugin)
            .into_iter()
            .flat_map(|own| own.recorded.iter().rev())
            .cloned()
            .collect()
    }

    /// One of a plugin, if it is still kept.
    pub fn get(&self, plugin: &PluginName, number: u64) -> Option<Recorded> {
        let kept = self.lock();
        kept.plugins.get(plugin)?.recorded.iter().find(|one| one.number == number).cloned()
    }

    pub(crate) fn add(&self, plugin: &PluginName, recorded: Recorded) {
        let bytes = recorded.bytes();
        if bytes > PLUGIN_MAX_BYTES {
            return;
        }
        let kept = &mut *self.lock();
        kept.newest += 1;
        let own = kept.plugins.entry(plugin.clone()).or_default();
        own.bytes += bytes;
        kept.bytes += bytes;
        own.recorded.push_back(Recorded { number: kept.newest, ..recorded });
        while own.recorded.len() > PLUGIN_MAX || own.bytes > PLUGIN_MAX_BYTES {
            kept.bytes -= own.drop_one();
        }
        while kept.bytes > ALL_MAX_BYTES
            && let Some(largest) = kept.plugins.values_mut().max_by_key(|own| own.bytes)
        {
            kept.bytes -= largest.drop_one();
        }
        kept.plugins.retain(|_, own| !own.recorded.is_empty());
    }
}

impl Own {
    /// Drops the oldest that succeeded, unless more failed; then the oldest of these. Returns its bytes.
    fn drop_one(&mut self) -> usize {
        let failed = self.recorded.iter().filter(|one| one.failure.is_some()).count();
        let of_failed = failed > PLUGIN_MAX / 2;
        let oldest = self.recorded.iter().position(|one| one.failure.is_some() == of_failed);
        let dropped = self.recorded.remove(oldest.unwrap_or_default());
        let bytes = dropped.map_or(0, |one| one.bytes());
        self.bytes -= bytes;
        bytes
    }
}

impl Recorded {
    pub(crate) fn new(
        delivery: &Delivery,
        by: &dyn Listener,
        disposition: &Disposition,
        recording: Bytes,
        time_ms: u64,
    ) -> Self {
        let (verdict, failure) = verdict_of(disposition);
        Self {
            number: 0,
            time_ms,
            sequence: delivery.sequence,
            subscription: delivery.subscription.clone(),
            attempt: delivery.attempt,
            digest: by.digest(),
            version: by.version().to_owned(),
            verdict,
            failure: failure.map(|failure| Failure { recording: None, ..failure.clone() }),
            recording,
        }
    }

    fn bytes(&self) -> usize {
        let words = self.failure.as_ref().map_or(0, |failure| {
            failure.reason.len() + failure.backtrace.as_ref().map_or(0, String::len)
        });
        RECORDED_BYTES + words + self.recording.len()
    }
}

#[cfg(test)]
mod tests {
    use usher_event::FailureClass;

    use super::*;

    fn recorded(sequence: u64, failed: bool, bytes: usize) -> Recorded {
        Recorded {
            number: 0,
            time_ms: 7,
            sequence,
            subscription: "printer/tickets".parse().unwrap(),
            attempt: 1,
            digest: Digest::of(b""),
            version: "1.0.0".to_owned(),
            verdict: if failed { "retry" } else { "ack" },
            failure: failed.then(|| Failure::new(FailureClass::Trap, "")),
            recording: vec![b'x'; bytes].into(),
        }
    }

    #[test]
    fn failures_are_kept_longest() {
        let (recordings, printer) = (Recordings::default(), "printer".parse().unwrap());
        recordings.add(&printer, recorded(1, true, 10));
        for sequence in 2..200 {
            recordings.add(&printer, recorded(sequence, false, 10));
        }
        recordings.add(&printer, recorded(200, true, 10));
        let of = recordings.of(&printer);
        assert_eq!(of.len(), PLUGIN_MAX);
        let sequences: Vec<_> = of.iter().map(|one| one.sequence).collect();
        assert_eq!((sequences[0], sequences[1], *sequences.last().unwrap()), (200, 199, 1));
        assert_eq!(recordings.get(&printer, 1).unwrap().sequence, 1);
        assert!(recordings.get(&printer, 2).is_none());
        assert!(recordings.get(&"mailer".parse().unwrap(), 1).is_none());
    }

    #[test]
    fn failures_leave_room_for_others() {
        let (recordings, printer) = (Recordings::default(), "printer".parse().unwrap());
        for sequence in 0..100 {
            recordings.add(&printer, recorded(sequence, true, 10));
        }
        for sequence in 100..200 {
            recordings.add(&printer, recorded(sequence, false, 10));
        }
        let of = recordings.of(&printer);
        let failed = of.iter().filter(|one| one.failure.is_some()).count();
        assert_eq!((of.len(), failed), (PLUGIN_MAX, PLUGIN_MAX / 2));
        assert_eq!(of[PLUGIN_MAX - 1].sequence, 68, "the newest failures");
    }

    #[test]
    fn bytes_are_bounded_for_each_and_in_sum() {
        let recordings = Recordings::default();
        let name = |number: usize| format!("p-{number}").parse::<PluginName>().unwrap();
        let half = PLUGIN_MAX_BYTES / 2 - RECORDED_BYTES;
        for plugin in 0..2 * ALL_MAX_BYTES / PLUGIN_MAX_BYTES {
            for sequence in 0..3 {
                recordings.add(&name(plugin), recorded(sequence, true, half));
            }
            assert!(recordings.of(&name(plugin)).len() <= 2);
        }
        let kept = recordings.lock();
        assert!(kept.bytes <= ALL_MAX_BYTES);
        let sum: usize =
            kept.plugins.values().flat_map(|own| &own.recorded).map(Recorded::bytes).sum();
        assert_eq!(kept.bytes, sum);
        assert_eq!(kept.plugins.values().map(|own| own.bytes).sum::<usize>(), sum);
        drop(kept);
        let last = name(2 * ALL_MAX_BYTES / PLUGIN_MAX_BYTES - 1);
        let before = recordings.of(&last).len();
        recordings.add(&last, recorded(9, true, PLUGIN_MAX_BYTES));
        assert!(before > 0);
        assert_eq!(recordings.of(&last).len(), before, "it alone is too large");
    }
}
