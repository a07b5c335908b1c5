//! CPU and wall time of guest calls.
//!
//! The ticker moves the engine's epoch every 10 ms from an OS thread of its own, which also does
//! what little is to be done regularly. A guest that sees
//! the epoch move stops at its next loop or call, is charged for the ticks it ran, and gives way to
//! other tasks. Ticks that pass while the guest waits (for a host call or for its turn) are not
//! charged: [`drive`] notes the tick at which the guest goes on.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, Sleep};
use wasmtime::{Engine, StoreContextMut, UpdateDeadline};

/// How often the epoch moves.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Moves the engine's epoch until dropped.
pub(crate) struct Ticker {
    ticks: Arc<AtomicU64>,
    /// Unix time in milliseconds, as of the last tick.
    unix_ms: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts the thread. It calls `then` after each tick; that must not block nor take long.
    pub(crate) fn start(
        engine: &Engine,
        mut then: impl FnMut() + Send + 'static,
    ) -> std::io::Result<Self> {
        let ticks = Arc::new(AtomicU64::new(0));
        let unix_ms = Arc::new(AtomicU64::new(unix_now_ms()));
        let stop = Arc::new(AtomicBool::new(false));
        let engine = engine.clone();
        let (thread_ticks, thread_stop) = (ticks.clone(), stop.clone());
        let thread_unix_ms = unix_ms.clone();
        let thread =
            std::thread::Builder::new().name("usher-ticker".to_owned()).spawn(move || {
                while !thread_stop.load(Ordering::Relaxed) {
                    std::thread::park_timeout(TICK);
                    // Count first: whoever sees the epoch move must see the count, too.
                    thread_ticks.fetch_add(1, Ordering::Release);
                    engine.increment_epoch();
                    thread_unix_ms.store(unix_now_ms(), Ordering::Relaxed);
                    then();
                }
            })?;
        Ok(Self { ticks, unix_ms, stop, thread: Some(thread) })
    }

    pub(crate) fn ticks(&self) -> &Arc<AtomicU64> {
        &self.ticks
    }

    /// Unix time in milliseconds, at most a tick old. Asking the system for each delivery would
    /// cost more than being so exact is worth.
    pub(crate) fn unix_ms(&self) -> u64 {
        self.unix_ms.load(Ordering::Relaxed)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn unix_now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The guest ran longer than it may.
#[derive(Debug, thiserror::Error)]
#[error("used up its CPU time of {cpu_ms} ms")]
pub(crate) struct CpuExceeded {
    cpu_ms: u64,
}

/// What one instance's guest has used in the call under way.
pub(crate) struct CpuMeter {
    clock: Arc<GuestClock>,
    used_ticks: u64,
    budget_ticks: u64,
}

/// The part of the meter that is reachable while the guest runs.
pub(crate) struct GuestClock {
    ticks: Arc<AtomicU64>,
    resumed_at: AtomicU64,
}

impl GuestClock {
    fn note_resumption(&self) {
        self.resumed_at.store(self.ticks.load(Ordering::Acquire), Ordering::Relaxed);
    }

    /// Does work for the guest that may take a while, without charging the guest for it.
    pub(crate) fn uncharged<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.ticks.load(Ordering::Acquire);
        let done = work();
        let passed = self.ticks.load(Ordering::Acquire).saturating_sub(before);
        self.resumed_at.fetch_add(passed, Ordering::Relaxed);
        done
    }
}

impl CpuMeter {
    pub(crate) fn new(ticks: &Arc<AtomicU64>) -> Self {
        let clock = GuestClock { ticks: ticks.clone(), resumed_at: AtomicU64::new(0) };
        Self { clock: Arc::new(clock), used_ticks: 0, budget_ticks: 0 }
    }

    /// Starts a call that may take this much CPU time.
    pub(crate) fn begin(&mut self, cpu_ms: u64) {
        self.used_ticks = 0;
        self.budget_ticks = cpu_ms.div_ceil(TICK.as_millis() as u64);
    }

    pub(crate) fn clock(&self) -> &Arc<GuestClock> {
        &self.clock
    }

