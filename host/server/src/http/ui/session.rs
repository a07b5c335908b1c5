//! Who looks at the page. A login keeps the token itself in a cookie: it ends when the token is
//! revoked or expires, and needs no memory here. Scripts can't read the cookie (`HttpOnly`), and
//! browsers send it for requests of the page alone (`SameSite=Strict`; RFC 6265bis, section 5.6.7).

use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri, header};
use usher_access::SECRET_PREFIX;
use usher_api::Scope;
use usher_ui::Viewer;

use crate::access::Identity;
use crate::http::authorize::{certified, identify, needs_token};
use crate::http::client::Client;
use crate::http::problem::{ApiError, Challenge};
use crate::http::state::Api;

/// A viewer, and how the API knows them.
pub(super) struct Session {
    pub(super) viewer: Viewer,
    authorization: Option<HeaderValue>,
}

/// Why there is no viewer.
pub(super) enum NoSession {
    /// There is no token at all.
    Missing,
    /// It is not accepted.
    Refused(ApiError),
}

impl From<NoSession> for ApiError {
    fn from(none: NoSession) -> Self {
        match none {
            NoSession::Missing => {
                Self::unauthorized("you are logged out: reload the page", Challenge::Missing)
            }
            NoSession::Refused(error) => error,
        }
    }
}

impl Session {
    /// The viewer whom a request's cookie names, or else its own token, its certificate, or, while
    /// there are no tokens, its address.
    pub(super) fn of(
        api: &Api,
        client: &Client,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Self, NoSession> {
        if let Some(secret) = secret_in(uri, headers) {
            return Self::with_secret(api, client, uri, secret).map_err(NoSession::Refused);
        }
        let authorization = headers.get(header::AUTHORIZATION).cloned();
        let is_known = authorization.is_some() || certified(api, client).is_some();
        if needs_token(api, client) && !is_known && !client.is_unproven() {
            return Err(NoSession::Missing);
        }
        let identity = identify(api, client, Scope::Open, uri, headers);
        Ok(Self::new(&identity.map_err(NoSession::Refused)?, authorization, false))
    }

    /// The viewer who has this secret.
    ///
    /// # Errors
    /// No valid token has it.
    pub(super) fn with_secret(
        api: &Api,
        client: &Client,
        uri: &Uri,
        secret: &str,
    ) -> Result<Self, ApiError> {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::try_from(format!("Bearer {secret}"))
            .map_err(|_| ApiError::unauthorized("that is no token", Challenge::InvalidRequest))?;
        headers.insert(header::AUTHORIZATION, value.clone());
        let identity = identify(api, client, Scope::Open, uri, &headers)?;
        Ok(Self::new(&identity, Some(value), true))
    }

    fn new(identity: &Identity, authorization: Option<HeaderValue>, is_logged_in: bool) -> Self {
        let scopes = Scope::ALL.into_iter().filter(|scope| identity.may(*scope)).collect();
        let actor = identity.actor.to_string();
        Self { viewer: Viewer { actor, is_logged_in, scopes }, authorization }
    }

    /// Makes a request the viewer's.
    pub(super) fn sign(&self, headers: &mut HeaderMap) {
        headers.remove(header::COOKIE);
        headers.remove(header::AUTHORIZATION);
        let own = self.authorization.clone();
        headers.extend(own.map(|own| (header::AUTHORIZATION, own)));
    }
}

/// The secret in a request's cookie.
fn secret_in<'a>(uri: &Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let name = name(uri, headers);
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|value| value.split(';'));
    let mut own = pairs.filter_map(|pair| pair.trim().strip_prefix(&*name)?.strip_prefix('='));
    own.next().filter(|secret| secret.starts_with(SECRET_PREFIX))
}

/// Cookies are shared by all ports of a host (RFC 6265, section 8.5), so the name tells routers on
/// one machine apart.
fn name(uri: &Uri, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    // HTTP/2 has it in the address (RFC 9113, section 8.3.1).
    let port = host.as_ref().or(uri.authority()).and_then(Authority::port_u16);
    port.map_or_else(|| "usher".to_owned(), |port| format!("usher_{port}"))
}

/// Sets the cookie, for this session of the browser and this folder: without a path it counts for
/// the folder that set it, whatever that is called on the outside.
pub(super) fn cookie(uri: &Uri, headers: &HeaderMap, secret: &str) -> Option<HeaderValue> {
    let text = format!("{}={secret}; {}", name(uri, headers), attributes(headers));
    HeaderValue::try_from(text).ok()
}

/// Removes the cookie.
pub(super) fn no_cookie(uri: &Uri, headers: &HeaderMap) -> Option<HeaderValue> {
    let text = format!("{}=; Max-Age=0; {}", name(uri, headers), attributes(headers));
    HeaderValue::try_from(text).ok()
}

/// `Secure` where the browser uses TLS, even if only as far as a proxy: it says so in `Origin`, which
/// it sends with every form.
fn attributes(headers: &HeaderMap) -> &'static str {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let is_tls = origin.is_some_and(|origin| origin.starts_with("https:"));
    if is_tls { "HttpOnly; SameSite=Strict; Secure" } else { "HttpOnly; SameSite=Strict" }
}
