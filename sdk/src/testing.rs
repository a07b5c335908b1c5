//! Runs a listener natively, without wasm, against an in-memory host.
//!
//! ```
//! use usher_sdk::prelude::*;
//! use usher_sdk::testing::{TestHost, event};
//! # struct Greeter;
//! # impl Listener for Greeter {
//! #     fn describe() -> Description { Description::new("greeter", "1.0.0", "Greets") }
//! #     fn handle(delivery: Delivery) -> Result<Vec<Emission>, Failure> {
//! #         let name: String = delivery.event.json()?;
//! #         let greeting = usher_sdk::config::require("greeting")?;
//! #         Ok(vec![Emission::new("guest.greeted").json(&format!("{greeting}, {name}!"))?])
//! #     }
//! # }
//!
//! let host = TestHost::new().config("greeting", "Hello");
//! let emitted = host.deliver::<Greeter>(event("guest.arrived", "Ada")).unwrap();
//! assert_eq!(emitted[0].payload(), Ok("Hello, Ada!"));
//! ```
//!
//! Like the real host, it keeps a delivery's writes if it returns `Ok` and drops them if it returns
//! `Err`, rejects a delivery with an invalid emission, and can deny capabilities.

pub(crate) mod backend;
mod emissions;
mod memory;

use std::marker::PhantomData;

use serde::Serialize;

use crate::blobs::Blob;
use crate::http::{Request, Response};
use crate::log::Level;
use crate::{Capability, Delivery, Emission, Error, Event, Failure, Listener};
use memory::Memory;

/// An event with this type and a JSON payload. Set other attributes through its fields.
///
/// # Panics
/// If JSON can't represent the payload.
#[must_use]
#[expect(clippy::panic, reason = "a test that can't make its event has failed")]
pub fn event<T: Serialize + ?Sized>(ty: &str, payload: &T) -> Event {
    let data = serde_json::to_vec(payload)
        .unwrap_or_else(|error| panic!("can't write the payload of {ty} as JSON: {error}"));
    Event {
        id: "event-1".to_owned(),
        source: "/tests".to_owned(),
        ty: ty.to_owned(),
        datacontenttype: Some("application/json".to_owned()),
        data: Some(data),
        ..Event::default()
    }
}

/// Converts an emission into an event, to deliver it to the next listener.
#[must_use]
pub fn emitted(emission: Emission) -> Event {
    Event {
        id: "1/listener/subscription/0".to_owned(),
        source: "/plugins/listener".to_owned(),
        ty: emission.ty,
        subject: emission.subject,
        time: None,
        datacontenttype: emission.datacontenttype,
        dataschema: emission.dataschema,
        extensions: emission.extensions,
        data: emission.data,
    }
}

/// The first delivery of an event. Set other values through its fields.
#[must_use]
pub fn delivery(event: Event) -> Delivery {
    Delivery {
        event,
        plugin: "test".to_owned(),
        subscription: "test".to_owned(),
        attempt: 1,
        sequence: 1,
        deadline_ms: u64::MAX,
        replay: false,
    }
}

impl From<Event> for Delivery {
    fn from(event: Event) -> Self {
        delivery(event)
    }
}

/// An in-memory host, bound to this thread until dropped. By default everything is granted and
/// empty.
#[must_use = "the host is gone when it is dropped: bind it to a name"]
pub struct TestHost {
    /// Makes it `!Send`: the host belongs to the thread that made it.
    thread_bound: PhantomData<*const ()>,
}

impl TestHost {
    /// Installs a new host on this thread.
    ///
    /// # Panics
    /// If this thread already has one.
    pub fn new() -> Self {
        memory::install();
        Self { thread_bound: PhantomData }
    }

    /// Sets a configuration key; see [`TestHost::secret`] for secrets.
    pub fn config(self, key: &str, value: &str) -> Self {
        self.change(|memory| {
            memory.config.insert(key.to_owned(), value.to_owned());
        })
    }

    /// Sets a secret: [`config::get`](crate::config::get) finds it before a setting of that name,
    /// [`config::all`](crate::config::all) doesn't list it.
    pub fn secret(self, key: &str, value: &str) -> Self {
        self.change(|memory| {
            memory.secrets.insert(key.to_owned(), value.to_owned());
        })
    }

    /// Revokes a grant. Without secrets, the key of a secret is like any unconfigured key.
    pub fn deny(self, capability: Capability) -> Self {
        self.change(|memory| {
            memory.denied.insert(capability);
        })
    }

    /// Queues the response to the next HTTP request. Without one, a request fails as if the
    /// connection were refused.
    pub fn answer(self, response: Response) -> Self {
        self.change(|memory| memory.answers.push_back(Ok(response)))
    }

    /// Queues an error as the response to the next HTTP request.
    pub fn answer_error(self, error: Error) -> Self {
        self.change(|memory| memory.answers.push_back(Err(error)))
    }

    /// Delivers an event, or a delivery, to a listener under its own plugin name, as the real host
    /// does.
    ///
    /// # Errors
    /// The listener's failure, or [`Failure::Reject`] for an emission that breaks a rule of the
    /// contract; either way the delivery's effects are dropped.
    pub fn deliver<L: Listener>(
        &self,
        delivery: impl Into<Delivery>,
    ) -> Result<Vec<Emission>, Failure> {
        let before = memory::with(|memory| memory.stored.clone());
        let delivery = Delivery { plugin: L::describe().name, ..delivery.into() };
        let added = emissions::Added::to(&delivery);
        let outcome = L::handle(delivery).and_then(|emitted| added.check(emitted));
        if outcome.is_err() {
            memory::with(|memory| memory.stored = before);
        }
        outcome
    }

    /// HTTP requests made so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        memory::with(|memory| memory.requests.clone())
    }

    /// Log lines written so far.
    #[must_use]
    pub fn logs(&self) -> Vec<(Level, String)> {
        memory::with(|memory| memory.logs.clone())
    }

    /// The value of a key in a bucket.
    #[must_use]
    pub fn state(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        memory::with(|memory| memory.stored.state.get(bucket)?.get(key).cloned())
    }

    /// A blob, by digest.
    #[must_use]
    pub fn blob(&self, digest: &str) -> Option<Blob> {
        memory::with(|memory| memory.stored.blobs.get(digest).cloned())
    }

    /// Stores a blob before the listener runs; returns its digest.
    pub fn put_blob(&self, content: &[u8], content_type: &str) -> String {
        memory::with(|memory| memory.stored.put_blob(content, content_type))
    }

    fn change(self, change: impl FnOnce(&mut Memory)) -> Self {
        memory::with(change);
        self
    }
}

impl Default for TestHost {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        memory::uninstall();
    }
}

#[cfg(test)]
mod tests;
