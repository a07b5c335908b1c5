//! `GET /plugins/{plugin}/state`: what a plugin keeps, read only.

use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use usher_api::{StateQuery, StateValue, StateValues};
use usher_broker::StateRecord;

use super::answers;
use super::client::Client;
use super::params::{Params, PathParams, page};
use super::plugins::plugin;
use super::problem::ApiError;
use super::state::Node;

/// Values by bucket and key.
pub(super) async fn list(
    State(node): State<Node>,
    client: Client,
    PathParams(name): PathParams<String>,
    Params(asked): Params<StateQuery>,
) -> Result<Response, ApiError> {
    let name = plugin(&name)?;
    let after = match (asked.after_bucket, asked.after_key) {
        (None, None) => None,
        (bucket, key) => Some((bucket.unwrap_or_default(), key.unwrap_or_default())),
    };
    let room = answers::room(&node, &client).await?;
    let records = node.log.list_state(&name, after, page(asked.max)?, asked.at).await?;
    answers::json(room, &StateValues { values: records.into_iter().map(value).collect() })
}

fn value(StateRecord { bucket, key, value }: StateRecord) -> StateValue {
    let size_bytes = value.len() as u64;
    // JSON writes a control character in six bytes; base64 keeps the response within its room.
    let is_text = |text: &str| !text.chars().any(|c| c.is_control() && !"\n\r\t".contains(c));
    match String::from_utf8(value.to_vec()) {
        Ok(text) if is_text(&text) => {
            StateValue { bucket, key, size_bytes, value: Some(text), value_base64: None }
        }
        _ => {
            let value_base64 = Some(BASE64_STANDARD.encode(&value));
            StateValue { bucket, key, size_bytes, value: None, value_base64 }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_is_no_text_is_base64() {
        for (bytes, text, base64) in [
            (&b"{\"a\": 1}\n"[..], Some("{\"a\": 1}\n"), None),
            (b"", Some(""), None),
            (b"\x00\x01", None, Some("AAE=")),
            (b"\xff", None, Some("/w==")),
        ] {
            let record = StateRecord {
                bucket: "b".to_owned(),
                key: "k".to_owned(),
                value: Bytes::from_static(bytes),
            };
            let told = value(record);
            assert_eq!((told.value.as_deref(), told.value_base64.as_deref()), (text, base64));
            assert_eq!(told.size_bytes, bytes.len() as u64);
        }
    }
}
