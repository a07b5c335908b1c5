//! Raises the process's file descriptor limit and divides it.
//!
//! A store that can't open a table has to stop, so it has a share of its own that connections and
//! plugins' HTTP calls can't use up.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::http::EXTRA_CONNECTIONS;

/// Upper bound on the requested limit: children inherit it, and some programs iterate over every
/// possible descriptor.
const ASKED_MAX: u64 = 1_048_576;
/// For the log, journals, tables being written, plugin files being read, compilers, the executors.
const RESERVED: usize = 128;
/// Tables the store keeps open: the least it needs, and the most that make a difference.
const STORE: std::ops::RangeInclusive<usize> = 32..=900;
/// Outgoing HTTP connections of plugins.
const CALLS: std::ops::RangeInclusive<usize> = 16..=512;
/// Default limit on client connections, if descriptors suffice.
const CONNECTIONS_DEFAULT: usize = 2_048;

/// The limit and each consumer's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// The process's limit.
    limit: usize,
    /// Tables that the store keeps open.
    pub(crate) store: usize,
    /// Concurrent HTTP calls of all plugins.
    pub(crate) calls: usize,
    /// Left for client connections.
    rest: usize,
}

impl Descriptors {
    /// Raises the soft limit as far as the hard one allows, up to `ASKED_MAX`, and divides it.
    pub(crate) fn raise() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let wanted = maximum.unwrap_or(ASKED_MAX).min(ASKED_MAX);
        let mut limit = current.unwrap_or(wanted);
        if limit < wanted {
            let raised = Rlimit { current: Some(wanted), maximum };
            match setrlimit(Resource::Nofile, raised) {
                Ok(()) => limit = wanted,
                Err(error) => {
                    tracing::warn!(limit, %error, "the limit on open files can't be raised");
                }
            }
        }
        Self::divide(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    fn divide(limit: usize) -> Self {
        let store = (limit / 4).clamp(*STORE.start(), *STORE.end());
        let calls = (limit / 8).clamp(*CALLS.start(), *CALLS.end());
        let rest = limit.saturating_sub(RESERVED + EXTRA_CONNECTIONS + store + calls).max(1);
        Self { limit, store, calls, rest }
    }

    /// Limit on client connections. Logs a warning if more are configured than descriptors allow.
    pub(crate) fn connections(&self, configured: Option<usize>) -> usize {
        let Self { limit, rest, .. } = *self;
        if let Some(configured) = configured.filter(|configured| *configured > rest) {
            tracing::warn!(
                max_connections = configured,
                open_files_max = limit,
                connections = rest,
                "the limit on open files leaves room for fewer connections than configured: raise it \
                 (ulimit -n, LimitNOFILE), or lower max_connections in [http] in usher.toml"
            );
        }
        configured.unwrap_or(CONNECTIONS_DEFAULT).min(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_keeps_its_share_on_every_machine() {
        for (limit, store, calls, connections) in [
            (256, 64, 32, 1),
            (1_024, 256, 128, 368),
            (4_096, 900, 512, 2_048),
            (1 << 20, 900, 512, 2_048),
        ] {
            let divided = Descriptors::divide(limit);
            let found = (divided.store, divided.calls, divided.connections(None));
            assert_eq!(found, (store, calls, connections), "{limit}");
            let all =
                RESERVED + EXTRA_CONNECTIONS + store + calls + divided.connections(Some(65_536));
            assert!(all <= limit || connections == 1, "{limit}");
        }
        assert_eq!(Descriptors::divide(1_024).connections(Some(7)), 7);
        assert_eq!(Descriptors::divide(8).connections(None), 1, "it says why at the first file");
    }
}
