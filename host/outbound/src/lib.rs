//! Connections to other servers: which addresses a name may stand for, and dialing them.
//!
//! What plugins call and what sinks deliver to is reached the same way: a name is resolved once, its
//! addresses are checked, and only a checked one is connected to.

mod address;
mod connector;
mod dial;
mod origin;
mod range;

pub use address::{RefusedAddress, admit};
pub use connector::{Connector, HttpConnection};
pub use dial::{DialError, Stream, connect, dial};
pub use origin::{HOST_MAX_BYTES, Origin, OriginError};
pub use range::{AddressRange, AddressRangeError};
