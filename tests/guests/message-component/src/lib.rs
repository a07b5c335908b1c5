//! Takes and publishes messages as components of wasmCloud do. The subject says what happens:
//! `message.fail`: an error; `message.request`: a request, whose error is published;
//! `message.many`: as many messages as the body says; any other: its body, as `message.done`.

#![allow(
    missing_docs,
    unreachable_pub,
    unsafe_code,
    clippy::all,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "made by wit-bindgen, which alone may pass pointers to the host"
)]

wit_bindgen::generate!({
    path: "../../../host/runtime/wit/wasmcloud",
    world: "usher:wasmcloud/messaging",
    generate_all,
});

use exports::wasmcloud::messaging::handler::Guest;
use wasmcloud::messaging::consumer::{publish, request};
use wasmcloud::messaging::types::BrokerMessage;

struct Component;

impl Guest for Component {
    fn handle_message(message: BrokerMessage) -> Result<(), String> {
        let done = |body: Vec<u8>| {
            publish(&BrokerMessage { subject: "message.done".to_owned(), body, reply_to: None })
        };
        match message.subject.as_str() {
            "message.fail" => Err("asked to fail".to_owned()),
            "message.request" => match request("any", &[], 1) {
                Ok(_) => done(b"\"answered\"".to_vec()),
                Err(error) => done(error.into_bytes()),
            },
            "message.many" => {
                let count = String::from_utf8_lossy(&message.body).parse().unwrap_or(0_u32);
                for number in 0..count {
                    // What is refused fails the delivery in any case.
                    let _ = done(number.to_string().into_bytes());
                }
                Ok(())
            }
            _ => done(message.body),
        }
    }
}

export!(Component);
