//! Takes and sends messages as the proposal wasi:messaging has them. The topic says what happens:
//! `topic.fail`: an error; `topic.request`: a request, whose error is sent; `topic.hoard`: more in
//! messages than may be held; `topic.metadata`: more metadata than may be sent; `topic.forward`: the message itself goes on, to `topic.forwarded`; any
//! other: a new message with its data and what was in its metadata, to `topic.done`.

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
    path: "../../../host/runtime/wit/messaging",
    world: "usher:messaging/messages",
    generate_all,
});

use exports::wasi::messaging::incoming_handler::Guest;
use wasi::messaging::producer::send;
use wasi::messaging::request_reply::{RequestOptions, request};
use wasi::messaging::types::{Client, Error, Message};

struct Component;

impl Guest for Component {
    fn handle(message: Message) -> Result<(), Error> {
        let client = Client::connect("any")?;
        match message.topic().unwrap_or_default().as_str() {
            "topic.fail" => Err(Error::PermissionDenied("asked to fail".to_owned())),
            "topic.request" => {
                let options = RequestOptions::new();
                options.set_timeout_ms(1);
                let words = match request(&client, "any", &Message::new(b"?"), Some(options)) {
                    Ok(_) => "answered".to_owned(),
                    Err(Error::Other(words)) => words,
                    Err(_) => "another error".to_owned(),
                };
                send(&client, "topic.done", Message::new(words.as_bytes()))
            }
            "topic.hoard" => {
                let content = vec![0; 1 << 20];
                let hoard: Vec<_> = (0..8).map(|_| Message::new(&content)).collect();
                send(&client, "topic.done", Message::new(hoard.len().to_string().as_bytes()))
            }
            "topic.metadata" => {
                let value = "x".repeat(1 << 20);
                for _ in 0..4 {
                    let much = Message::new(&[]);
                    let _ = much.add_metadata("ce-much", &value);
                    // What is refused fails the delivery in any case.
                    let _ = send(&client, "topic.done", much);
                }
                Ok(())
            }
            "topic.forward" => {
                let _ = message.add_metadata("ce-hops", "1");
                message.remove_metadata("ce-subject");
                send(&client, "topic.forwarded", message)
            }
            _ => {
                let done = Message::new(&message.data());
                let had = message.metadata().unwrap_or_default();
                let names: Vec<_> = had.iter().map(|(name, _)| name.as_str()).collect();
                let _ = done.set_metadata(&[
                    ("ce-subject".to_owned(), names.join(" ")),
                    ("other".to_owned(), "ignored".to_owned()),
                ]);
                let _ = done.set_content_type("text/x-test");
                send(&client, "topic.done", done)
            }
        }
    }
}

export!(Component);
