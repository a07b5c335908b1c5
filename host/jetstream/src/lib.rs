//! The journal on NATS JetStream, so that several machines hold it.
//!
//! A router's journal is one stream; a record is one message, or several if it is longer than the
//! server takes. An append states the sequence of the stream that it expects to follow
//! (`Nats-Expected-Last-Sequence`), which is both the check of the position and the fence: whoever
//! has been overtaken by another node's claim is refused from then on.
//!
//! Each node keeps a **replica**: the same records as segment files, filled from what the stream has
//! acknowledged. Everything is read from there. What of it isn't on the disk after a crash is fetched
//! again. The format of messages is documented in `docs/storage.md`.

mod blobs;
mod connect;
mod copy;
mod journal;
mod link;
mod message;
mod nats;
mod options;
mod owner;
mod servers;
mod stream;

pub use copy::{Copied, copy_to_stream};
pub use journal::{Changes, JetStreamJournal, ReplicaFiles};
pub use link::{Inbox, Link, LinkError, Question};
pub use message::{Content, Message};
pub use nats::JetStream;
pub use options::{JetStreamOptions, NAME_MAX_CHARS, is_name};
pub use owner::Owner;
pub use servers::{Arrival, Extent, Failure, Refusal, Servers, Stored};
