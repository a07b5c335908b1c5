//! Crash points: at a random moment, or right after an externally visible step.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::load::Answers;
use super::process::{Process, wait_for};
use super::seed::Choices;
use super::world::World;

/// The moment to crash the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// This long after the load began.
    Random(Duration),
    /// After this many acknowledged requests.
    Acknowledged(usize),
    /// While the gateway holds an unanswered request.
    Gateway,
    /// This long after the mail API stored a mail; it responds meanwhile.
    Mail(Duration),
    /// After half of a plugin file was written over the serving one.
    HalfFile,
    /// This long after another version of a plugin was installed.
    Swap(Duration),
    /// During a shutdown.
    Shutdown {
        /// Requests acknowledged before the signal.
        requests: usize,
        /// Log lines written after the signal.
        lines: usize,
    },
    /// This long after the load began, and again before the restarted router is ready.
    Start(Duration, Again),
    /// This long after the load began; then another router, on a new data folder, is crashed before
    /// it is ready for the first time.
    Birth(Duration, Again),
}

/// Repeated crashes of a starting router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Again {
    pub(super) times: u32,
    /// Delay between its first log line and the crash.
    pub(super) after: Duration,
}

impl Point {
    /// Chooses a random point.
    pub(super) fn choose(choices: &mut Choices) -> Self {
        let mut micros = |max_ms: u64| Duration::from_micros(choices.below(max_ms * 1_000));
        let (long, short) = (micros(200), micros(60));
        let requests = usize::try_from(choices.below(16)).unwrap_or(0);
        match choices.below(100) {
            0..40 => Self::Random(long),
            40..52 => Self::Acknowledged(requests + 1),
            52..61 => Self::Gateway,
            61..70 => Self::Mail(short / 10),
            70..76 => Self::HalfFile,
            76..82 => Self::Swap(short),
            82..91 => {
                let lines = usize::try_from(choices.below(5)).unwrap_or(0);
                Self::Shutdown { requests, lines }
            }
            last => {
                let times = u32::try_from(1 + choices.below(3)).unwrap_or(1);
                let again = Again { times, after: short };
                if last < 96 { Self::Start(long, again) } else { Self::Birth(long, again) }
            }
        }
    }

    /// Describes the point and its parameters.
    pub(super) fn describe(&self) -> String {
        let ms = |after: &Duration| format!("{:.1} ms", after.as_secs_f64() * 1_000.0);
        match self {
            Self::Random(after) => format!("at random, after {}", ms(after)),
            Self::Acknowledged(requests) => format!("after 202 number {requests}"),
            Self::Gateway => "while the gateway has a request".to_owned(),
            Self::Mail(after) => format!("{} after a mail was stored", ms(after)),
            Self::HalfFile => "with half a plugin file".to_owned(),
            Self::Swap(after) => format!("{} into a swap", ms(after)),
            Self::Shutdown { requests, lines } => {
                format!("{lines} lines into a shutdown, after {requests} 202s")
            }
            Self::Start(after, Again { times, .. }) => {
                format!("after {}, and {times} times at start", ms(after))
            }
            Self::Birth(after, Again { times, .. }) => {
                format!("after {}, and {times} times at the first start", ms(after))
            }
        }
    }

    /// Waits for the moment, triggering it where necessary. `mails` is the number of mails before
    /// the round; `other_echo` is the component to swap in.
    pub(super) fn reach(
        &self,
        world: &World,
        process: &mut Process,
        answers: &Answers,
        producers: usize,
        mails: usize,
        other_echo: &Path,
    ) -> Result<()> {
        match self {
            Self::Random(after) | Self::Start(after, _) | Self::Birth(after, _) => {
                thread::sleep(*after);
            }
            Self::Acknowledged(requests) => answers.wait_for(*requests, producers),
            Self::Gateway => wait_for("a request the gateway holds", || {
                let is_held = |charge: &crate::stand_ins::Charge| {
                    charge.card == "tok_held" && charge.charge.is_none()
                };
                Ok(world.gateway.charges().iter().any(is_held).then_some(()))
            })?,
            Self::Mail(after) => {
                wait_for("a mail", || Ok(world.mail_file(mails + 1).exists().then_some(())))?;
                thread::sleep(*after);
            }
            Self::HalfFile => {
                answers.wait_for(1, producers);
                let content = fs::read(other_echo)?;
                let half = content.get(..content.len() / 2).unwrap_or_default();
                let path = world.folder.plugins().join("echo.wasm");
                fs::File::create(path)?.write_all(half)?;
            }
            Self::Swap(after) => {
                answers.wait_for(1, producers);
                world.folder.install(other_echo, "echo.wasm")?;
                thread::sleep(*after);
            }
            Self::Shutdown { requests, lines } => {
                answers.wait_for(*requests, producers);
                let before = process.logged();
                process.terminate()?;
                process.wait_for_lines(before + lines);
            }
        }
        Ok(())
    }
}
