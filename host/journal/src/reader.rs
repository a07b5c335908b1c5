//! Reads the frames of one segment in their order.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;

use crate::record::{ALIGN_BYTES, Frame, HEADER_BYTES, Header};

/// How much is read at once; a longer frame is read whole.
const READ_BYTES: usize = 256 * 1_024;

/// What nothing was written to.
const ZEROS: [u8; 4_096] = [0; 4_096];

/// Frames from a place on, as far as the file goes.
pub(crate) struct Frames {
    file: Arc<File>,
    seed: u64,
    /// Where the next frame begins.
    offset: u64,
    /// Where reading ends.
    limit: u64,
    /// Positions that a record may have here; others are not looked at further.
    positions: RangeInclusive<u64>,
    /// What was read ahead, from `used` on.
    buffer: Vec<u8>,
    used: usize,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// A whole frame.
    Whole(Header, Bytes),
    /// Nothing was written here, or the file ends.
    Blank,
    /// What is here is not a whole frame.
    Bad,
}

impl Frames {
    pub(crate) fn new(file: Arc<File>, seed: u64, offset: u64, limit: u64) -> Self {
        let positions = 0..=u64::MAX;
        Self { file, seed, offset, limit, positions, buffer: Vec::new(), used: 0 }
    }

    /// Looks for records from this position on, among bytes that may be anything.
    pub(crate) fn expect_from(&mut self, position: u64) {
        let left = self.limit.saturating_sub(self.offset);
        self.positions = position..=position.saturating_add(left / HEADER_BYTES as u64);
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes elsewhere.
    pub(crate) fn seek(&mut self, offset: u64) {
        let ahead = offset.checked_sub(self.offset).and_then(|ahead| usize::try_from(ahead).ok());
        match ahead {
            Some(ahead) if self.used + ahead <= self.buffer.len() => self.used += ahead,
            _ => {
                self.buffer.clear();
                self.used = 0;
            }
        }
        self.offset = offset;
    }

    pub(crate) fn next(&mut self) -> io::Result<Next> {
        let (header, frame_bytes) = match Header::read(self.ahead(HEADER_BYTES)?) {
            Frame::Header(header, frame_bytes) => (header, frame_bytes),
            Frame::Blank => return Ok(Next::Blank),
            Frame::Unreadable => return Ok(Next::Bad),
        };
        let is_beyond = self.offset.saturating_add(frame_bytes as u64) > self.limit;
        if is_beyond || !self.positions.contains(&header.position) {
            return Ok(Next::Bad);
        }
        let seed = self.seed;
        let Some(frame) = self.ahead(frame_bytes)?.get(..frame_bytes) else {
            return Ok(Next::Bad);
        };
        if !header.is_whole(frame, seed) {
            return Ok(Next::Bad);
        }
        let frame = Bytes::copy_from_slice(frame);
        self.offset += frame_bytes as u64;
        self.used += frame_bytes;
        Ok(Next::Whole(header, frame))
    }

    /// How many zeros come next, as far as they are read at once; a multiple of a frame's alignment.
    pub(crate) fn zeros(&mut self) -> io::Result<u64> {
        let ahead = self.ahead(READ_BYTES)?;
        let is_zero = |bytes: &&[u8]| ZEROS.starts_with(bytes);
        let blocks = ahead.chunks_exact(ZEROS.len()).take_while(is_zero).count() * ZEROS.len();
        let rest = ahead.get(blocks..).unwrap_or_default();
        let words = rest.chunks(ALIGN_BYTES).take_while(is_zero).count() * ALIGN_BYTES;
        Ok((blocks + words) as u64)
    }

    /// What lies ahead: at least `bytes`, unless reading ends before.
    fn ahead(&mut self, bytes: usize) -> io::Result<&[u8]> {
        let have = self.buffer.len() - self.used;
        if have < bytes {
            self.buffer.drain(..self.used);
            self.used = 0;
            let left = self.limit.saturating_sub(self.offset + have as u64);
            let more =
                (bytes - have).max(READ_BYTES).min(usize::try_from(left).unwrap_or(usize::MAX));
            self.buffer.resize(have + more, 0);
            let mut read = have;
            while let Some(rest) = self.buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
                match self.file.read_at(rest, self.offset + read as u64) {
                    Ok(0) => break,
                    Ok(more) => read += more,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => {
                        self.buffer.truncate(have);
                        return Err(error);
                    }
                }
            }
            self.buffer.truncate(read);
        }
        Ok(self.buffer.get(self.used..).unwrap_or_default())
    }
}