    /// Charges the ticks since the guest went on, if any.
    fn charge(&mut self) -> Result<(), CpuExceeded> {
        let now = self.clock.ticks.load(Ordering::Acquire);
        let ran_ticks = now.saturating_sub(self.clock.resumed_at.load(Ordering::Relaxed));
        if ran_ticks == 0 {
            return Ok(());
        }
        self.used_ticks += ran_ticks;
        self.clock.resumed_at.store(now, Ordering::Relaxed);
        // The first tick was under way when the guest started: up to the budget is fine.
        if self.used_ticks > self.budget_ticks {
            let cpu_ms = self.budget_ticks * TICK.as_millis() as u64;
            return Err(CpuExceeded { cpu_ms });
        }
        Ok(())
    }
}

/// The callback for stores: what a guest does when it sees the epoch move. It gives way also where
/// it is charged nothing: one that does little but call the host would otherwise hold its thread,
/// and never be asked whether its deadline has passed.
pub(crate) fn on_tick<T>(
    mut store: StoreContextMut<'_, T>,
    meter: fn(&mut T) -> &mut CpuMeter,
) -> wasmtime::Result<UpdateDeadline> {
    meter(store.data_mut()).charge()?;
    Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
}

/// The wall deadline passed.
#[derive(Debug)]
pub(crate) struct WallExceeded;

/// Runs a guest call until it ends or the deadline passes. Arms a timer only for a call that does
/// not finish at once; most do.
pub(crate) async fn drive<F: Future>(
    clock: &GuestClock,
    deadline: Instant,
    call: F,
) -> Result<F::Output, WallExceeded> {
    let mut call = pin!(call);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    std::future::poll_fn(move |cx| {
        clock.note_resumption();
        if let Poll::Ready(output) = call.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        timer.as_mut().poll(cx).map(|()| Err(WallExceeded))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(ticks: &Arc<AtomicU64>, cpu_ms: u64) -> CpuMeter {
        let mut meter = CpuMeter::new(ticks);
        meter.begin(cpu_ms);
        meter.clock.note_resumption();
        meter
    }

    #[test]
    fn ticks_that_ran_are_charged() {
        let ticks = Arc::new(AtomicU64::new(7));
        let mut meter = meter(&ticks, 20);
        assert!(meter.charge().is_ok());
        for _ in 0..2 {
            ticks.fetch_add(1, Ordering::Relaxed);
            assert!(meter.charge().is_ok());
        }
        ticks.fetch_add(1, Ordering::Relaxed);
        let exceeded = meter.charge().unwrap_err();
        assert_eq!(exceeded.to_string(), "used up its CPU time of 20 ms");
    }

    #[test]
    fn ticks_that_pass_during_work_for_the_guest_are_not_charged() {
        let ticks = Arc::new(AtomicU64::new(0));
        let mut meter = meter(&ticks, 20);
        let pass = |count: u64| ticks.fetch_add(count, Ordering::Relaxed);
        for used_ticks in 0..2 {
            meter.clock.uncharged(|| pass(50));
            assert!(meter.charge().is_ok());
            assert_eq!(meter.used_ticks, used_ticks);
            pass(1);
            assert!(meter.charge().is_ok());
        }
        pass(1);
        assert!(meter.charge().is_err());
    }

    #[test]
    fn ticks_spent_waiting_are_not_charged() {
        let ticks = Arc::new(AtomicU64::new(0));
        let mut meter = meter(&ticks, 20);
        for _ in 0..100 {
            ticks.fetch_add(50, Ordering::Relaxed);
            meter.clock.note_resumption();
            assert!(meter.charge().is_ok());
        }
        assert_eq!(meter.used_ticks, 0);
    }

    #[test]
    fn a_guest_gives_way_at_every_tick_until_its_budget_is_used_up() {
        let ticks = Arc::new(AtomicU64::new(0));
        let clock_ticks = ticks.clone();
        let mut store = wasmtime::Store::new(&Engine::default(), meter(&ticks, 20));
        let mut tick = |charged: u64, uncharged: u64| {
            let clock = store.data().clock.clone();
            clock.uncharged(|| clock_ticks.fetch_add(uncharged, Ordering::Relaxed));
            clock_ticks.fetch_add(charged, Ordering::Relaxed);
            on_tick(wasmtime::AsContextMut::as_context_mut(&mut store), |meter| meter)
        };
        for (charged, uncharged) in [(0, 0), (0, 1), (1, 0), (0, 50), (1, 1)] {
            let done = tick(charged, uncharged).unwrap();
            assert!(matches!(done, UpdateDeadline::YieldCustom(1, _)), "{charged}, {uncharged}");
        }
        assert!(tick(1, 0).is_err());
    }
}
