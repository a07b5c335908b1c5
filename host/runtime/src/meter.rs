//! CPU and wall time of guest calls.
//!
//! The ticker, a dedicated OS thread, increments the engine's epoch every 5 ms and runs small
//! periodic work. When the epoch changes, a running guest stops at its next loop or call, is
//! charged for the time it ran, and yields until it gets a turn (see [`LongCallScheduler`]). Before its first
//! turn it is charged in ticks, which cost nothing to count; after that by its thread's CPU time,
//! which excludes time used by other threads. Waiting (for a host call or a turn) is not charged:
//! [`drive`] records when the guest resumes.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use wasmtime::{Engine, StoreContextMut, UpdateDeadline};

use crate::scheduler::{CpuPermit, LongCallScheduler};

/// Interval between epoch increments.
pub(crate) const TICK: Duration = Duration::from_millis(5);
const TICK_US: u64 = TICK.as_micros() as u64;

/// Increments the engine's epoch until dropped.
pub(crate) struct Ticker {
    ticks: Arc<AtomicU64>,
    /// Unix time in milliseconds, as of the last tick.
    unix_ms: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Spawns the thread. It calls `then` after each tick, which must be short and not block.
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
                    // Count first: a guest that sees the new epoch must also see the new count.
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

    /// Unix time in milliseconds, at most one tick old. Saves a clock read per delivery.
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

/// The guest exceeded its CPU budget.
#[derive(Debug, thiserror::Error)]
#[error("used up its CPU time of {cpu_ms} ms")]
pub(crate) struct CpuExceeded {
    cpu_ms: u64,
}

/// CPU use of one instance in its current call.
pub(crate) struct CpuMeter {
    clock: Arc<GuestClock>,
    used_us: u64,
    budget_us: u64,
}

/// The part of the meter that is reachable while the guest runs.
pub(crate) struct GuestClock {
    ticks: Arc<AtomicU64>,
    /// Tick at which the guest last resumed.
    resumed_at: AtomicU64,
    /// Its thread's CPU time at that point; [`NO_TURN`] if it is charged in ticks.
    resumed_cpu_us: AtomicU64,
    /// Whether the guest stopped because of the epoch rather than a host call.
    yielded_on_epoch: AtomicBool,
    /// Whether others had the processor, or the host worked for it, for most of the tick after which
    /// it stopped.
    was_preempted: AtomicBool,
    turns: Arc<LongCallScheduler>,
    /// Whether the plugin's last call ran for a tick. The next one probably does too, so it waits
    /// for a turn before it starts.
    is_long: Arc<AtomicBool>,
    thread_cpu_us: fn() -> u64,
}

/// Value of `resumed_cpu_us` while the guest runs without a turn.
const NO_TURN: u64 = u64::MAX;

fn thread_cpu_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default() / 1_000
}

impl GuestClock {
    fn note_resumption(&self, has_turn: bool) {
        self.resumed_at.store(self.ticks.load(Ordering::Acquire), Ordering::Relaxed);
        let cpu_us = if has_turn { (self.thread_cpu_us)() } else { NO_TURN };
        self.resumed_cpu_us.store(cpu_us, Ordering::Relaxed);
    }

    /// Time the guest has run since it resumed or was last charged.
    fn ran_us(&self) -> u64 {
        match self.resumed_cpu_us.load(Ordering::Relaxed) {
            NO_TURN => {
                let now = self.ticks.load(Ordering::Acquire);
                now.saturating_sub(self.resumed_at.load(Ordering::Relaxed)) * TICK_US
            }
            before_us => (self.thread_cpu_us)().saturating_sub(before_us),
        }
    }

    /// Excludes `ran_us` from the next [`ran_us`](Self::ran_us).
    fn deduct(&self, ran_us: u64) {
        match self.resumed_cpu_us.load(Ordering::Relaxed) {
            NO_TURN => self.resumed_at.fetch_add(ran_us / TICK_US, Ordering::Relaxed),
            _ => self.resumed_cpu_us.fetch_add(ran_us, Ordering::Relaxed),
        };
    }

