//! The client that a request is from: the one that is connected, or the one that another node forwards it for.
//!
//! A node that forwards a request says whether its client is on the node's machine, which can only take
//! rights away. What it says besides counts if it proves that it is a node: with a secret of which it tells
//! the hash wherever nodes hear each other, and which it presents to the owner only over TLS.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use usher_access::{TokenHash, TokenSecret};
use usher_tls::Certificate;

use super::connections::{Connection, Origin};
use crate::access::Address;

/// Says that another node forwards the request, and whether its client is on that node's machine.
const FORWARDED: HeaderName = HeaderName::from_static("usher-forwarded");
const FROM_LOCAL: HeaderValue = HeaderValue::from_static("local");
const FROM_ELSEWHERE: HeaderValue = HeaderValue::from_static("elsewhere");

/// The forwarding node's secret.
const NODE_SECRET: HeaderName = HeaderName::from_static("usher-node-secret");

/// The certificate of its client (RFC 9440, section 2.2).
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");

/// A client whose certificate is longer, in DER, can't be known by it on another node.
const CERTIFICATE_MAX_BYTES: usize = 8 * 1024;

/// What a forwarding node says, which it takes out of what its client has sent.
const NODE_HEADERS: [HeaderName; 4] = [FORWARDED, NODE_SECRET, CLIENT_CERT, header::FORWARDED];

/// The client that a request is from. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    connection: Arc<Connection>,
    forwarded: Option<Arc<Forwarded>>,
}

/// What is known of the client of a node that forwards its request.
struct Forwarded {
    origin: Origin,
    certificate: Option<Certificate>,
    /// Whether it has a certificate, by the word of a node that isn't known.
    is_unproven: bool,
}

impl From<Arc<Connection>> for Client {
    fn from(connection: Arc<Connection>) -> Self {
        Self { connection, forwarded: None }
    }
}

impl Client {
    /// What holds memory and makes progress for it: its own connection, or that of a node which forwards.
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Whether another node forwards its request.
    pub(super) fn is_forwarded(&self) -> bool {
        self.forwarded.is_some()
    }

    /// Where it comes from.
    pub(super) fn origin(&self) -> Origin {
        self.forwarded.as_ref().map_or(self.connection.origin(), |client| client.origin)
    }

    /// Its certificate, which was verified here or by a node.
    pub(super) fn certificate(&self) -> Option<&Certificate> {
        match &self.forwarded {
            Some(client) => client.certificate.as_ref(),
            None => self.connection.certificate().map(|certificate| &certificate.content),
        }
    }

    /// Whether it has a certificate that doesn't count, because the node that says so was not heard yet.
    pub(super) fn is_unproven(&self) -> bool {
        self.forwarded.as_ref().is_some_and(|client| client.is_unproven)
    }

    /// Replaces the request's client by the one that a forwarding node names, as far as that node is believed.
    /// `authenticates` says whether a secret is that of a node.
    pub(super) fn accept_forwarded(
        &self,
        request: &mut Request,
        authenticates: impl FnOnce(&TokenHash) -> bool,
    ) {
        let headers = request.headers_mut();
        let Some(from) = headers.remove(FORWARDED) else { return };
        let own = self.connection.origin();
        let mut client = Forwarded {
            origin: Origin { is_local: own.is_local && from == FROM_LOCAL, ..own },
            certificate: None,
            is_unproven: false,
        };
        let secret = headers.remove(NODE_SECRET);
        let certificate = headers.remove(CLIENT_CERT);
        let address = headers.remove(header::FORWARDED);
        if let Some(secret) = secret {
            if authenticates(&TokenHash::of(secret.as_bytes())) {
                let address = address.as_ref().and_then(read_address);
                client.origin.address = address.unwrap_or(own.address);
                client.certificate = certificate.as_ref().and_then(read_certificate);
            } else {
                client.is_unproven = certificate.is_some();
            }
        }
        let client = Self { forwarded: Some(Arc::new(client)), ..self.clone() };
        request.extensions_mut().insert(client);
    }

    /// Has headers say whom a node forwards a request for; with its secret where the owner is to believe it.
    pub(super) fn forward_headers(&self, headers: &mut HeaderMap, secret: Option<&TokenSecret>) {
        for name in NODE_HEADERS {
            headers.remove(name);
        }
        let origin = self.origin();
        headers.insert(FORWARDED, if origin.is_local { FROM_LOCAL } else { FROM_ELSEWHERE });
        let Some(secret) = secret.and_then(|secret| HeaderValue::try_from(secret.reveal()).ok())
        else {
            return;
        };
        headers.insert(NODE_SECRET, secret);
        if let Address::Network(address) = origin.address
            && !origin.is_local
        {
            headers.extend(write_address(address).map(|value| (header::FORWARDED, value)));
        }
        // A token counts before a certificate.
        if !headers.contains_key(header::AUTHORIZATION) {
            headers.extend(self.write_certificate().map(|value| (CLIENT_CERT, value)));
        }
    }

    fn write_certificate(&self) -> Option<HeaderValue> {
        let der = &self.connection.certificate()?.der;
        let is_short = der.len() <= CERTIFICATE_MAX_BYTES;
        is_short.then(|| HeaderValue::try_from(format!(":{}:", STANDARD.encode(der))).ok())?
    }
}

