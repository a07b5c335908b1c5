//! `Content-Encoding` of request bodies: gzip (RFC 1952) and zstd (RFC 8878) are decoded within the
//! limits of a body that comes as it is. What a decoder writes is charged to the same budget, so
//! that a body of a few bytes can't become more than one that was sent whole.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, header};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::body::{BodyBudget, RequestBody};
use super::connections::Connection;
use super::problem::ApiError;

/// Limit on bodies that are decoded at a time, each of which may hold a window.
pub(super) const DECODERS_MAX: usize = 8;

/// The largest window of zstd, as for clients of the web (RFC 9659).
const WINDOW_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Decoded at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As it is.
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// The encoding of a request.
    ///
    /// # Errors
    /// 415 for any other, and for several.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let coding = match (values.next(), values.next()) {
            (None, _) => return Ok(Self::Identity),
            (Some(value), None) => value.to_str().unwrap_or_default().to_ascii_lowercase(),
            (Some(_), Some(_)) => String::new(),
        };
        match coding.trim() {
            "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(ApiError::unsupported_media_type(
                "content-encoding: gzip, zstd and identity are taken, one of them",
            )),
        }
    }

    /// Decodes a body.
    ///
    /// # Errors
    /// 413 if it becomes larger than `max_bytes`; 429 when the budget is exhausted; 400 for what is
    /// not encoded so.
    pub(super) async fn decode(
        self,
        body: RequestBody,
        client: &Arc<Connection>,
        max_bytes: usize,
        room: &BodyBudget,
    ) -> Result<RequestBody, ApiError> {
        let mut decoder: Box<dyn Read + Send> = match self {
            Self::Identity => return Ok(body),
            Self::Gzip => Box::new(MultiGzDecoder::new(io::Cursor::new(body.bytes.clone()))),
            Self::Zstd => Box::new(Frames::new(body.bytes.clone())),
        };
        let (mut bytes, mut share) = (BytesMut::new(), None);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = decoder.read(&mut chunk).map_err(|error| {
                ApiError::invalid(format!("the body is not encoded as it says: {error}"))
            })?;
            let Some(decoded) = chunk.get(..read).filter(|decoded| !decoded.is_empty()) else {
                return Ok(RequestBody::new(bytes.freeze(), share));
            };
            if bytes.len() + read > max_bytes {
                let what = format!("the decoded body is larger than {max_bytes} bytes");
                return Err(ApiError::too_large(what));
            }
            room.charge_now(client, read, &mut share)?;
            bytes.extend_from_slice(decoded);
            // Decoding is work; others take their turns between two chunks.
            tokio::task::yield_now().await;
        }
    }
}

/// The content of one zstd frame after the other.
struct Frames {
    rest: Rest,
    frame: Option<StreamingDecoder<Rest, FrameDecoder>>,
}

type Rest = io::Cursor<Bytes>;

impl Frames {
    fn new(bytes: Bytes) -> Self {
        Self { rest: io::Cursor::new(bytes), frame: None }
    }

    fn is_over(&self) -> bool {
        self.rest.position() >= self.rest.get_ref().len() as u64
    }
}

impl Read for Frames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None if self.is_over() => return Ok(0),
                None => {
                    StreamingDecoder::new_with_max_window_size(self.rest.clone(), WINDOW_MAX_BYTES)
                        .map_err(io::Error::other)?
                }
            };
            let read = frame.read(buffer)?;
            if read > 0 {
                self.frame = Some(frame);
                return Ok(read);
            }
            let (rest, decoder) = frame.into_parts();
            let found = decoder.get_checksum_from_data();
            if found.is_some() && found != decoder.get_calculated_checksum() {
                return Err(io::Error::other("its checksum is wrong"));
            }
            self.rest = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use axum::response::IntoResponse as _;
    use http::StatusCode;
    use prometheus_client::metrics::counter::Counter;

    use super::super::connections::{Connections, Origin};
    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
    }

    async fn decoded(
        encoding: Encoding,
        body: Vec<u8>,
        max_bytes: usize,
    ) -> Result<Bytes, StatusCode> {
        let clients = Connections::new(Counter::default());
        let entry = clients.enter(Origin::LOCAL, false);
        let room = BodyBudget::new(1024 * 1024, &clients);
        let body = RequestBody::new(body.into(), None);
        let done = encoding.decode(body, entry.client(), max_bytes, &room).await;
        done.map(|body| body.bytes.clone()).map_err(|error| error.into_response().status())
    }

    #[tokio::test]
    async fn bodies_are_decoded_within_the_limit() {
        let content = b"a ticket, a ticket, a ticket".repeat(5_000);
        let twice = |one: Vec<u8>| [one.clone(), one].concat();
        for (encoding, body) in [(Encoding::Gzip, gzip(&content)), (Encoding::Zstd, zstd(&content))]
        {
            let fits = content.len();
            assert_eq!(decoded(encoding, body.clone(), fits).await.unwrap(), content);
            let too_large = decoded(encoding, body.clone(), fits - 1).await;
            assert_eq!(too_large, Err(StatusCode::PAYLOAD_TOO_LARGE));
            let both = decoded(encoding, twice(body.clone()), 2 * fits).await.unwrap();
            assert_eq!(both.len(), 2 * fits);
            for broken in [body[..body.len() / 2].to_vec(), b"not encoded".to_vec()] {
                assert_eq!(decoded(encoding, broken, fits).await, Err(StatusCode::BAD_REQUEST));
            }
        }
    }

    #[tokio::test]
    async fn a_bomb_takes_no_more_room_than_it_may() {
        let bomb = gzip(&vec![0; 64 * 1024 * 1024]);
        assert!(bomb.len() < 100_000);
        let refused = decoded(Encoding::Gzip, bomb.clone(), 512 * 1024).await;
        assert_eq!(refused, Err(StatusCode::PAYLOAD_TOO_LARGE));
        let crowded = decoded(Encoding::Gzip, bomb, usize::MAX).await;
        assert_eq!(crowded, Err(StatusCode::TOO_MANY_REQUESTS), "the budget is smaller");
    }

    #[test]
    fn one_encoding_is_taken() {
        let of = |values: &[&str]| {
            let values =
                values.iter().map(|value| (header::CONTENT_ENCODING, value.parse().unwrap()));
            Encoding::of(&values.collect()).ok()
        };
        assert_eq!(of(&[]), Some(Encoding::Identity));
        assert_eq!(of(&["identity"]), Some(Encoding::Identity));
        assert_eq!(of(&["GZip"]), Some(Encoding::Gzip));
        assert_eq!(of(&["zstd"]), Some(Encoding::Zstd));
        for others in [&["br"][..], &["gzip, zstd"], &["gzip", "gzip"], &[""]] {
            assert_eq!(of(others), None, "{others:?}");
        }
    }
}
