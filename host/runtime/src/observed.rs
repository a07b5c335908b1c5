//! Deliveries outside a router: what they are given beforehand, and all that is seen of them.

use std::sync::Arc;

use usher_event::{Begin, Given, GivenClock, GivenRandom};

use crate::capabilities::clocks;
use crate::capabilities::http::{Answers, HttpCall, Outlet};
use crate::capabilities::log::LogLine;
use crate::capabilities::random;
use crate::peaks::LimitUse;
use crate::profile::Profile;

/// In place of the host's clocks, random numbers and network. State, blobs and grants are given as
/// ordinary [`Settings`](crate::Settings).
#[derive(Clone)]
pub struct Script {
    clock: GivenClock,
    random: GivenRandom,
    answers: Arc<Answers>,
    deadline_ms: Option<u64>,
    pub(crate) profile: Option<Arc<Profile>>,
}

impl Script {
    /// Checks what is given. Without a clock, time begins at `begin_ms`, Unix milliseconds. With a
    /// profile, deliveries are repeated: what runs is sampled, and HTTP answers are given again.
    ///
    /// # Errors
    /// What is wrong with which field, in words.
    pub fn new(
        given: &Given,
        begin_ms: u64,
        profile: Option<Arc<Profile>>,
    ) -> Result<Self, String> {
        let begin = || GivenClock::Begin(Begin { time_ms: begin_ms });
        Ok(Self {
            clock: given.clock.clone().unwrap_or_else(begin),
            random: given
                .random
                .clone()
                .unwrap_or_else(|| GivenRandom { seed: "usher".to_owned(), delivery: 1 }),
            answers: Arc::new(Answers::new(&given.http, profile.is_some())?),
            deadline_ms: given.deadline_ms,
            profile,
        })
    }

    pub(crate) fn clocks(&self) -> clocks::Source {
        clocks::Source::Given(self.clock.clone())
    }

    pub(crate) fn random(&self) -> random::Source {
        random::Source::Given(self.random.clone())
    }

    pub(crate) fn outlet(&self) -> Outlet {
        Outlet::Answers(self.answers.clone())
    }

    /// When the guest is told that its call is aborted.
    pub(crate) fn deadline_ms(&self, wall_ms: u64) -> u64 {
        let begin_ms = match &self.clock {
            GivenClock::Begin(begin) => begin.time_ms,
            GivenClock::Readings(readings) => readings.wall_ms,
        };
        self.deadline_ms.unwrap_or(begin_ms.saturating_add(wall_ms))
    }
}

/// All that is seen of a delivery besides its outcome.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// What the host told the guest.
    pub given: Given,
    /// Its HTTP requests.
    pub calls: Vec<HttpCall>,
    /// Its log.
    pub log: Vec<LogLine>,
    /// What it used of its limits.
    pub used: Vec<LimitUse>,
}
