//! The rest of WASI 0.2, linked but empty: clocks (coarse) and random numbers work; there are no
//! files, sockets, environment variables or arguments.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::IoError;
use wasmtime_wasi::p2::bindings::io::error;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiView};

use super::log::{Log, Output, Stream};
use crate::capability::About;
use crate::limits::RANDOM_MAX_BYTES;

/// Resolution of the guest's clocks: too coarse for timing attacks on other plugins.
const CLOCK_STEP: Duration = Duration::from_millis(1);

/// Wall clock, rounded down to [`CLOCK_STEP`].
struct Wall;

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        CLOCK_STEP
    }

    fn now(&self) -> Duration {
        whole_steps(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

/// Monotonic time at which an instance is created. Not zero: Go's runtime treats zero as a missing
/// clock and aborts.
const MONOTONIC_START: Duration = Duration::from_secs(1);

/// [`MONOTONIC_START`] plus the time since the instance was created, rounded down likewise.
struct Monotonic(Instant);

impl HostMonotonicClock for Monotonic {
    fn resolution(&self) -> u64 {
        nanos(CLOCK_STEP)
    }

    fn now(&self) -> u64 {
        nanos(MONOTONIC_START + whole_steps(self.0.elapsed()))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn whole_steps(time: Duration) -> Duration {
    let rest = time.as_nanos() % CLOCK_STEP.as_nanos();
    time.saturating_sub(Duration::from_nanos(u64::try_from(rest).unwrap_or_default()))
}

/// WASI context of one instance.
pub(crate) fn context(log: &Log) -> WasiCtx {
    WasiCtx::builder()
        .stdout(Output::new(log, Stream::Stdout))
        .stderr(Output::new(log, Stream::Stderr))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(RANDOM_MAX_BYTES)
        .wall_clock(Wall)
        .monotonic_clock(Monotonic(Instant::now()))
        .build()
}

/// `wasi:io/error` that returns the message only. wasmtime's implementation exposes a host
/// backtrace if those are enabled, and is slow to build it.
struct Errors;

struct ErrorsView<'a>(&'a mut ResourceTable);

impl HasData for Errors {
    type Data<'a> = ErrorsView<'a>;
}

impl error::Host for ErrorsView<'_> {}

impl error::HostError for ErrorsView<'_> {
    fn to_debug_string(&mut self, error: Resource<IoError>) -> wasmtime::Result<String> {
        Ok(format!("{:#}", self.0.get(&error)?))
    }

    fn drop(&mut self, error: Resource<IoError>) -> wasmtime::Result<()> {
        self.0.delete(error)?;
        Ok(())
    }
}

/// Links all of WASI 0.2 except http.
pub(crate) fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    error::add_to_linker::<_, Errors>(linker, |data| ErrorsView(data.ctx().table))?;
    linker.allow_shadowing(false);
    Ok(())
}

/// What the interfaces let a plugin do; nothing here needs a grant.
pub(crate) const ABOUT: &[About] = &[
    always(&["wasi:clocks/"], "reads clocks"),
    always(&["wasi:random/"], "draws random numbers"),
    always(&["wasi:filesystem/"], "looks for files, and finds none"),
    always(&["wasi:sockets/"], "looks for sockets, and finds none"),
];

const fn always(interfaces: &'static [&'static str], ability: &'static str) -> About {
    About { name: None, interfaces, ability, is_flag: false }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let monotonic = Monotonic(Instant::now());
        assert_eq!((Wall.resolution(), monotonic.resolution()), (CLOCK_STEP, 1_000_000));
        assert_eq!((Wall.now().subsec_nanos() % 1_000_000, monotonic.now() % 1_000_000), (0, 0));
        assert!(Monotonic(Instant::now()).now() >= nanos(MONOTONIC_START));
    }
}
