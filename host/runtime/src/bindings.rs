//! Bindings generated from wit/. The rest of the crate uses only the names re-exported here.

#![allow(missing_docs, reason = "generated; the documentation is in wit/")]
#![allow(clippy::all, reason = "generated")]
#![allow(unreachable_pub, reason = "generated")]

mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "usher:plugin/plugin",
        imports: {
            "usher:plugin/blobs": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
        with: {
            "wasi:keyvalue/store.bucket": crate::capabilities::state::handles::Bucket,
            "wasi:keyvalue/atomics.cas": crate::capabilities::state::handles::Cas,
        },
    });
}

/// Drafts that components built for other hosts import.
mod generated_drafts {
    wasmtime::component::bindgen!({
        path: "wit/drafts",
        world: "usher:drafts/drafts",
        imports: { default: trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::capabilities::state::handles::Bucket,
        },
    });
}

/// Messages of wasmCloud's components.
mod generated_wasmcloud {
    wasmtime::component::bindgen!({
        path: "wit/wasmcloud",
        world: "usher:wasmcloud/messaging",
        imports: { default: trappable },
        exports: { default: async },
    });
}

/// Messages of the proposal wasi:messaging.
mod generated_messaging {
    wasmtime::component::bindgen!({
        path: "wit/messaging",
        world: "usher:messaging/messages",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "wasi:messaging/types.client": crate::capabilities::messages::wasi::Client,
            "wasi:messaging/types.message": crate::capabilities::messages::wasi::Message,
            "wasi:messaging/request-reply.request-options":
                crate::capabilities::messages::wasi::RequestOptions,
        },
    });
}

pub(crate) mod messaging {
    pub(crate) use super::generated_messaging::wasi::messaging::{producer, request_reply, types};
    pub(crate) use super::generated_messaging::{Messages, MessagesIndices};
}

pub(crate) mod wasmcloud {
    pub(crate) use super::generated_wasmcloud::wasmcloud::messaging::{consumer, types};
    pub(crate) use super::generated_wasmcloud::{Messaging, MessagingIndices};
}

pub(crate) mod drafts {
    pub(crate) use super::generated_drafts::wasi::keyvalue::{atomics, batch, store as keyvalue};
}
pub(crate) use generated::usher::plugin::{blobs, contract};
pub(crate) use generated::wasi::config::store as config;
pub(crate) use generated::wasi::keyvalue::{atomics, batch, store as keyvalue};
pub(crate) use generated::wasi::logging::logging;
pub(crate) use generated::{Plugin as World, PluginIndices as WorldIndices};
