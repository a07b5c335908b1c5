//! Whose webhook it is: where its signature is, and of what.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::rejected::Rejected;
use crate::signature::{Algorithm, Encoding, SigningKey};

/// Limit on the signatures of one request that are compared.
const SIGNATURES_MAX: usize = 16;

/// Whose webhook it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// GitHub: `X-Hub-Signature-256`.
    Github,
    /// Stripe: `Stripe-Signature`.
    Stripe,
    /// Slack's Events API: `X-Slack-Signature`.
    Slack,
    /// Standard Webhooks 1.0.0, and Svix's headers of the same form.
    Standard,
    /// An HMAC in a header.
    Hmac(Hmac),
    /// Unsigned; a token decides who may send.
    Unsigned,
}

/// An HMAC in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hmac {
    /// The header with the signature.
    pub header: HeaderName,
    /// What the signature begins with there, such as `sha256=`.
    pub prefix: String,
    /// The hash.
    pub algorithm: Algorithm,
    /// How it is written.
    pub encoding: Encoding,
    /// A time that is signed with the body.
    pub timestamp: Option<Timestamp>,
}

/// A time that is signed before the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// The header with the time: Unix seconds.
    pub header: HeaderName,
    /// What is between time and body in what is signed.
    pub separator: String,
}

/// What a signature covers besides the body.
struct Signed<'a> {
    /// Before the body.
    before: Vec<&'a [u8]>,
    /// When it was made, Unix seconds.
    time_s: Option<u64>,
    /// The signatures, any of which suffices.
    tags: Vec<Vec<u8>>,
    algorithm: Algorithm,
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

impl Kind {
    /// Whether requests prove themselves.
    pub fn is_signed(&self) -> bool {
        *self != Self::Unsigned
    }

    /// Checks that one of `keys` has signed the request, within `tolerance` of `now_ms` if its
    /// time is signed, too.
    pub(crate) fn verify(
        &self,
        keys: &[SigningKey],
        headers: &HeaderMap,
        body: &[u8],
        (now_ms, tolerance): (u64, Duration),
    ) -> Result<(), Rejected> {
        let signed = match self {
            Self::Unsigned => return Ok(()),
            Self::Github => github(headers),
            Self::Stripe => stripe(headers),
            Self::Slack => slack(headers),
            Self::Standard => standard(headers),
            Self::Hmac(hmac) => hmac.signed(headers),
        };
        let signed = signed?;
        if signed.tags.is_empty() {
            return Err(Rejected::NoSignature { header: self.header().to_owned() });
        }
        let mut parts = signed.before;
        parts.push(body);
        let is_signed = signed
            .tags
            .iter()
            .take(SIGNATURES_MAX)
            .any(|tag| keys.iter().any(|key| key.has_signed(signed.algorithm, &parts, tag)));
        if !is_signed {
            return Err(Rejected::WrongSignature { header: self.header().to_owned() });
        }
        // After the signature: a time that is not signed says nothing.
        let Some(time_s) = signed.time_s else { return Ok(()) };
        let off_ms = now_ms.abs_diff(time_s.saturating_mul(1_000));
        if u128::from(off_ms) > tolerance.as_millis() {
            return Err(Rejected::Stale { off_s: off_ms / 1_000 });
        }
        Ok(())
    }

    /// The header with the signature.
    fn header(&self) -> &str {
        match self {
            Self::Github => "x-hub-signature-256",
            Self::Stripe => "stripe-signature",
            Self::Slack => "x-slack-signature",
            Self::Standard => "webhook-signature",
            Self::Hmac(hmac) => hmac.header.as_str(),
            Self::Unsigned => "",
        }
    }
}

fn missing(header: &str) -> Rejected {
    Rejected::NoSignature { header: header.to_owned() }
}

