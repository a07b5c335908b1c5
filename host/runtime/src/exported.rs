//! What a component exports for deliveries: the contract's listener, or an interface of other hosts
//! with its adapter. Grants, limits and recordings are below all of them; an adapter only says what
//! a delivery is called with, and what the answer means.

use usher_event::{Delivery, HttpReply};
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyIndices};

use crate::bindings::messaging::types::Error as MessageError;
use crate::bindings::messaging::{Messages, MessagesIndices};
use crate::bindings::wasmcloud::types::BrokerMessage;
use crate::bindings::wasmcloud::{Messaging, MessagingIndices};
use crate::bindings::{World, WorldIndices, contract};
use crate::convert;
use crate::guest::Guest;
use crate::incoming_http;
use crate::limits::Limits;

/// The interface that plugins built for Usher export.
pub(crate) const LISTENER: &str = "usher:plugin/listener@0.1.0";
/// The interface of components that serve HTTP, in any version of WASI 0.2.
const INCOMING_HTTP: &str = "wasi:http/incoming-handler@0.2.";
/// The interface of wasmCloud's components that take messages.
const MESSAGES: &str = "wasmcloud:messaging/handler@0.2.";
/// The interface of the proposal's components that take messages.
const WASI_MESSAGES: &str = "wasi:messaging/incoming-handler@0.2.0-draft";

/// Which interface a component is called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The contract's.
    Listener,
    /// `wasi:http/incoming-handler`.
    IncomingHttp,
    /// `wasmcloud:messaging/handler`.
    Messages,
    /// `wasi:messaging/incoming-handler`.
    WasiMessages,
}

impl Kind {
    /// What a component of this kind is, as its summary; `None` if it says so itself.
    pub(crate) fn summary(self) -> Option<&'static str> {
        match self {
            Self::Listener => None,
            Self::IncomingHttp => Some("serves HTTP (wasi:http/incoming-handler)"),
            Self::Messages => Some("takes messages (wasmcloud:messaging/handler)"),
            Self::WasiMessages => Some("takes messages (wasi:messaging/incoming-handler)"),
        }
    }
}

impl Kind {
    /// That of a component with these exports; of several kinds the first here. `None` if there is
    /// none.
    pub(crate) fn of<'a>(exports: impl Iterator<Item = &'a str> + Clone) -> Option<Self> {
        let kinds = [
            (LISTENER, Self::Listener),
            (INCOMING_HTTP, Self::IncomingHttp),
            (MESSAGES, Self::Messages),
            (WASI_MESSAGES, Self::WasiMessages),
        ];
        // A line of versions, or one version.
        let is_it = |name: &str, known: &str| match known.ends_with('.') {
            true => name.starts_with(known),
            false => name == known,
        };
        let has = |known: &str| exports.clone().any(|name| is_it(name, known));
        kinds.into_iter().find(|(known, _)| has(known)).map(|(_, kind)| kind)
    }
}

/// Where the exports of a linked component are.
#[derive(Clone)]
pub(crate) enum Indices {
    Listener(WorldIndices),
    IncomingHttp(ProxyIndices),
    Messages(MessagingIndices),
    WasiMessages(MessagesIndices),
}

/// The exports of an instance.
pub(crate) enum Exported {
    Listener(World),
    IncomingHttp(Proxy),
    Messages(Messaging),
    WasiMessages(Messages),
}

/// What a call was answered with.
pub(crate) enum Answer {
    Listener(Result<Vec<contract::Emission>, contract::Failure>),
    IncomingHttp(HttpReply),
    /// What was published is among the effects already.
    Messages(Result<(), String>),
}

impl Indices {
    /// # Errors
    /// The export has another type than the interface.
    pub(crate) fn new(kind: Kind, pre: &InstancePre<Guest>) -> wasmtime::Result<Self> {
        Ok(match kind {
            Kind::Listener => Self::Listener(WorldIndices::new(pre)?),
            Kind::IncomingHttp => Self::IncomingHttp(ProxyIndices::new(pre)?),
            Kind::Messages => Self::Messages(MessagingIndices::new(pre)?),
            Kind::WasiMessages => Self::WasiMessages(MessagesIndices::new(pre)?),
        })
    }

    pub(crate) fn load(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
    ) -> wasmtime::Result<Exported> {
        Ok(match self {
            Self::Listener(indices) => Exported::Listener(indices.load(store, instance)?),
            Self::IncomingHttp(indices) => Exported::IncomingHttp(indices.load(store, instance)?),
            Self::Messages(indices) => Exported::Messages(indices.load(store, instance)?),
            Self::WasiMessages(indices) => Exported::WasiMessages(indices.load(store, instance)?),
        })
    }
}

impl Exported {
    /// Calls it with a delivery.
    pub(crate) async fn handle(
        &self,
        store: &mut Store<Guest>,
        delivery: &Delivery,
        deadline_ms: u64,
        limits: &Limits,
    ) -> wasmtime::Result<Answer> {
        match self {
            Self::Listener(world) => {
                let extensions = convert::extensions(&delivery.event);
                let extensions = convert::borrow_extensions(&extensions);
                let asked = convert::delivery(delivery, &extensions, deadline_ms);
                let call = world.usher_plugin_listener().call_handle(store, asked);
                call.await.map(Answer::Listener)
            }
            Self::IncomingHttp(proxy) => {
                // Boxed, here and below: it would enlarge the future of every listener's delivery.
                let reply = incoming_http::handle(proxy, store, delivery, limits);
                Box::pin(reply).await.map(Answer::IncomingHttp)
            }
            Self::Messages(messaging) => {
                let event = &delivery.event;
                let subject = store.data().capabilities.messages.subject(event);
                let message = BrokerMessage {
                    subject: subject.to_owned(),
                    body: event.data_slice().unwrap_or_default().to_vec(),
                    reply_to: None,
                };
                let call = messaging.wasmcloud_messaging_handler();
                let call = call.call_handle_message(store, &message);
                Box::pin(call).await.map(Answer::Messages)
            }
            Self::WasiMessages(messages) => {
                let capabilities = &mut store.data_mut().capabilities;
                let table = &mut capabilities.table;
                let message = capabilities.messages.deliver(table, delivery)?;
                let call = messages.wasi_messaging_incoming_handler().call_handle(store, message);
                let answer = Box::pin(call).await?;
                Ok(Answer::Messages(answer.map_err(|error| match error {
                    MessageError::Timeout => "timeout".to_owned(),
                    MessageError::Connection(words) => format!("connection: {words}"),
                    MessageError::PermissionDenied(words) => format!("permission denied: {words}"),
                    MessageError::Other(words) => words,
                })))
            }
        }
    }
}
