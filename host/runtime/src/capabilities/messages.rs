//! Messages that a component of wasmCloud publishes (wasmcloud:messaging/consumer): emissions, staged
//! until the delivery is acknowledged like all others.

use std::sync::Arc;

use usher_event::{Delivery, Effects, Emission};
use wasmtime::component::Linker;

use crate::bindings::wasmcloud::consumer::{self, BrokerMessage};
use crate::capability::{About, Capability, Grants, Has, View, Viewed};
use crate::limits::size;
use crate::meter::GuestClock;
use crate::plugin::Plugin;

/// One instance's messages.
pub(crate) struct Messages {
    plugin: Arc<Plugin>,
    published: Vec<Emission>,
    left_bytes: usize,
    limit_reached: Option<String>,
}

impl Capability for Messages {
    const ABOUT: &'static [About] = &[About {
        name: None,
        interfaces: &["wasmcloud:messaging/consumer"],
        ability: "publishes messages, which are emissions",
        is_flag: false,
    }];

    type Service = ();
    type Shared = Arc<Plugin>;

    fn share(plugin: &Arc<Plugin>, _: &Grants, (): ()) -> Arc<Plugin> {
        plugin.clone()
    }

    fn new(plugin: &Arc<Arc<Plugin>>, _: &Arc<GuestClock>) -> Self {
        let plugin = Arc::clone(&**plugin);
        Self { plugin, published: Vec::new(), left_bytes: 0, limit_reached: None }
    }

    fn link<T: Has<Self> + Send + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
        consumer::add_to_linker::<_, Viewed<Self>>(linker, T::view)
    }

    fn begin(&mut self, _: &Delivery) {
        self.end();
        self.left_bytes = size(self.plugin.limits.emission_bytes);
        self.limit_reached = None;
    }

    fn limit_reached(&mut self) -> Option<String> {
        self.limit_reached.take()
    }

    fn take(&mut self, effects: &mut Effects) {
        let redactor = &self.plugin.redactor;
        self.published.iter_mut().for_each(|emission| redactor.redact_emission(emission));
        effects.emissions.append(&mut self.published);
    }

    fn end(&mut self) {
        self.published.clear();
    }
}

impl Messages {
    fn refuse(&mut self, words: String) -> String {
        self.limit_reached.get_or_insert_with(|| words.clone());
        words
    }

    fn publish(&mut self, message: BrokerMessage) -> Result<(), String> {
        let BrokerMessage { subject, body, reply_to } = message;
        if reply_to.is_some() {
            return Err("nothing replies to an event: leave reply-to out".to_owned());
        }
        let limits = &self.plugin.limits;
        let (count_max, bytes_max) = (limits.emissions, limits.emission_bytes);
        if self.published.len() >= size(count_max) {
            return Err(self.refuse(format!("one delivery may publish {count_max} messages")));
        }
        let message_bytes = subject.len() + body.len();
        let Some(left_bytes) = self.left_bytes.checked_sub(message_bytes) else {
            let words = format!("one delivery may publish {bytes_max} bytes of messages");
            return Err(self.refuse(words));
        };
        self.left_bytes = left_bytes;
        self.published.push(emission(subject, body));
        Ok(())
    }
}

/// A message has no media type: what is JSON is said to be that, what is text that.
fn emission(subject: String, body: Vec<u8>) -> Emission {
    let media = if serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok() {
        "application/json"
    } else if std::str::from_utf8(&body).is_ok() {
        "text/plain; charset=utf-8"
    } else {
        "application/octet-stream"
    };
    Emission {
        ty: subject,
        datacontenttype: Some(media.to_owned()),
        data: Some(body.into()),
        ..Emission::default()
    }
}

impl consumer::Host for View<'_, Messages> {
    fn request(
        &mut self,
        _: String,
        _: Vec<u8>,
        _: u32,
    ) -> wasmtime::Result<Result<BrokerMessage, String>> {
        Ok(Err("requests have no answer in a log of events: publish a message instead".to_owned()))
    }

    fn publish(&mut self, message: BrokerMessage) -> wasmtime::Result<Result<(), String>> {
        Ok(self.capability.publish(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::testing::{clock, delivery, limited};

    fn message(subject: &str, body: &[u8]) -> BrokerMessage {
        BrokerMessage { subject: subject.to_owned(), body: body.to_vec(), reply_to: None }
    }

    #[test]
    fn what_is_published_is_emitted_within_the_limits() {
        let limits = Limits { emissions: 3, emission_bytes: 20, ..Limits::default() };
        let plugin = limited(limits);
        let shared = Arc::new(Messages::share(&plugin, &Grants::default(), ()));
        let mut messages = Messages::new(&shared, &clock());
        messages.begin(&delivery());
        for (body, expected) in [
            (&b"[1]"[..], "application/json"),
            (b"text", "text/plain; charset=utf-8"),
            (b"\xff", "application/octet-stream"),
        ] {
            messages.publish(message("t", body)).unwrap();
            let emission = messages.published.last().unwrap();
            assert_eq!(emission.datacontenttype.as_deref(), Some(expected));
        }
        let words = messages.publish(message("t", b"4")).unwrap_err();
        assert_eq!(words, "one delivery may publish 3 messages");
        assert_eq!(messages.limit_reached(), Some(words));
        let mut effects = Effects::default();
        messages.take(&mut effects);
        assert_eq!(effects.emissions.len(), 3);

        messages.begin(&delivery());
        let words = messages.publish(message("t", &[b'x'; 20])).unwrap_err();
        assert_eq!(words, "one delivery may publish 20 bytes of messages");
        let replied = BrokerMessage { reply_to: Some("r".to_owned()), ..message("t", b"") };
        assert!(messages.publish(replied).is_err());
    }
}