    /// Runs host work without charging its time to the guest.
    pub(crate) fn uncharged<T>(&self, work: impl FnOnce() -> T) -> T {
        let before_us = self.ran_us();
        let done = work();
        self.deduct(self.ran_us().saturating_sub(before_us));
        done
    }
}

impl CpuMeter {
    pub(crate) fn new(
        ticks: &Arc<AtomicU64>,
        turns: &Arc<LongCallScheduler>,
        is_long: &Arc<AtomicBool>,
    ) -> Self {
        let clock = GuestClock {
            ticks: ticks.clone(),
            resumed_at: AtomicU64::new(0),
            resumed_cpu_us: AtomicU64::new(NO_TURN),
            yielded_on_epoch: AtomicBool::new(false),
            was_preempted: AtomicBool::new(false),
            turns: turns.clone(),
            is_long: is_long.clone(),
            thread_cpu_us,
        };
        Self { clock: Arc::new(clock), used_us: 0, budget_us: 0 }
    }

    /// Resets the meter for a call with this CPU budget.
    pub(crate) fn begin(&mut self, cpu_ms: u64) {
        self.used_us = 0;
        self.budget_us = cpu_ms.saturating_mul(1_000);
    }

    /// CPU time of the current call, as far as it has been charged.
    pub(crate) fn used_ms(&self) -> u64 {
        self.used_us / 1_000
    }

    pub(crate) fn clock(&self) -> &Arc<GuestClock> {
        &self.clock
    }

    /// Charges the time since the guest resumed or was last charged, and returns it.
    fn charge(&mut self) -> Result<u64, CpuExceeded> {
        let ran_us = self.clock.ran_us();
        self.clock.deduct(ran_us);
        self.used_us += ran_us;
        // The first tick had partly elapsed when the guest started: reaching the budget is fine.
        if self.used_us > self.budget_us {
            return Err(CpuExceeded { cpu_ms: self.budget_us / 1_000 });
        }
        Ok(ran_us)
    }
}

/// Epoch deadline callback of a store: charges the guest and yields. Yields even if nothing was
/// charged: a guest that mostly calls the host would otherwise hold its thread, and its wall
/// deadline would never be checked.
pub(crate) fn on_tick<T>(
    mut store: StoreContextMut<'_, T>,
    meter: fn(&mut T) -> &mut CpuMeter,
) -> wasmtime::Result<UpdateDeadline> {
    let meter = meter(store.data_mut());
    let ran_us = meter.charge()?;
    meter.clock.was_preempted.store(ran_us < TICK_US / 2, Ordering::Relaxed);
    meter.clock.yielded_on_epoch.store(true, Ordering::Relaxed);
    // Registers no waker: `drive` polls the call again once the guest has a turn.
    Ok(UpdateDeadline::YieldCustom(1, Box::pin(pend_once())))
}

/// The wall deadline passed.
#[derive(Debug)]
pub(crate) struct WallExceeded;

/// Runs a guest call until it ends or the deadline passes.
pub(crate) async fn drive<F>(
    clock: &GuestClock,
    deadline: Instant,
    call: F,
) -> Result<F::Output, WallExceeded>
where
    F: Future<Output: Send> + Send,
{
    let mut call = pin!(call);
    clock.yielded_on_epoch.store(false, Ordering::Relaxed);
    if clock.is_long.load(Ordering::Relaxed) {
        return drive_on(clock, deadline, call, false).await;
    }
    match step(clock, call.as_mut(), None).await {
        // Most calls never wait, and need no timer.
        Poll::Ready(output) => Ok(output),
        Poll::Pending => drive_on(clock, deadline, call, true).await,
    }
}

