//! Reads the log for a response of any length, one small page at a time. Memory for a page is
//! reserved from the response budget before it is read and released once it has been sent, so a
//! client that doesn't read its response holds one page.

use std::ops::Range;

use bytes::Bytes;
use serde::Serialize as _;
use usher_broker::{BrokerError, EventPage, EventQuery, ReadOrder};
use usher_event::limits::JSON_MAX_BYTES;
use usher_filter::Filter;

use super::budget::Share;
use super::client::Client;
use super::state::Node;
use crate::access::Identity;
use crate::project;
use usher_api::Stored;

/// Limit on the events of one page; the last one may exceed it.
const EVENTS_BYTES: usize = 128 * 1024;

/// Reserved for one page until it is read: its events and their JSON, each with one event over the
/// limit.
const PAGE_BYTES: usize = 2 * (EVENTS_BYTES + JSON_MAX_BYTES);

/// Upper estimate of the JSON around the bytes of one event.
const AROUND_BYTES: usize = 512;

/// A position in the log.
pub(super) struct Reader {
    node: Node,
    identity: Identity,
    client: Client,
    filter: Option<Filter>,
    /// The part that is still to be read.
    rest: Range<u64>,
    order: ReadOrder,
}

/// Events that were read, with their share of the budget.
pub(super) struct Page {
    events: Vec<Stored>,
    size_bytes: usize,
    share: Share,
}

impl Reader {
    pub(super) fn new(
        node: Node,
        identity: Identity,
        client: Client,
        filter: Option<Filter>,
        part: Range<u64>,
        order: ReadOrder,
    ) -> Self {
        Self { node, identity, client, filter, rest: part, order }
    }

    /// The sequence to continue from; newest first, the one to continue before.
    pub(super) fn next(&self) -> u64 {
        match self.order {
            ReadOrder::OldestFirst => self.rest.start,
            ReadOrder::NewestFirst => self.rest.end,
        }
    }

    /// Whether its client may still read: its token may have been revoked, or has expired.
    pub(super) fn may_go_on(&self) -> bool {
        self.node.access.still_knows(&self.identity)
    }

    /// Skips events that are known not to match.
    pub(super) fn skip_to(&mut self, sequence: u64) {
        self.rest.start = self.rest.start.max(sequence);
    }

    /// Whether nothing is left up to the sequence `last`.
    pub(super) fn is_done(&self, last: u64) -> bool {
        self.rest.is_empty() || self.rest.start > last
    }

    /// Reads up to `max` events and advances past them. Empty at the end of the part, or after a
    /// long run of events that don't match.
    ///
    /// # Errors
    /// The log can't be read.
    pub(super) async fn page(&mut self, max: usize) -> Result<Page, BrokerError> {
        let share = self.node.answers.take(self.client.connection(), PAGE_BYTES).await;
        let mut share = share.ok_or(BrokerError::Closed)?;
        let query = EventQuery {
            from: self.rest.start,
            to: Some(self.rest.end),
            order: self.order,
            max,
            filter: self.filter.clone(),
        };
        let EventPage { events, next } = self.node.log.events_within(query, EVENTS_BYTES).await?;
        match self.order {
            ReadOrder::OldestFirst => self.rest.start = next,
            ReadOrder::NewestFirst => self.rest.end = next,
        }
        let size_bytes: usize = events.iter().map(|stored| stored.event.encoded().len()).sum();
        // Twice: the events as read, and their JSON.
        share.shrink(2 * (size_bytes + events.len() * AROUND_BYTES));
        let mut events: Vec<_> = events.into_iter().map(project::stored).collect();
        events.iter_mut().for_each(|stored| self.identity.hide_data(stored));
        Ok(Page { events, size_bytes, share })
    }
}

impl Page {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Serializes the page: `begin`, each event between `before` and `behind`, then `end`.
    pub(super) fn written(
        self,
        begin: &str,
        (before, behind): (impl Fn(usize, &Stored) -> String, &str),
        end: &str,
    ) -> Result<Bytes, serde_json::Error> {
        let mut bytes = Vec::with_capacity(self.size_bytes + self.events.len() * AROUND_BYTES);
        bytes.extend_from_slice(begin.as_bytes());
        for (position, stored) in self.events.iter().enumerate() {
            bytes.extend_from_slice(before(position, stored).as_bytes());
            stored.serialize(&mut serde_json::Serializer::new(&mut bytes))?;
            bytes.extend_from_slice(behind.as_bytes());
        }
        bytes.extend_from_slice(end.as_bytes());
        // The allocation must not exceed twice the length, which is what is charged.
        if bytes.len() < bytes.capacity() / 2 {
            bytes.shrink_to_fit();
        }
        Ok(self.share.charged(bytes))
    }
}
