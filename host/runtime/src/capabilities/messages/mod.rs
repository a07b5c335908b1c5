//! Messages that components of other hosts take and publish: of wasmCloud ([`wasmcloud`]) and of the
//! proposal wasi:messaging ([`wasi`]). What is published are emissions, staged until the delivery is
//! acknowledged like all others.

mod subjects;
pub(crate) mod wasi;
mod wasmcloud;

use std::sync::Arc;

use usher_event::{Delivery, Effects, Emission, Event};
use wasmtime::component::Linker;

use crate::bindings::messaging::{producer, request_reply, types};
use crate::bindings::wasmcloud::consumer;
use crate::capability::{About, Capability, Grants, Has, Viewed};
use crate::limits::{Limits, size};
use crate::meter::GuestClock;
use crate::plugin::Plugin;
pub(crate) use subjects::Subjects;

/// Why a request is refused.
const NOTHING_ANSWERS: &str =
    "requests have no answer in a log of events: publish a message instead";

/// What a plugin's instances share.
pub(crate) struct Shared {
    plugin: Arc<Plugin>,
    subjects: Subjects,
}

/// One instance's messages.
pub(crate) struct Messages {
    shared: Arc<Shared>,
    /// The event that is being delivered and its sequence, until the delivery ends.
    delivered: Option<(u64, Event)>,
    /// Bytes of messages that the guest holds and has not published.
    held_bytes: usize,
    published: Vec<Emission>,
    left_bytes: usize,
    limit_reached: Option<String>,
}

impl Capability for Messages {
    const ABOUT: &'static [About] = &[About {
        name: None,
        interfaces: &["wasmcloud:messaging/consumer", "wasi:messaging/"],
        ability: "publishes messages, which are emissions",
        is_flag: false,
    }];

    type Service = ();
    type Shared = Shared;

    fn share(plugin: &Arc<Plugin>, grants: &Grants, (): ()) -> Shared {
        let subjects = grants.subjects().cloned().unwrap_or_default();
        Shared { plugin: plugin.clone(), subjects: Subjects::new(subjects) }
    }

    fn new(shared: &Arc<Shared>, _: &Arc<GuestClock>) -> Self {
        Self {
            shared: shared.clone(),
            delivered: None,
            held_bytes: 0,
            published: Vec::new(),
            left_bytes: 0,
            limit_reached: None,
        }
    }

    fn link<T: Has<Self> + Send + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
        consumer::add_to_linker::<_, Viewed<Self>>(linker, T::view)?;
        types::add_to_linker::<_, Viewed<Self>>(linker, T::view)?;
        producer::add_to_linker::<_, Viewed<Self>>(linker, T::view)?;
        request_reply::add_to_linker::<_, Viewed<Self>>(linker, T::view)
    }

    fn begin(&mut self, _: &Delivery) {
        self.end();
        self.left_bytes = size(self.shared.plugin.limits.emission_bytes);
        self.limit_reached = None;
    }

    fn limit_reached(&mut self) -> Option<String> {
        self.limit_reached.take()
    }

    fn take(&mut self, effects: &mut Effects) {
        let redactor = &self.shared.plugin.redactor;
        self.published.iter_mut().for_each(|emission| redactor.redact_emission(emission));
        effects.emissions.append(&mut self.published);
    }

    fn end(&mut self) {
        self.delivered = None;
        self.published.clear();
    }
}

impl Messages {
    /// The subject of an event.
    pub(crate) fn subject<'a>(&'a self, event: &'a Event) -> &'a str {
        self.shared.subjects.subject(event.ty())
    }

    /// Bytes of messages that the guest still has.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// How much it may have: what was delivered, and what it may publish.
    fn held_max_bytes(limits: &Limits) -> usize {
        size(limits.emission_bytes).saturating_add(size(limits.host_call_bytes))
    }

    /// Whether an instance that still has so much had better be replaced.
    pub(crate) fn is_much(held_bytes: usize, limits: &Limits) -> bool {
        held_bytes > Self::held_max_bytes(limits) / 2
    }

    fn refuse(&mut self, words: String) -> String {
        self.limit_reached.get_or_insert_with(|| words.clone());
        words
    }

    /// Stages an emission whose type is that of a subject, made of a message of `bytes`.
    fn publish(&mut self, subject: String, emission: Emission, bytes: usize) -> Result<(), String> {
        let limits = &self.shared.plugin.limits;
        let (count_max, bytes_max) = (limits.emissions, limits.emission_bytes);
        if self.published.len() >= size(count_max) {
            return Err(self.refuse(format!("one delivery may publish {count_max} messages")));
        }
        let message_bytes = subject.len() + bytes;
        let Some(left_bytes) = self.left_bytes.checked_sub(message_bytes) else {
            let words = format!("one delivery may publish {bytes_max} bytes of messages");
            return Err(self.refuse(words));
        };
        self.left_bytes = left_bytes;
        self.published.push(Emission { ty: self.shared.subjects.ty(subject), ..emission });
        Ok(())
    }
}

/// The media type of a message that has none: what is JSON is said to be that, what is text that.
fn media_type(body: &[u8]) -> &'static str {
    if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() {
        "application/json"
    } else if std::str::from_utf8(body).is_ok() {
        "text/plain; charset=utf-8"
    } else {
        "application/octet-stream"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{clock, delivery, limited};

    fn messages(limits: Limits) -> Messages {
        let grants = Grants::default().with_subjects([("t".into(), "com.test.t".into())].into());
        Messages::new(&Arc::new(Messages::share(&limited(limits), &grants, ())), &clock())
    }

    fn emission(body: &[u8]) -> Emission {
        Emission { data: Some(body.to_vec().into()), ..Emission::default() }
    }

    #[test]
    fn what_is_published_is_emitted_within_the_limits() {
        let limits = Limits { emissions: 3, emission_bytes: 20, ..Limits::default() };
        let mut messages = messages(limits);
        messages.begin(&delivery());
        for subject in ["t", "t", "u"] {
            messages.publish(subject.to_owned(), emission(b"[1]"), 3).unwrap();
        }
        let words = messages.publish("t".to_owned(), emission(b"4"), 1).unwrap_err();
        assert_eq!(words, "one delivery may publish 3 messages");
        assert_eq!(messages.limit_reached(), Some(words));
        let mut effects = Effects::default();
        messages.take(&mut effects);
        let types: Vec<_> = effects.emissions.iter().map(|emission| &*emission.ty).collect();
        assert_eq!(types, ["com.test.t", "com.test.t", "u"]);

        messages.begin(&delivery());
        let words = messages.publish("t".to_owned(), emission(b""), 20).unwrap_err();
        assert_eq!(words, "one delivery may publish 20 bytes of messages");
    }

    #[test]
    fn a_message_without_a_media_type_is_what_it_looks_like() {
        for (body, expected) in [
            (&b"[1]"[..], "application/json"),
            (b"text", "text/plain; charset=utf-8"),
            (b"\xff", "application/octet-stream"),
        ] {
            assert_eq!(media_type(body), expected);
        }
    }
}
