//! The guest's clocks (wasi:clocks): the host's, coarse, or readings given beforehand. Every reading
//! of a delivery can be recorded, so that the delivery can be run again with the same ones.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use usher_event::{ClockReadings, Delivery, Given, GivenClock, millis};
use wasmtime::component::Linker;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use crate::capability::{About, Capability, Grants, Has};
use crate::meter::GuestClock;
use crate::plugin::Plugin;

/// Resolution of the guest's clocks: too coarse for timing attacks on other plugins.
const STEP: Duration = Duration::from_millis(1);

/// Monotonic time at which an instance is created. Not zero: Go's runtime treats zero as a missing
/// clock and aborts.
const MONOTONIC_START: Duration = Duration::from_secs(1);

/// Runs of equal readings kept in a recording. A delivery that reads the clock for longer has a
/// recording that stands still from there on.
const RUNS_MAX: usize = 10_000;

/// Where readings come from.
pub(crate) enum Source {
    /// The host's clocks.
    Host,
    /// Given ones; each delivery begins with the first.
    Given(GivenClock),
}

/// What a plugin's clocks share.
pub(crate) struct Shared {
    source: Source,
    is_recorded: bool,
}

/// One instance's clocks. Cheap to clone: WASI's two clocks share it.
#[derive(Clone)]
pub(crate) struct Clocks {
    shared: Arc<Shared>,
    created: Instant,
    /// Of the current delivery.
    readings: Arc<Mutex<Readings>>,
}

#[derive(Default)]
struct Readings {
    recorded: ClockReadings,
    /// How many readings were given; up to a recording's last run.
    given: u64,
}

impl Capability for Clocks {
    const ABOUT: &'static [About] = &[About {
        name: None,
        interfaces: &["wasi:clocks/"],
        ability: "reads clocks",
        is_flag: false,
    }];

    type Service = Source;
    type Shared = Shared;

    fn share(plugin: &Arc<Plugin>, _: &Grants, source: Source) -> Shared {
        Shared { source, is_recorded: plugin.is_recorded() }
    }

    fn new(shared: &Arc<Shared>, _: &Arc<GuestClock>) -> Self {
        Self { shared: shared.clone(), created: Instant::now(), readings: Arc::default() }
    }

    /// WASI links them.
    fn link<T: Has<Self> + Send + 'static>(_: &mut Linker<T>) -> wasmtime::Result<()> {
        Ok(())
    }

    fn begin(&mut self, _: &Delivery) {
        if self.shared.is_recorded {
            let readings = &mut *self.lock();
            readings.recorded.runs.clear();
            readings.given = 0;
        }
    }

    fn record(&mut self, given: &mut Given) {
        let readings = self.lock();
        if !readings.recorded.runs.is_empty() {
            given.clock = Some(GivenClock::Readings(readings.recorded.clone()));
        }
    }
}

/// A reading of both clocks.
#[derive(Clone, Copy)]
struct Reading {
    wall: Duration,
    monotonic: Duration,
}

impl Clocks {
    fn lock(&self) -> MutexGuard<'_, Readings> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Reading {
        match &self.shared.source {
            Source::Host => {
                let now = Reading {
                    wall: whole_steps(
                        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
                    ),
                    monotonic: MONOTONIC_START + whole_steps(self.created.elapsed()),
                };
                if self.shared.is_recorded {
                    self.lock().note(now);
                }
                now
            }
            Source::Given(clock) => {
                let readings = &mut *self.lock();
                let now = given(clock, readings.given);
                readings.given = readings.given.saturating_add(1);
                readings.note(now);
                now
            }
        }
    }
}

impl Readings {
    fn note(&mut self, now: Reading) {
        let ClockReadings { wall_ms, monotonic_ms, runs } = &mut self.recorded;
        if runs.is_empty() {
            (*wall_ms, *monotonic_ms) = (millis(now.wall), millis(now.monotonic));
        }
        // One offset for both: whoever sets the host's clock meanwhile is left out.
        let offset_ms = millis(now.monotonic).saturating_sub(*monotonic_ms);
        let is_full = runs.len() >= RUNS_MAX;
        match runs.last_mut() {
            Some((count, last_ms)) if *last_ms == offset_ms => *count = count.saturating_add(1),
            _ if is_full => {}
            _ => runs.push((1, offset_ms)),
        }
    }
}

