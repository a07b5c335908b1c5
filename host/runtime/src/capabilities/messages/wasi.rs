//! wasi:messaging 0.2.0-draft: types, producer and request-reply.
//!
//! Metadata are attributes of the event, named as in the HTTP binding: `ce-subject`. Of a message that is
//! sent, those count that a plugin may set; others are ignored, so that a message can be passed on as
//! it was received.

use std::collections::BTreeMap;

use usher_event::{Delivery, Emission, Event, LINEAGE_EXTENSIONS, Value};
use wasmtime::component::{Resource, ResourceTable};

use super::{Messages, NOTHING_ANSWERS, media_type};
use crate::bindings::messaging::types::{self, Error, MetadataError};
use crate::bindings::messaging::{producer, request_reply};
use crate::capability::View;

const PREFIX: &str = "ce-";
/// Attributes that the router sets, besides those of [`LINEAGE_EXTENSIONS`].
const ROUTERS: [&str; 5] = ["id", "source", "specversion", "type", "time"];

/// Counted for each piece of metadata besides its text.
const PIECE_BYTES: usize = 64;

/// A connection to the router; has nothing.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Client;

/// Options of a request; it is refused in any case.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct RequestOptions;

/// A message.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
#[derive(Default)]
pub struct Message {
    /// That of the event which was delivered; empty once its delivery has ended.
    sequence: Option<u64>,
    content_type: Option<String>,
    data: Vec<u8>,
    metadata: BTreeMap<String, String>,
}

fn piece_bytes(key: &str, value: &str) -> usize {
    PIECE_BYTES + key.len() + value.len()
}

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Message {
    fn bytes(&self) -> usize {
        let metadata = self.metadata.iter().map(|(key, value)| piece_bytes(key, value));
        let text = self.content_type.as_ref().map_or(0, String::len);
        self.data.len() + text + metadata.sum::<usize>()
    }

    /// A message like an event.
    fn of(event: &Event) -> Self {
        let mut metadata = BTreeMap::new();
        let mut add = |name: &str, value: &str| {
            metadata.insert(format!("{PREFIX}{name}"), value.to_owned());
        };
        add("id", event.id());
        add("source", event.source());
        add("type", event.ty());
        for (name, value) in [
            ("subject", event.subject()),
            ("time", event.time()),
            ("dataschema", event.dataschema()),
        ] {
            value.into_iter().for_each(|value| add(name, value));
        }
        for (name, _) in event.extensions() {
            event.attribute(name).into_iter().for_each(|value| add(name, &value));
        }
        Self {
            sequence: None,
            content_type: event.datacontenttype().map(str::to_owned),
            data: event.data_slice().unwrap_or_default().to_vec(),
            metadata,
        }
    }

    fn into_emission(self) -> Emission {
        let Self { content_type, data, metadata, .. } = self;
        let mut emission = Emission {
            datacontenttype: Some(content_type.unwrap_or_else(|| media_type(&data).to_owned())),
            data: Some(data.into()),
            ..Emission::default()
        };
        for (key, value) in metadata {
            match key.strip_prefix(PREFIX) {
                Some("subject") => emission.subject = Some(value),
                Some("dataschema") => emission.dataschema = Some(value),
                Some(name) if !ROUTERS.contains(&name) && !LINEAGE_EXTENSIONS.contains(&name) => {
                    emission.extensions.push((name.to_owned(), Value::String(value)));
                }
                _ => {}
            }
        }
        emission
    }
}

impl Messages {
    /// The message that a delivery is handled with.
    pub(crate) fn deliver(
        &mut self,
        table: &mut ResourceTable,
        delivery: &Delivery,
    ) -> wasmtime::Result<Resource<Message>> {
        self.delivered = Some((delivery.sequence, delivery.event.clone()));
        let message = Message { sequence: Some(delivery.sequence), ..Message::default() };
        Ok(table.push(message)?)
    }
}

impl View<'_, Messages> {
    /// What a guest's handle stands for, with what was delivered put into it where it is to be changed
    /// or sent.
    fn message(&mut self, handle: &Resource<Message>) -> wasmtime::Result<&mut Message> {
        let message = self.table.get_mut(handle)?;
        if let (Some(sequence), Some((delivered, event))) =
            (message.sequence.take(), &self.capability.delivered)
            && sequence == *delivered
        {
            *message = Message::of(event);
            self.capability.held_bytes += message.bytes();
        }
        Ok(message)
    }

    /// Changes a message, unless the guest would then hold more than it may publish: what it leaves
    /// out fails the delivery.
    fn change(
        &mut self,
        handle: &Resource<Message>,
        more_bytes: usize,
        change: impl FnOnce(&mut Message),
    ) -> wasmtime::Result<()> {
        let max_bytes = Messages::held_max_bytes(&self.capability.shared.plugin.limits);
        if self.capability.held_bytes.saturating_add(more_bytes) > max_bytes {
            let words = format!("messages may have {max_bytes} bytes together");
            self.capability.refuse(words);
            return Ok(());
        }
        let message = self.message(handle)?;
        let before = message.bytes();
        change(message);
        let after = message.bytes();
        let held_bytes = &mut self.capability.held_bytes;
        *held_bytes = held_bytes.saturating_add(after).saturating_sub(before);
        Ok(())
    }

    fn delete(&mut self, handle: Resource<Message>) -> wasmtime::Result<Message> {
        let message = self.table.delete(handle)?;
        self.capability.held_bytes = self.capability.held_bytes.saturating_sub(message.bytes());
        Ok(message)
    }
}