/// Slow path of [`drive`]: a call that is pending, or one that is expected to be long and so needs
/// a turn before it begins.
async fn drive_on<F>(
    clock: &GuestClock,
    deadline: Instant,
    mut call: Pin<&mut F>,
    mut has_begun: bool,
) -> Result<F::Output, WallExceeded>
where
    F: Future<Output: Send> + Send,
{
    let mut is_over = pin!(sleep_until(deadline));
    // Once long, a guest stays long until the call ends: it must not bypass the queue by waiting
    // for something now and then.
    let mut is_long = !has_begun;
    let mut took_long = false;
    loop {
        let yielded_on_epoch = clock.yielded_on_epoch.swap(false, Ordering::Relaxed);
        // On a busy machine a short call may lose its thread for a tick, and on the threads of turns,
        // which yield to all others, most likely again: the calls after it would never get away.
        took_long |= yielded_on_epoch && !clock.was_preempted.load(Ordering::Relaxed);
        is_long |= yielded_on_epoch;
        let may_go_on = async {
            if yielded_on_epoch {
                // Yield the whole task, for example so that it can be cancelled.
                yield_now().await;
            } else if has_begun {
                pend_once().await;
            }
            if is_long { Some(clock.turns.next().await) } else { None }
        };
        let turn = tokio::select! {
            biased;
            () = &mut is_over => return Err(WallExceeded),
            turn = may_go_on => turn,
        };
        has_begun = true;
        if let Poll::Ready(output) = step(clock, call.as_mut(), turn.as_ref()).await {
            clock.is_long.store(took_long, Ordering::Relaxed);
            return Ok(output);
        }
    }
}

/// Polls the guest once: it runs until it ends, waits or yields.
async fn step<F>(
    clock: &GuestClock,
    mut call: Pin<&mut F>,
    turn: Option<&CpuPermit<'_>>,
) -> Poll<F::Output>
where
    F: Future<Output: Send> + Send,
{
    poll_fn(|context| {
        let call = call.as_mut();
        let run = |context: &mut Context<'_>| {
            clock.note_resumption(turn.is_some());
            call.poll(context)
        };
        Poll::Ready(match turn {
            Some(turn) => turn.poll(context, run),
            None => run(context),
        })
    })
    .await
}

