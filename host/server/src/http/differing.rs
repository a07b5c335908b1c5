//! Sources whose duplicates differ, so that each is logged once an hour.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a source is not logged again.
const QUIET: Duration = Duration::from_secs(3600);

/// Limit on sources remembered; beyond it others are not logged until some are forgotten.
const SOURCES_MAX: usize = 1_000;

/// When each source was logged last.
#[derive(Default)]
pub(super) struct Differing(Mutex<HashMap<String, Instant>>);

impl Differing {
    /// Whether a source is to be logged now.
    pub(super) fn is_first(&self, source: &str) -> bool {
        self.is_first_at(source, Instant::now())
    }

    fn is_first_at(&self, source: &str, now: Instant) -> bool {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.get(source).is_some_and(|last| now.duration_since(*last) < QUIET) {
            return false;
        }
        if logged.len() >= SOURCES_MAX {
            logged.retain(|_, last| now.duration_since(*last) < QUIET);
        }
        logged.len() < SOURCES_MAX && {
            logged.insert(source.to_owned(), now);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_logged_once_an_hour() {
        let (differing, now) = (Differing::default(), Instant::now());
        assert!(differing.is_first_at("/shop", now));
        assert!(!differing.is_first_at("/shop", now + Duration::from_secs(3599)));
        assert!(differing.is_first_at("/bank", now));
        assert!(differing.is_first_at("/shop", now + QUIET));
        for n in 0..2 * SOURCES_MAX {
            differing.is_first_at(&n.to_string(), now + QUIET);
        }
        assert!(differing.0.lock().unwrap().len() <= SOURCES_MAX);
        assert!(differing.is_first_at("later", now + 2 * QUIET));
    }
}
