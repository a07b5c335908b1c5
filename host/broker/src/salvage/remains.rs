//! What can be read of a damaged store: its tables, where they open, and every record of the journal
//! that is whole, laid over them.

use std::path::Path;

use tempfile::TempDir;
use usher_journal::scan;

use super::salvaged::{SalvageError, Salvaged};
use crate::files::copy_folder;
use crate::folder::{JOURNAL, TABLES};
use crate::store::rows::{COUNTERS_KEY, Counters};
use crate::store::schema::Table;
use crate::store::tables::{Caches, LsmTables};
use crate::store::{Applied, Row, Rows, Space, Tables as _, View, keys, record};

/// A damaged store. Its events are rows of a table here, like everything else.
pub(super) struct Remains {
    view: Box<dyn View>,
    /// Bytes of the journal that can't be read.
    pub(super) lost_bytes: u64,
    /// Whether everything is there that was ever acknowledged.
    pub(super) is_up_to_date: bool,
    /// The tables that `view` reads. Last, so that they go last.
    _aside: TempDir,
}

impl Remains {
    /// Finds everything in a data folder; `beside` is where there is room for as much.
    pub(super) fn find(
        data: &Path,
        beside: &Path,
        report: &mut Salvaged,
    ) -> Result<Self, SalvageError> {
        let aside = tempfile::Builder::new().prefix("usher-salvage-").tempdir_in(beside)?;
        let tables = open_tables(&data.join(TABLES), aside.path(), report)?;
        let base = tables.applied();
        let mut applied = base;
        let found = scan(&data.join(JOURNAL), |record| {
            let read = record::Events::of(record).and_then(|events| events.parts());
            let Some((events, rows)) = read else {
                report.lose(format!("journal record {}: it can't be understood", record.position));
                return Ok(());
            };
            let events = (record.first_sequence..).zip(events).map(|(sequence, event)| Row {
                space: Space::Events,
                key: keys::number(sequence).into(),
                value: Some(event),
            });
            // The tables have the rows of what they were brought up to.
            let rows = rows.into_iter().filter(|_| record.position >= base.next);
            let now = record::applied(record);
            applied = Applied {
                next: applied.next.max(now.next),
                next_sequence: applied.next_sequence.max(now.next_sequence),
            };
            tables.apply(events.chain(rows).collect(), applied).map_err(SalvageError::from)
        })?;
        for gap in &found.gaps {
            report.lose(gap.to_string());
        }
        if base.next > found.end {
            report.lose(format!(
                "the journal ends before position {}, the tables go up to {}",
                found.end, base.next
            ));
        }
        let is_up_to_date = found.gaps.is_empty() && found.was_closed && base.next <= found.end;
        let (view, _) = tables.view();
        Ok(Self { view, lost_bytes: found.lost_bytes, is_up_to_date, _aside: aside })
    }

    /// All rows of a table, in the order of keys, up to the first that can't be read.
    pub(super) fn rows(&self, space: Space) -> Rows<'_> {
        self.view.range(space, &[], None)
    }

    /// The rows among them that are what they should be.
    pub(super) fn readable<T: Table>(&self) -> impl Iterator<Item = (T::Key, T::Row)> {
        let rows = self.rows(T::SPACE).map_while(Result::ok);
        rows.filter_map(|(key, value)| T::read(&key, &value))
    }

    /// One row, if it can be read.
    pub(super) fn get<T: Table>(&self, key: Vec<u8>) -> Option<T::Row> {
        self.view.row::<T>(key).ok().flatten()
    }

    /// The counters, if they can be read.
    pub(super) fn counters(&self) -> Option<Counters> {
        Counters::read(&self.view.get(Space::Meta, COUNTERS_KEY).ok()??)
    }
}

/// A copy of the tables, or empty ones: then everything comes from the journal.
fn open_tables(
    tables: &Path,
    aside: &Path,
    report: &mut Salvaged,
) -> Result<LsmTables, SalvageError> {
    let copy = aside.join("tables");
    if tables.is_dir() {
        copy_folder(tables, &copy)?;
        match LsmTables::open(&copy, Caches::OFFLINE) {
            Ok(opened) if is_readable(&opened) => return Ok(opened),
            Ok(_) => report.lose("tables that can't be read; they are rebuilt from the journal"),
            Err(failure) => report.lose(format!("the tables ({failure}); they are rebuilt")),
        }
    }
    Ok(LsmTables::open(&aside.join("rebuilt"), Caches::OFFLINE)?)
}

fn is_readable(tables: &LsmTables) -> bool {
    let (view, _) = tables.view();
    Space::ALL.into_iter().all(|space| view.range(space, &[], None).all(|row| row.is_ok()))
}