/// The reading that comes after so many.
fn given(clock: &GivenClock, before: u64) -> Reading {
    let (wall_ms, monotonic_ms, offset_ms) = match clock {
        GivenClock::Begin(begin) => (begin.time_ms, millis(MONOTONIC_START), before),
        GivenClock::Readings(ClockReadings { wall_ms, monotonic_ms, runs }) => {
            let mut left = before;
            let run = runs.iter().find(|(count, _)| match left.checked_sub(u64::from(*count)) {
                Some(rest) => {
                    left = rest;
                    false
                }
                None => true,
            });
            let offset_ms = run.or(runs.last()).map_or(0, |(_, offset_ms)| *offset_ms);
            (*wall_ms, *monotonic_ms, offset_ms)
        }
    };
    let at = |start_ms: u64| Duration::from_millis(start_ms.saturating_add(offset_ms));
    Reading { wall: at(wall_ms), monotonic: at(monotonic_ms) }
}

fn whole_steps(time: Duration) -> Duration {
    let rest = time.as_nanos() % STEP.as_nanos();
    time.saturating_sub(Duration::from_nanos(u64::try_from(rest).unwrap_or_default()))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl HostWallClock for Clocks {
    fn resolution(&self) -> Duration {
        STEP
    }

    fn now(&self) -> Duration {
        self.read().wall
    }
}

impl HostMonotonicClock for Clocks {
    fn resolution(&self) -> u64 {
        nanos(STEP)
    }

    fn now(&self) -> u64 {
        nanos(self.read().monotonic)
    }
}

#[cfg(test)]
mod tests {
    use usher_event::Begin;

    use super::*;
    use crate::testing::{clock, delivery, plugin};

    fn clocks(source: Source) -> Clocks {
        let shared = Arc::new(Clocks::share(&plugin(), &Grants::default(), source));
        Clocks::new(&shared, &clock())
    }

    fn wall_ms(clocks: &Clocks) -> u64 {
        millis(HostWallClock::now(clocks))
    }

    fn monotonic_ms(clocks: &Clocks) -> u64 {
        HostMonotonicClock::now(clocks) / 1_000_000
    }

    #[test]
    fn clocks_move_in_steps_of_a_millisecond() {
        for (given, shown) in [
            (0, 0),
            (999_999, 0),
            (1_000_000, 1_000_000),
            (1_000_001, 1_000_000),
            (1_769_860_800_007_999_999, 1_769_860_800_007_000_000),
        ] {
            assert_eq!(nanos(whole_steps(Duration::from_nanos(given))), shown);
        }
        let clocks = clocks(Source::Host);
        assert_eq!(HostWallClock::resolution(&clocks), STEP);
        assert_eq!(HostMonotonicClock::resolution(&clocks), 1_000_000);
        assert_eq!(HostWallClock::now(&clocks).subsec_nanos() % 1_000_000, 0);
        assert!(HostMonotonicClock::now(&clocks) >= nanos(MONOTONIC_START));
    }

    #[test]
    fn a_given_time_moves_on_with_each_reading_and_begins_anew_with_each_delivery() {
        let mut clocks = clocks(Source::Given(GivenClock::Begin(Begin { time_ms: 5_000 })));
        for _ in 0..2 {
            clocks.begin(&delivery());
            assert_eq!(
                (wall_ms(&clocks), monotonic_ms(&clocks), wall_ms(&clocks)),
                (5_000, 1_001, 5_002)
            );
        }
    }

    #[test]
    fn what_was_recorded_is_read_again() {
        let runs = vec![(2, 0), (1, 7), (3, 9)];
        let readings = ClockReadings { wall_ms: 5_000, monotonic_ms: 60_000, runs };
        let mut clocks = clocks(Source::Given(GivenClock::Readings(readings.clone())));
        for _ in 0..2 {
            clocks.begin(&delivery());
            let read = [
                wall_ms(&clocks),
                monotonic_ms(&clocks),
                wall_ms(&clocks),
                wall_ms(&clocks),
                monotonic_ms(&clocks),
                wall_ms(&clocks),
            ];
            assert_eq!(read, [5_000, 60_000, 5_007, 5_009, 60_009, 5_009]);
            let mut given = Given::default();
            clocks.record(&mut given);
            assert_eq!(given.clock, Some(GivenClock::Readings(readings.clone())));
            assert_eq!(wall_ms(&clocks), 5_009, "and stands still from there");
        }
    }

    #[test]
    fn the_hosts_readings_are_recorded() {
        let mut clocks = clocks(Source::Host);
        clocks.begin(&delivery());
        let mut given = Given::default();
        clocks.record(&mut given);
        assert_eq!(given.clock, None, "nothing was read");
        let (first_ms, second_ms) = (wall_ms(&clocks), monotonic_ms(&clocks));
        clocks.record(&mut given);
        let Some(GivenClock::Readings(readings)) = given.clock else { panic!("no readings") };
        assert_eq!(readings.wall_ms, first_ms);
        let last_ms = readings.runs.last().unwrap().1;
        assert_eq!(readings.monotonic_ms + last_ms, second_ms);
    }
}
