//! Data folders of formats 1 to 3, which kept everything in one fjall database: read once, to be
//! upgraded.

use std::panic::catch_unwind;
use std::path::Path;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable, Snapshot};

use super::{Found, OpenFailure, Rows, Space, StoreFailure, View};

/// Block cache for reading everything once.
const CACHE_BYTES: u64 = 16 * 1_024 * 1_024;

/// Opens the database of a folder. fjall cuts its journals off where it can't read them.
pub(crate) fn open(log: &Path) -> Result<Box<dyn View>, OpenFailure> {
    let open = || {
        let database =
            Database::builder(log).cache_size(CACHE_BYTES).worker_threads_unchecked(0).open()?;
        let keyspace = |space: Space| {
            let exists = database.keyspace_exists(space.name());
            exists
                .then(|| database.keyspace(space.name(), KeyspaceCreateOptions::default))
                .transpose()
        };
        let spaces = Space::ALL.into_iter().map(keyspace).collect::<Result<Vec<_>, _>>()?;
        let snapshot = database.snapshot();
        Ok(Old { spaces, snapshot, _database: database })
    };
    // fjall asserts some of what it reads.
    let opened: Result<Old, fjall::Error> = catch_unwind(open)
        .map_err(|_| OpenFailure::damaged("reading format 3 panicked; the log has the details"))?;
    match opened {
        Ok(old) => Ok(Box::new(old)),
        Err(fjall::Error::Io(error)) => Err(OpenFailure::Io(error)),
        Err(other) => Err(OpenFailure::Damaged(failure(other))),
    }
}

struct Old {
    /// In the order of [`Space::ALL`]; older versions lack some.
    spaces: Vec<Option<Keyspace>>,
    snapshot: Snapshot,
    _database: Database,
}

impl Old {
    fn space(&self, space: Space) -> Option<&Keyspace> {
        self.spaces.get(space as usize)?.as_ref()
    }
}

impl View for Old {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreFailure> {
        let Some(keyspace) = self.space(space) else { return Ok(None) };
        Ok(self.snapshot.get(keyspace, key).map_err(failure)?.map(Bytes::from))
    }

    fn range(&self, space: Space, from: &[u8], to: Option<&[u8]>) -> Rows<'_> {
        let Some(keyspace) = self.space(space) else { return Box::new(std::iter::empty()) };
        let rows = match to {
            Some(to) if to <= from => return Box::new(std::iter::empty()),
            Some(to) => self.snapshot.range(keyspace, from..to),
            None => self.snapshot.range(keyspace, from..),
        };
        Box::new(rows.map(found))
    }
}

fn found(guard: fjall::Guard) -> Found {
    let (key, value) = guard.into_inner().map_err(failure)?;
    Ok((key.into(), value.into()))
}

#[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn failure(error: fjall::Error) -> StoreFailure {
    StoreFailure(match error {
        fjall::Error::Io(error) => error.to_string(),
        other => format!("{other:?}"),
    })
}
