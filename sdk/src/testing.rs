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
//! As with the real host, what a delivery writes is kept if it returns `Ok` and dropped if it
//! returns `Err`, emissions that break a rule have the delivery rejected, and a capability can be
//! denied.

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

/// An event of some type with a JSON payload. Its other attributes can be changed as fields.
///
/// # Panics
/// If JSON can't express the payload.
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

/// The event that an emission becomes, to hand it on to the next listener.
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

/// A first delivery of an event. Its circumstances can be changed as fields.
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

/// The host of one test, for this thread, until it is dropped. Everything is granted, and empty,
/// unless said otherwise.
#[must_use = "the host is gone when it is dropped: bind it to a name"]
pub struct TestHost {
    /// The host belongs to the thread that made it.
    thread_bound: PhantomData<*const ()>,
}

impl TestHost {
    /// A fresh host.
    ///
    /// # Panics
    /// If this thread has one already.
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

    /// Takes back a grant. Without that of secrets there are none, and a key that names one is as
    /// any other that isn't configured.
    pub fn deny(self, capability: Capability) -> Self {
        self.change(|memory| {
            memory.denied.insert(capability);
        })
    }

    /// Scripts the answer to the next HTTP request that has none yet. A request without an answer
    /// fails as if nobody listened.
    pub fn answer(self, response: Response) -> Self {
        self.change(|memory| memory.answers.push_back(Ok(response)))
    }

    /// Scripts that the next HTTP request that has no answer yet fails.
    pub fn answer_error(self, error: Error) -> Self {
        self.change(|memory| memory.answers.push_back(Err(error)))
    }

    /// Hands an event, or a delivery, to a listener; as the real host does, under its own name.
    ///
    /// # Errors
    /// What the listener fails with, or [`Failure::Reject`] for an emission that breaks a rule of
    /// the contract; the delivery's effects are dropped then.
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

    /// The HTTP requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        memory::with(|memory| memory.requests.clone())
    }

    /// What was logged so far.
    #[must_use]
    pub fn logs(&self) -> Vec<(Level, String)> {
        memory::with(|memory| memory.logs.clone())
    }

    /// The bytes that a key of a bucket holds.
    #[must_use]
    pub fn state(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        memory::with(|memory| memory.stored.state.get(bucket)?.get(key).cloned())
    }

    /// A blob by its digest.
    #[must_use]
    pub fn blob(&self, digest: &str) -> Option<Blob> {
        memory::with(|memory| memory.stored.blobs.get(digest).cloned())
    }

    /// Puts a blob there before the listener runs; answers its digest.
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