/// Pending once, without registering a waker: ready at the next poll of the enclosing future.
async fn pend_once() {
    let mut is_again = false;
    poll_fn(|_| match std::mem::replace(&mut is_again, true) {
        false => Poll::Pending,
        true => Poll::Ready(()),
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_TICKS_MS: u64 = 2 * TICK.as_millis() as u64;

    fn meter(ticks: &Arc<AtomicU64>, cpu_ms: u64) -> CpuMeter {
        let mut meter =
            CpuMeter::new(ticks, &Arc::new(LongCallScheduler::for_this_machine()), &Arc::default());
        meter.begin(cpu_ms);
        meter.clock.note_resumption(false);
        meter
    }

    #[test]
    fn ticks_that_ran_are_charged() {
        // As many ticks as the limit has are fine, whether they are charged singly or together.
        for (cpu_ms, step) in [(20, 1), (250, 1), (250, 24), (crate::limits::DESCRIBE_CPU_MS, 1)] {
            let ticks = Arc::new(AtomicU64::new(7));
            let mut meter = meter(&ticks, cpu_ms);
            assert!(meter.charge().is_ok());
            let limit = cpu_ms / TICK.as_millis() as u64;
            let mut used = 0;
            while used < limit {
                let more = step.min(limit - used);
                ticks.fetch_add(more, Ordering::Relaxed);
                used += more;
                assert!(meter.charge().is_ok(), "{used} of {limit} ticks");
            }
            ticks.fetch_add(1, Ordering::Relaxed);
            let exceeded = meter.charge().unwrap_err();
            assert_eq!(exceeded.to_string(), format!("used up its CPU time of {cpu_ms} ms"));
        }
    }

    #[test]
    fn ticks_that_pass_during_work_for_the_guest_are_not_charged() {
        let ticks = Arc::new(AtomicU64::new(0));
        let mut meter = meter(&ticks, TWO_TICKS_MS);
        let pass = |count: u64| ticks.fetch_add(count, Ordering::Relaxed);
        for used_ticks in 0..2 {
            meter.clock.uncharged(|| pass(50));
            assert!(meter.charge().is_ok());
            assert_eq!(meter.used_us, used_ticks * TICK_US);
            pass(1);
            assert!(meter.charge().is_ok());
        }
        pass(1);
        assert!(meter.charge().is_err());
    }

    #[test]
    fn ticks_spent_waiting_are_not_charged() {
        let ticks = Arc::new(AtomicU64::new(0));
        let mut meter = meter(&ticks, TWO_TICKS_MS);
        for _ in 0..100 {
            ticks.fetch_add(50, Ordering::Relaxed);
            meter.clock.note_resumption(false);
            assert!(meter.charge().is_ok());
        }
        assert_eq!(meter.used_us, 0);
    }

    #[test]
    fn a_guest_with_a_turn_is_charged_for_the_processor_it_had() {
        thread_local! {
            static CPU_US: std::cell::Cell<u64> = const { std::cell::Cell::new(7) };
        }
        let ticks = Arc::new(AtomicU64::new(0));
        let turns = Arc::new(LongCallScheduler::new(1));
        let mut meter = CpuMeter::new(&ticks, &turns, &Arc::default());
        let clock = Arc::get_mut(&mut meter.clock).unwrap();
        clock.thread_cpu_us = || CPU_US.get();
        meter.begin(10);
        let run = |us: u64| CPU_US.set(CPU_US.get() + us);
        meter.clock.note_resumption(true);
        // Ticks pass while others have the processor.
        ticks.fetch_add(1_000, Ordering::Relaxed);
        run(9_000);
        meter.clock.uncharged(|| run(500_000));
        assert!(meter.charge().is_ok());
        meter.clock.note_resumption(true);
        for _ in 0..2 {
            run(500);
            assert!(meter.charge().is_ok(), "{} us", meter.used_us);
        }
        run(1);
        assert!(meter.charge().is_err());
    }

    #[test]
    fn a_guest_gives_way_at_every_tick_until_its_budget_is_used_up() {
        let ticks = Arc::new(AtomicU64::new(0));
        let clock_ticks = ticks.clone();
        let mut store = wasmtime::Store::new(&Engine::default(), meter(&ticks, TWO_TICKS_MS));
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

    /// A call that yields `times` times, then ends.
    fn long(clock: &GuestClock, times: u32) -> impl Future<Output = u32> {
        let mut yielded_on_epoch = 0;
        poll_fn(move |_| {
            if yielded_on_epoch == times {
                return Poll::Ready(yielded_on_epoch);
            }
            yielded_on_epoch += 1;
            clock.yielded_on_epoch.store(true, Ordering::Relaxed);
            Poll::Pending
        })
    }

    fn polled<F: Future>(call: Pin<&mut F>) -> Poll<F::Output> {
        call.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_call_goes_on_only_in_its_turn_and_a_short_one_always() {
        let ticks = Arc::new(AtomicU64::new(0));
        let turns = Arc::new(LongCallScheduler::new(1));
        let meter = CpuMeter::new(&ticks, &turns, &Arc::default());
        let clock = meter.clock();
        let deadline = Instant::now() + Duration::from_secs(1);
        let others = turns.next().await;
        assert_eq!(drive(clock, deadline, long(clock, 0)).await.unwrap(), 0);
        let mut call = pin!(drive(clock, deadline, long(clock, 1)));
        for _ in 0..3 {
            assert!(polled(call.as_mut()).is_pending(), "it is not its turn");
        }
        drop(others);
        assert_eq!(call.await.unwrap(), 1);
        assert!(polled(pin!(turns.next())).is_ready(), "its turn is over");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_long_call_the_next_begins_with_a_turn_until_one_is_short() {
        let ticks = Arc::new(AtomicU64::new(0));
        let turns = Arc::new(LongCallScheduler::new(1));
        let meter = CpuMeter::new(&ticks, &turns, &Arc::default());
        let clock = meter.clock();
        let deadline = Instant::now() + Duration::from_secs(1);
        assert_eq!(drive(clock, deadline, long(clock, 3)).await.unwrap(), 3);

        let others = turns.next().await;
        let mut call = pin!(drive(clock, deadline, long(clock, 0)));
        assert!(polled(call.as_mut()).is_pending(), "it is not its turn");
        drop(others);
        assert_eq!(call.await.unwrap(), 0);

        let _others = turns.next().await;
        assert_eq!(drive(clock, deadline, long(clock, 0)).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_lost_its_thread_for_a_tick_does_not_make_the_next_one_wait() {
        let turns = Arc::new(LongCallScheduler::new(1));
        let meter = CpuMeter::new(&Arc::default(), &turns, &Arc::default());
        let clock = meter.clock().clone();
        let mut store = wasmtime::Store::new(&Engine::default(), meter);
        store.data_mut().begin(TWO_TICKS_MS);
        clock.note_resumption(true);
        on_tick(wasmtime::AsContextMut::as_context_mut(&mut store), |meter| meter).unwrap();
        let deadline = Instant::now() + Duration::from_secs(1);
        assert_eq!(drive(&clock, deadline, long(&clock, 1)).await.unwrap(), 1);
        let _others = turns.next().await;
        assert_eq!(drive(&clock, deadline, long(&clock, 0)).await.unwrap(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_the_wait_for_a_turn_and_calls_that_only_give_way() {
        let ticks = Arc::new(AtomicU64::new(0));
        let turns = Arc::new(LongCallScheduler::new(1));
        let meter = CpuMeter::new(&ticks, &turns, &Arc::default());
        let clock = meter.clock();
        let others = turns.next().await;
        let start = Instant::now();
        let deadline = start + Duration::from_secs(1);
        assert!(drive(clock, deadline, long(clock, 1)).await.is_err());
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        drop(others);
        assert!(drive(clock, Instant::now(), long(clock, u32::MAX)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_call_that_waits_for_something_lines_up_again() {
        let ticks = Arc::new(AtomicU64::new(0));
        let turns = Arc::new(LongCallScheduler::new(1));
        let meter = CpuMeter::new(&ticks, &turns, &Arc::default());
        let clock = meter.clock();
        let deadline = Instant::now() + Duration::from_secs(60);
        let (answer, answered) = tokio::sync::oneshot::channel();
        let mut call = pin!(drive(clock, deadline, async {
            long(clock, 1).await;
            answered.await.unwrap()
        }));
        while polled(call.as_mut()).is_pending() && clock.yielded_on_epoch.load(Ordering::Relaxed) {
        }
        for _ in 0..3 {
            assert!(polled(call.as_mut()).is_pending(), "it waits");
        }
        let others = polled(pin!(turns.next()));
        assert!(others.is_ready(), "whoever waits has no turn");
        answer.send(7).unwrap();
        assert!(polled(call.as_mut()).is_pending(), "it is not its turn");
        drop(others);
        assert_eq!(call.await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_may_take_until_its_deadline() {
        let meter =
            CpuMeter::new(&Arc::default(), &Arc::new(LongCallScheduler::new(1)), &Arc::default());
        let wall_ms = crate::Limits::default().wall_ms;
        // Fails at the deadline itself: otherwise a guest that only yields would never end.
        for (took_ms, is_done) in [(wall_ms - 1, true), (wall_ms, false), (wall_ms + 1, false)] {
            let begun = Instant::now();
            let call = tokio::time::sleep(Duration::from_millis(took_ms));
            let deadline = begun + Duration::from_millis(wall_ms);
            assert_eq!(drive(meter.clock(), deadline, call).await.is_ok(), is_done, "{took_ms}");
            assert_eq!(begun.elapsed(), Duration::from_millis(took_ms.min(wall_ms)));
        }
    }
}
