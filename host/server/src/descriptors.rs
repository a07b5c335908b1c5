//! File descriptors: how many this process may have open, and who may have how many of them.
//!
//! A store that can't open a table has to stop, so it has a share that neither connections nor
//! plugins' HTTP calls can take.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::http::EXTRA_CONNECTIONS;

/// More than this is never asked for: some programs that a process starts go through all of them.
const ASKED_MAX: u64 = 1_048_576;
/// For the log, journals, tables being written, plugin files being read, compilers, the executors.
const RESERVED: usize = 128;
/// What the store keeps open, from a small machine's to as many as make a difference.
const STORE: std::ops::RangeInclusive<usize> = 32..=900;
/// Connections of plugins to HTTP servers.
const CALLS: std::ops::RangeInclusive<usize> = 16..=512;
/// Connections of clients unless configured otherwise, where there are descriptors for them.
const CONNECTIONS_DEFAULT: usize = 1_024;

/// How many each may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// All of the process.
    limit: usize,
    /// Tables that the store keeps open.
    pub(crate) store: usize,
    /// HTTP calls of all plugins at a time.
    pub(crate) calls: usize,
    /// What is left for clients' connections.
    rest: usize,
}

impl Descriptors {
    /// Raises the limit as far as the system lets us, and divides it.
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

    /// How many connections clients may have; where more are configured than there are descriptors
    /// for, the log says so.
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
            (4_096, 900, 512, 1_024),
            (1 << 20, 900, 512, 1_024),
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