impl types::Host for View<'_, Messages> {}

impl types::HostClient for View<'_, Messages> {
    fn connect(&mut self, _: String) -> Answer<Resource<Client>> {
        Ok(Ok(self.table.push(Client)?))
    }

    fn disconnect(&mut self, _: Resource<Client>) -> Answer<()> {
        Ok(Ok(()))
    }

    fn drop(&mut self, client: Resource<Client>) -> wasmtime::Result<()> {
        self.table.delete(client)?;
        Ok(())
    }
}

impl types::HostMessage for View<'_, Messages> {
    fn new(&mut self, data: Vec<u8>) -> wasmtime::Result<Resource<Message>> {
        let message = self.table.push(Message::default())?;
        let handle = Resource::new_borrow(message.rep());
        self.change(&handle, data.len(), |message| message.data = data)?;
        Ok(message)
    }

    fn topic(&mut self, handle: Resource<Message>) -> wasmtime::Result<Option<String>> {
        let message = self.message(&handle)?;
        let ty = message.metadata.get("ce-type").cloned();
        Ok(ty.map(|ty| self.capability.shared.subjects.subject(&ty).to_owned()))
    }

    fn content_type(&mut self, handle: Resource<Message>) -> wasmtime::Result<Option<String>> {
        Ok(self.message(&handle)?.content_type.clone())
    }

    fn set_content_type(
        &mut self,
        handle: Resource<Message>,
        content_type: String,
    ) -> wasmtime::Result<Result<(), ()>> {
        let change = |message: &mut Message| message.content_type = Some(content_type.clone());
        self.change(&handle, content_type.len(), change).map(Ok)
    }

    fn data(&mut self, handle: Resource<Message>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.message(&handle)?.data.clone())
    }

    fn set_data(&mut self, handle: Resource<Message>, data: Vec<u8>) -> wasmtime::Result<()> {
        self.change(&handle, data.len(), |message| message.data = data)
    }

    fn metadata(
        &mut self,
        handle: Resource<Message>,
    ) -> wasmtime::Result<Option<Vec<(String, String)>>> {
        let metadata = self.message(&handle)?.metadata.clone();
        Ok((!metadata.is_empty()).then(|| metadata.into_iter().collect()))
    }

    fn add_metadata(
        &mut self,
        handle: Resource<Message>,
        key: String,
        value: String,
    ) -> wasmtime::Result<Result<(), MetadataError>> {
        let bytes = piece_bytes(&key, &value);
        self.change(&handle, bytes, |message| {
            message.metadata.insert(key, value);
        })
        .map(Ok)
    }

    fn set_metadata(
        &mut self,
        handle: Resource<Message>,
        metadata: Vec<(String, String)>,
    ) -> wasmtime::Result<Result<(), MetadataError>> {
        let bytes = metadata.iter().map(|(key, value)| piece_bytes(key, value)).sum();
        let change = |message: &mut Message| message.metadata = metadata.into_iter().collect();
        self.change(&handle, bytes, change).map(Ok)
    }

    fn remove_metadata(&mut self, handle: Resource<Message>, key: String) -> wasmtime::Result<()> {
        self.change(&handle, 0, |message| {
            message.metadata.remove(&key);
        })
    }

    fn drop(&mut self, handle: Resource<Message>) -> wasmtime::Result<()> {
        self.delete(handle).map(drop)
    }
}

impl producer::Host for View<'_, Messages> {
    fn send(
        &mut self,
        _: Resource<Client>,
        topic: String,
        handle: Resource<Message>,
    ) -> Answer<()> {
        self.message(&handle)?;
        let message = self.delete(handle)?;
        let bytes = message.bytes();
        let sent = self.capability.publish(topic, message.into_emission(), bytes);
        Ok(sent.map_err(Error::Other))
    }
}

impl request_reply::Host for View<'_, Messages> {
    fn request(
        &mut self,
        _: Resource<Client>,
        _: String,
        _: Resource<Message>,
        options: Option<Resource<RequestOptions>>,
    ) -> Answer<Vec<Resource<Message>>> {
        if let Some(options) = options {
            self.table.delete(options)?;
        }
        Ok(Err(Error::Other(NOTHING_ANSWERS.to_owned())))
    }

    fn reply(&mut self, _: Resource<Message>, message: Resource<Message>) -> Answer<()> {
        self.delete(message)?;
        let words = "nobody waits for a reply to an event: send a message to a topic instead";
        Ok(Err(Error::Other(words.to_owned())))
    }
}

impl request_reply::HostRequestOptions for View<'_, Messages> {
    fn new(&mut self) -> wasmtime::Result<Resource<RequestOptions>> {
        Ok(self.table.push(RequestOptions)?)
    }

    fn set_timeout_ms(&mut self, _: Resource<RequestOptions>, _: u32) -> wasmtime::Result<()> {
        Ok(())
    }

    fn set_expected_replies(
        &mut self,
        _: Resource<RequestOptions>,
        _: u32,
    ) -> wasmtime::Result<()> {
        Ok(())
    }

    fn drop(&mut self, options: Resource<RequestOptions>) -> wasmtime::Result<()> {
        self.table.delete(options)?;
        Ok(())
    }
}