fn github(headers: &HeaderMap) -> Result<Signed<'_>, Rejected> {
    let header = "x-hub-signature-256";
    let signature = text(headers, header).ok_or_else(|| missing(header))?;
    let tag = signature.strip_prefix("sha256=").and_then(|hex| Encoding::Hex.decode(hex));
    let tags = tag.into_iter().collect();
    Ok(Signed { before: Vec::new(), time_s: None, tags, algorithm: Algorithm::Sha256 })
}

/// `t=TIME,v1=HEX[,v1=HEX…]`
fn stripe(headers: &HeaderMap) -> Result<Signed<'_>, Rejected> {
    let header = "stripe-signature";
    let value = text(headers, header).ok_or_else(|| missing(header))?;
    let fields = || value.split(',').filter_map(|field| field.trim().split_once('='));
    let time = fields().find(|(name, _)| *name == "t").map(|(_, time)| time);
    let time = time.ok_or_else(|| missing(header))?;
    let tags = fields().filter(|(name, _)| *name == "v1");
    let tags = tags.filter_map(|(_, hex)| Encoding::Hex.decode(hex)).collect();
    let time_s = Some(time.parse().map_err(|_| missing(header))?);
    let before: Vec<&[u8]> = vec![time.as_bytes(), b"."];
    Ok(Signed { before, time_s, tags, algorithm: Algorithm::Sha256 })
}

fn slack(headers: &HeaderMap) -> Result<Signed<'_>, Rejected> {
    let (header, of_time) = ("x-slack-signature", "x-slack-request-timestamp");
    let signature = text(headers, header).ok_or_else(|| missing(header))?;
    let time = text(headers, of_time).ok_or_else(|| missing(of_time))?;
    let tag = signature.strip_prefix("v0=").and_then(|hex| Encoding::Hex.decode(hex));
    let time_s = Some(time.parse().map_err(|_| missing(of_time))?);
    let before: Vec<&[u8]> = vec![b"v0:", time.as_bytes(), b":"];
    Ok(Signed { before, time_s, tags: tag.into_iter().collect(), algorithm: Algorithm::Sha256 })
}

/// `webhook-id`, `webhook-timestamp` and `webhook-signature: v1,BASE64[ v1,BASE64…]`
fn standard(headers: &HeaderMap) -> Result<Signed<'_>, Rejected> {
    let either = |of_standard: &str, of_svix: &str| {
        let found = text(headers, of_standard).or_else(|| text(headers, of_svix));
        found.ok_or_else(|| missing(of_standard))
    };
    let id = either("webhook-id", "svix-id")?;
    let time = either("webhook-timestamp", "svix-timestamp")?;
    let signatures = either("webhook-signature", "svix-signature")?;
    let tags = signatures.split(' ').filter_map(|one| one.strip_prefix("v1,"));
    let tags = tags.filter_map(|base64| Encoding::Base64.decode(base64)).collect();
    let time_s = Some(time.parse().map_err(|_| missing("webhook-timestamp"))?);
    let before: Vec<&[u8]> = vec![id.as_bytes(), b".", time.as_bytes(), b"."];
    Ok(Signed { before, time_s, tags, algorithm: Algorithm::Sha256 })
}

impl Hmac {
    fn signed<'a>(&'a self, headers: &'a HeaderMap) -> Result<Signed<'a>, Rejected> {
        let header = self.header.as_str();
        let signature = text(headers, header).ok_or_else(|| missing(header))?;
        let tag = signature.trim().strip_prefix(&*self.prefix);
        let tags = tag.and_then(|tag| self.encoding.decode(tag)).into_iter().collect();
        let (mut before, mut time_s) = (Vec::new(), None);
        if let Some(timestamp) = &self.timestamp {
            let of_time = timestamp.header.as_str();
            let time = text(headers, of_time).ok_or_else(|| missing(of_time))?;
            time_s = Some(time.parse().map_err(|_| missing(of_time))?);
            before.extend([time.as_bytes(), timestamp.separator.as_bytes()]);
        }
        Ok(Signed { before, time_s, tags, algorithm: self.algorithm })
    }
}
