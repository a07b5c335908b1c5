//! wasmcloud:messaging/consumer 0.2.0.

use usher_event::Emission;

use super::{Messages, media_type};
use crate::bindings::wasmcloud::consumer::{self, BrokerMessage};
use crate::capability::View;

impl consumer::Host for View<'_, Messages> {
    fn request(
        &mut self,
        _: String,
        _: Vec<u8>,
        _: u32,
    ) -> wasmtime::Result<Result<BrokerMessage, String>> {
        Ok(Err(super::NOTHING_ANSWERS.to_owned()))
    }

    fn publish(&mut self, message: BrokerMessage) -> wasmtime::Result<Result<(), String>> {
        let BrokerMessage { subject, body, reply_to } = message;
        if reply_to.is_some() {
            return Ok(Err("nothing replies to an event: leave reply-to out".to_owned()));
        }
        let bytes = body.len();
        let emission = Emission {
            datacontenttype: Some(media_type(&body).to_owned()),
            data: Some(body.into()),
            ..Emission::default()
        };
        Ok(self.capability.publish(subject, emission, bytes))
    }
}
