//! Messages of the stream: a claim, or a part of a record's frame.
//!
//! Every message has the header `Usher-Position`: that of its record; of a claim, the one that the
//! next record gets. `Usher-Claim` is a claim's epoch, `Usher-Node` who claims, `Usher-Claim-Id` random.
//! `Usher-Part` is `2/5` for the second of five parts, and absent where the frame is in one.

use async_nats::HeaderMap;
use bytes::{Bytes, BytesMut};
use usher_journal::{JournalId, RECORD_MAX_BYTES, Record};

const POSITION: &str = "Usher-Position";
const CLAIM: &str = "Usher-Claim";
const NODE: &str = "Usher-Node";
const ID: &str = "Usher-Claim-Id";
pub(crate) const PART: &str = "Usher-Part";

/// What of a message isn't its payload: the servers count it, too.
pub(crate) const HEADERS_MAX_BYTES: usize = 4_096;

/// A frame's header and what it is filled up with are less than this.
const FRAME_MAX_BYTES: usize = RECORD_MAX_BYTES + 1_024;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// That of its record; of a claim, the one that the next record gets.
    pub position: u64,
    /// What it is.
    pub content: Content,
}

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The begin of an epoch.
    Claim {
        /// The epoch.
        epoch: u64,
        /// Who claims.
        node: String,
        /// Random: tells claims of nodes with one name apart.
        id: String,
    },
    /// A part of a record's frame.
    Part {
        /// Which, from 1.
        number: u32,
        /// How many there are.
        of: u32,
        /// Its bytes.
        frame: Bytes,
    },
}

impl Message {
    /// The messages that a record's frame is sent as.
    pub(crate) fn parts(position: u64, frame: &Bytes, max_bytes: usize) -> Vec<Self> {
        let of = u32::try_from(frame.len().div_ceil(max_bytes)).unwrap_or(u32::MAX);
        let starts = (0..frame.len()).step_by(max_bytes);
        let part = |(start, number): (usize, u32)| {
            let frame = frame.slice(start..frame.len().min(start + max_bytes));
            Self { position, content: Content::Part { number, of, frame } }
        };
        starts.zip(1..).map(part).collect()
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(POSITION, self.position.to_string());
        match &self.content {
            Content::Claim { epoch, node, id } => {
                headers.insert(CLAIM, epoch.to_string());
                headers.insert(NODE, node.as_str());
                headers.insert(ID, id.as_str());
            }
            Content::Part { number, of, .. } if *of > 1 => {
                headers.insert(PART, format!("{number}/{of}"));
            }
            Content::Part { .. } => {}
        }
        headers
    }

    pub(crate) fn payload(&self) -> Bytes {
        match &self.content {
            Content::Claim { .. } => Bytes::new(),
            Content::Part { frame, .. } => frame.clone(),
        }
    }

    /// `None` if it is no message of a journal.
    pub(crate) fn read(headers: &HeaderMap, payload: Bytes) -> Option<Self> {
        let text = |name: &str| headers.get(name).map(|value| value.as_str());
        let position = text(POSITION)?.parse().ok()?;
        let content = match text(CLAIM) {
            Some(epoch) => {
                let [node, id] = [NODE, ID].map(|name| text(name).unwrap_or_default().to_owned());
                Content::Claim { epoch: epoch.parse().ok()?, node, id }
            }
            None => {
                let (number, of) = part_of(Some(headers))?;
                Content::Part { number, of, frame: payload }
            }
        };
        Some(Self { position, content })
    }
}

/// Which part of how many a message is; `None` if that can't be told.
pub(crate) fn part_of(headers: Option<&HeaderMap>) -> Option<(u32, u32)> {
    let Some(part) = headers.and_then(|headers| headers.get(PART)) else { return Some((1, 1)) };
    let (number, of) = part.as_str().split_once('/')?;
    Some((number.parse().ok()?, of.parse().ok()?))
}

/// Parts of a record whose others are still to come.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    frame: BytesMut,
    next: u32,
}

impl Parts {
    /// Forgets a record that its writer didn't finish.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Adds a part; returns the record once it is whole. `Err` if there is something that can't be.
    pub(crate) fn push(
        &mut self,
        (number, of): (u32, u32),
        frame: Bytes,
        id: &JournalId,
    ) -> Result<Option<Record>, &'static str> {
        if number == 1 {
            self.clear();
        } else if number != self.next {
            return Err("a part of a record without the one before it");
        }
        if number == of && number == 1 {
            return Record::from_frame(&frame, id).map(Some).ok_or(UNREADABLE);
        }
        if self.frame.len() + frame.len() > FRAME_MAX_BYTES {
            return Err("a record that is longer than may be");
        }
        self.frame.extend_from_slice(&frame);
        self.next = number + 1;
        if number < of {
            return Ok(None);
        }
        let whole = std::mem::take(self).frame.freeze();
        Record::from_frame(&whole, id).map(Some).ok_or(UNREADABLE)
    }
}

const UNREADABLE: &str = "a record that doesn't match its checksum, or is another journal's";

#[cfg(test)]
mod tests {
    use usher_journal::Entry;

    use super::*;

    const ID: JournalId = [3; 16];

    fn frame(bytes: usize) -> Bytes {
        let entry = Entry { first_sequence: 4, events: 2, payload: &[&vec![7; bytes]] };
        Record::frame(&entry, 9, 5, &ID).into()
    }

    #[test]
    fn what_is_sent_is_read() {
        let claim = Content::Claim { epoch: 3, node: "a".to_owned(), id: "7".to_owned() };
        for content in [claim, Content::Part { number: 2, of: 3, frame: Bytes::from_static(b"x") }]
        {
            let message = Message { position: 7, content };
            let read = Message::read(&message.headers(), message.payload()).unwrap();
            assert_eq!(read, message);
        }
        assert_eq!(Message::read(&HeaderMap::new(), Bytes::new()), None);
    }

    #[test]
    fn parts_make_the_record_again() {
        for (bytes, count) in [(1, 1), (100, 2), (1_000, 11)] {
            let messages = Message::parts(9, &frame(bytes), 100);
            assert_eq!(messages.len(), count);
            let mut parts = Parts::default();
            // One that was begun and not finished.
            parts.push((1, 2), Bytes::from_static(b"begun"), &ID).unwrap();
            let mut made = None;
            for message in messages {
                assert_eq!((made.as_ref(), message.position), (None, 9));
                let Content::Part { number, of, frame } = message.content else { panic!() };
                made = parts.push((number, of), frame, &ID).unwrap();
            }
            let made = made.unwrap();
            assert_eq!((made.position, made.epoch, made.events), (9, 5, 2));
            assert_eq!(made.payload, vec![7; bytes]);
        }
    }

    #[test]
    fn what_cannot_be_is_told() {
        let mut parts = Parts::default();
        parts.push((2, 3), Bytes::new(), &ID).unwrap_err();
        parts.push((1, 1), frame(9), &[4; 16]).unwrap_err();
        parts.push((1, 3), frame(9), &ID).unwrap();
        parts.push((3, 3), Bytes::new(), &ID).unwrap_err();
    }
}