/// `for=192.0.2.7` or `for="[2001:db8::]"` (RFC 7239, section 6).
fn write_address(address: IpAddr) -> Option<HeaderValue> {
    let text = match address {
        IpAddr::V4(address) => format!("for={address}"),
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
    };
    HeaderValue::try_from(text).ok()
}

fn read_address(value: &HeaderValue) -> Option<Address> {
    let node = value.to_str().ok()?.strip_prefix("for=")?.trim_matches(['"', '[', ']']);
    node.parse::<IpAddr>().ok().map(Address::from)
}

fn read_certificate(value: &HeaderValue) -> Option<Certificate> {
    let text = value.to_str().ok()?.strip_prefix(':')?.strip_suffix(':')?;
    Certificate::read(&STANDARD.decode(text).ok()?).ok()
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<Self>().cloned();
        Ok(known.unwrap_or_else(|| Connection::alone().into()))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::http::connections::{ClientCertificate, Connections};

    const FAR: [u8; 4] = [192, 0, 2, 7];
    const NEAR: [u8; 4] = [127, 0, 0, 1];

    fn origin(address: impl Into<IpAddr>) -> Origin {
        let address = address.into();
        Origin { address: address.into(), is_local: address.is_loopback() }
    }

    fn client(origin: Origin) -> Client {
        let entry = Connections::new(Default::default()).enter(origin, false);
        Arc::clone(entry.client()).into()
    }

    fn with_certificate(origin: Origin) -> Client {
        let made = rcgen::generate_simple_self_signed(vec!["shop.internal".to_owned()]).unwrap();
        let der = made.cert.der().clone();
        let client = client(origin);
        let content = Certificate::read(&der).unwrap();
        client.connection().presented(ClientCertificate { content, der });
        client
    }

    /// What an owner makes of a request of `client` that a node, which connects from `node`, forwards.
    fn forwarded(
        client: &Client,
        node: Origin,
        secret: Option<&TokenSecret>,
        known: Option<&TokenSecret>,
    ) -> Client {
        let mut request = Request::new(Body::empty());
        // What a client says itself doesn't count.
        for (name, value) in
            [("forwarded", "for=10.9.9.9"), ("client-cert", ":AAAA:"), ("usher-node-secret", "x")]
        {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        client.forward_headers(request.headers_mut(), secret);
        let known = known.map(TokenSecret::hash);
        let authenticates = |secret: &TokenHash| Some(secret) == known.as_ref();
        self::client(node).accept_forwarded(&mut request, authenticates);
        assert!(NODE_HEADERS.iter().all(|name| !request.headers().contains_key(name)));
        request.extensions().get::<Client>().unwrap().clone()
    }

    #[test]
    fn a_node_that_proves_itself_is_believed() {
        let secret = TokenSecret::generate().unwrap();
        let far = with_certificate(origin(FAR));
        let taken = forwarded(&far, origin([10, 0, 0, 2]), Some(&secret), Some(&secret));
        assert_eq!(taken.origin().address, origin(FAR).address);
        assert!(!taken.origin().is_local && taken.is_forwarded() && !taken.is_unproven());
        assert!(taken.certificate().unwrap().covers("shop.internal"));

        let address: IpAddr = "2001:db8:1:2:3::4".parse().unwrap();
        let taken = forwarded(&client(origin(address)), origin(FAR), Some(&secret), Some(&secret));
        assert_eq!(taken.origin().address, address.into());
        assert!(taken.certificate().is_none());
    }

    #[test]
    fn a_node_that_does_not_can_only_take_rights_away() {
        let (secret, other) = (TokenSecret::generate().unwrap(), TokenSecret::generate().unwrap());
        let far = with_certificate(origin(FAR));
        for shown in [None, Some(&other)] {
            let taken = forwarded(&far, origin(NEAR), shown, Some(&secret));
            assert_eq!(taken.origin().address, origin(NEAR).address);
            assert!(!taken.origin().is_local && taken.certificate().is_none());
            // It may be one that was not heard yet.
            assert_eq!(taken.is_unproven(), shown.is_some());
        }
        let taken = forwarded(&client(origin(FAR)), origin(NEAR), Some(&other), Some(&secret));
        assert!(!taken.is_unproven());

        for (from, node, is_local) in
            [(NEAR, NEAR, true), (NEAR, FAR, false), (FAR, NEAR, false), (FAR, FAR, false)]
        {
            let taken = forwarded(&client(origin(from)), origin(node), None, None);
            assert_eq!(taken.origin().is_local, is_local, "{from:?} {node:?}");
        }
    }

    #[test]
    fn a_certificate_is_left_out_where_a_token_counts() {
        let secret = TokenSecret::generate().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        with_certificate(origin(FAR)).forward_headers(&mut headers, Some(&secret));
        assert!(headers.contains_key(NODE_SECRET) && !headers.contains_key(CLIENT_CERT));
    }

    #[test]
    fn who_is_connected_speaks_for_itself() {
        let mut request = Request::new(Body::empty());
        request.headers_mut().insert("client-cert", ":AAAA:".parse().unwrap());
        client(origin(FAR)).accept_forwarded(&mut request, |_| true);
        assert!(request.extensions().get::<Client>().is_none());
    }
}
