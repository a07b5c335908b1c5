//! A row of any table, from bytes that may be anything: what is fuzzed of the store.

use std::fmt::Debug;

use bytes::Bytes;
use usher_event::Digest;

use super::{audit, rows};

/// Reads bytes as a row of one of the tables, which `table` chooses. What can be read is written and
/// read again.
///
/// # Panics
/// The row that was read again is another one.
pub fn read_any_row(table: u8, row: &Bytes) {
    match table % 11 {
        0 => again(row, rows::Counters::read, rows::Counters::write),
        1 => again(row, |row| rows::read_record(7, row), rows::write_record),
        2 => again(row, rows::SubscriptionRow::read, rows::SubscriptionRow::write),
        3 => again(row, rows::CursorRow::read, rows::CursorRow::write),
        4 => again(row, rows::RetryRow::read, rows::RetryRow::write),
        5 => again(row, rows::read_parked, |lane| rows::write_parked(*lane)),
        6 => again(row, rows::read_attempt, rows::write_attempt),
        7 => again(row, rows::DeadRow::read, rows::DeadRow::write),
        8 => again(row, rows::read_usage, |usage| rows::write_usage(*usage)),
        9 => again(row, rows::ScheduleRow::read, rows::ScheduleRow::write),
        _ => {
            again(row, |row| audit::read(9, row), audit::write);
            let digest = Digest::from_bytes([7; 32]);
            again(
                row,
                |row| rows::read_blob(digest, row),
                |(info, created_ms)| rows::write_blob(info, *created_ms),
            );
        }
    }
}

fn again<T: Debug>(row: &Bytes, read: impl Fn(&Bytes) -> Option<T>, write: impl Fn(&T) -> Vec<u8>) {
    let Some(found) = read(row) else { return };
    let second = read(&Bytes::from(write(&found)));
    assert_eq!(format!("{second:?}"), format!("{:?}", Some(found)), "written and read again");
}
