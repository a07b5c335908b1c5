//! `/blobs`: blobs stored by plugins.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use usher_event::{Digest, media};

use super::client::Client;
use super::params::{Params, PathParams, page};
use super::problem::ApiError;
use super::state::Node;
use crate::project;
use usher_api::{Blobs, BlobsQuery};

/// Reserved for a blob while it is read: the default limit on a blob's size.
const BLOB_ROOM_BYTES: usize = 16 * 1024 * 1024;

/// How long a request waits for room in the budget.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Lists blobs by digest.
pub(super) async fn list(
    State(node): State<Node>,
    Params(range): Params<BlobsQuery>,
) -> Result<Json<Blobs>, ApiError> {
    let records = node.log.list_blobs(range.after, page(range.max)?).await?;
    Ok(Json(Blobs { blobs: records.into_iter().map(project::blob).collect() }))
}

/// A blob's content.
pub(super) async fn one(
    State(node): State<Node>,
    client: Client,
    PathParams(name): PathParams<String>,
    request: HeaderMap,
) -> Result<Response, ApiError> {
    let digest: Digest =
        name.parse().map_err(|error| ApiError::invalid(format!("digest: {error}")))?;
    let room = node.blobs.take_within(client.connection(), BLOB_ROOM_BYTES, PATIENCE).await;
    let room = room.ok_or_else(|| ApiError::busy("too many blobs are being read; try again"))?;
    // The read owns the reservation, since it continues if the client disconnects.
    let (room, read) = tokio::task::spawn_blocking(move || (room, node.log.read_blob(&digest)))
        .await
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let (info, content) =
        read?.ok_or_else(|| ApiError::not_found(format!("there is no blob {digest}")))?;

    let etag = format!("\"{digest}\"");
    let known = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains(&etag));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Body::from(room.charged(content)).into_response()
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::try_from(etag) {
        headers.insert(header::ETAG, etag);
    }
    // The content type is the plugin's claim; a browser must not act on it.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_DISPOSITION, disposition(&info.content_type));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::try_from(info.content_type)
            .unwrap_or(HeaderValue::from_static("application/octet-stream")),
    );
    Ok(response)
}

/// `inline` if a browser may show it. Anything that could run scripts in the API's origin is an
/// attachment.
fn disposition(content_type: &str) -> HeaderValue {
    let essence = media::essence(content_type).to_ascii_lowercase();
    let shown = [
        "application/json",
        "application/pdf",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        "text/plain",
    ];
    HeaderValue::from_static(if shown.contains(&&*essence) { "inline" } else { "attachment" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_inert_content_is_shown() {
        for (content_type, expected) in [
            ("application/pdf", "inline"),
            ("Text/Plain; charset=utf-8", "inline"),
            ("text/html", "attachment"),
            ("image/svg+xml", "attachment"),
            ("", "attachment"),
        ] {
            assert_eq!(disposition(content_type), expected, "{content_type}");
        }
    }
}
