//! The client that a request is from: the one that is connected, or the one that another node hands it on for.
//!
//! A node that hands a request on says whether its client is on the node's machine, which can only take
//! rights away. What it says besides counts if it proves that it is a node: with a secret of which it tells
//! the hash wherever nodes hear each other, and which it presents to an owner only over TLS.

use std::convert::Infallible;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use rustls::pki_types::CertificateDer;
use usher_access::{TokenHash, TokenSecret};
use usher_tls::Certificate;

use super::connections::{Connection, Origin};
use super::problem::ApiError;
use crate::access::Address;

/// Says that another node handed the request on, and whether its client is on that node's machine.
const HANDED_ON: HeaderName = HeaderName::from_static("usher-forwarded");
const FROM_LOCAL: HeaderValue = HeaderValue::from_static("local");
const FROM_ELSEWHERE: HeaderValue = HeaderValue::from_static("elsewhere");

/// Proves that a node did.
const NODE_SECRET: HeaderName = HeaderName::from_static("usher-node-secret");

/// The certificate of its client (RFC 9440, section 2.2).
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");

/// A client whose certificate is longer, in DER, can't be known by it on another node.
const CERTIFICATE_MAX_BYTES: usize = 8 * 1024;

/// What a node has to say of a request that it hands on, in headers that no client's may pass for.
const OF_NODES: [HeaderName; 4] = [HANDED_ON, NODE_SECRET, CLIENT_CERT, header::FORWARDED];

/// The client that a request is from. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    /// What it is held to; of a node, if that hands the request on.
    connection: Arc<Connection>,
    handed_on: Option<Arc<HandedOn>>,
}

/// What is known of the client of another node.
struct HandedOn {
    origin: Origin,
    certificate: Option<Certificate>,
}

/// A certificate that a client has presented, and that has been verified.
pub(super) struct ClientCertificate {
    pub(super) der: CertificateDer<'static>,
    pub(super) content: Certificate,
}

impl From<Arc<Connection>> for Client {
    fn from(connection: Arc<Connection>) -> Self {
        Self { connection, handed_on: None }
    }
}

impl Deref for Client {
    type Target = Arc<Connection>;

    fn deref(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Client {
    /// Whether another node hands its request on.
    pub(super) fn is_handed_on(&self) -> bool {
        self.handed_on.is_some()
    }

    /// Where it comes from.
    pub(super) fn origin(&self) -> Origin {
        self.handed_on.as_ref().map_or(self.connection.origin(), |client| client.origin)
    }

    /// Its certificate, which has been verified here or by a node.
    pub(super) fn certificate(&self) -> Option<&Certificate> {
        match &self.handed_on {
            Some(client) => client.certificate.as_ref(),
            None => self.connection.certificate().map(|certificate| &certificate.content),
        }
    }

    /// Makes a request that a node hands on one of that node's client. `is_nodes` says whether a secret is that of
    /// a node; where there are none, this one is no owner, and hands nothing on that was handed on.
    ///
    /// # Errors
    /// 503: a node that isn't known yet says who its client is.
    pub(super) fn take_handed_on(
        &self,
        request: &mut Request,
        is_nodes: Option<impl Fn(&TokenHash) -> bool>,
    ) -> Result<(), ApiError> {
        let headers = request.headers_mut();
        let Some(from) = headers.remove(HANDED_ON) else { return Ok(()) };
        let own = self.connection.origin();
        let mut client = HandedOn {
            origin: Origin { is_local: own.is_local && from == FROM_LOCAL, ..own },
            certificate: None,
        };
        let secret = headers.remove(NODE_SECRET);
        let certificate = headers.remove(CLIENT_CERT);
        let address = headers.remove(header::FORWARDED);
        if let (Some(secret), Some(is_nodes)) = (secret, is_nodes) {
            if is_nodes(&TokenHash::of(secret.as_bytes())) {
                let address = address.as_ref().and_then(read_address);
                client.origin.address = address.unwrap_or(own.address);
                client.certificate = certificate.as_ref().and_then(read_certificate);
            } else if certificate.is_some() && !headers.contains_key(header::AUTHORIZATION) {
                let what = "the node that hands this on was not heard here yet, so that its client's \
                            certificate does not count";
                return Err(ApiError::unavailable(what));
            }
        }
        let client = Self { handed_on: Some(Arc::new(client)), ..self.clone() };
        request.extensions_mut().insert(Caller(client));
        Ok(())
    }

    /// Has headers say whom a node hands a request on for; with its secret where the owner is to believe it.
    pub(super) fn hand_on(&self, headers: &mut HeaderMap, secret: Option<&TokenSecret>) {
        for name in OF_NODES {
            headers.remove(name);
        }
        let origin = self.origin();
        headers.insert(HANDED_ON, if origin.is_local { FROM_LOCAL } else { FROM_ELSEWHERE });
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
        let certificate = self.connection.certificate().map(|certificate| &certificate.der);
        let certificate = certificate.filter(|der| der.len() <= CERTIFICATE_MAX_BYTES);
        let value = certificate
            .and_then(|der| HeaderValue::try_from(format!(":{}:", STANDARD.encode(der))).ok());
        headers.extend(value.map(|value| (CLIENT_CERT, value)));
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

/// The client of a request, for handlers.
#[derive(Clone)]
pub(super) struct Caller(pub(super) Client);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<Self>().cloned();
        Ok(known.unwrap_or_else(|| Self(Connection::alone().into())))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::http::connections::Connections;

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
        client.presented(ClientCertificate { content: Certificate::read(&der).unwrap(), der });
        client
    }

    /// What an owner makes of a request of `client` that a node, which connects from `node`, hands on.
    fn handed_on(
        client: &Client,
        node: Origin,
        secret: Option<&TokenSecret>,
        known: Option<&TokenSecret>,
    ) -> Result<Client, u16> {
        let mut request = Request::new(Body::empty());
        // What a client says itself doesn't count.
        for (name, value) in
            [("forwarded", "for=10.9.9.9"), ("client-cert", ":AAAA:"), ("usher-node-secret", "x")]
        {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        client.hand_on(request.headers_mut(), secret);
        let known = known.map(TokenSecret::hash);
        let is_nodes = Some(|secret: &TokenHash| Some(secret) == known.as_ref());
        let taken = self::client(node).take_handed_on(&mut request, is_nodes);
        taken.map_err(|error| error.problem().status)?;
        assert!(OF_NODES.iter().all(|name| !request.headers().contains_key(name)));
        Ok(request.extensions().get::<Caller>().unwrap().0.clone())
    }

    #[test]
    fn a_node_that_proves_itself_is_believed() {
        let secret = TokenSecret::generate().unwrap();
        let far = with_certificate(origin(FAR));
        let taken = handed_on(&far, origin([10, 0, 0, 2]), Some(&secret), Some(&secret)).unwrap();
        assert_eq!(taken.origin().address, origin(FAR).address);
        assert!(!taken.origin().is_local && taken.is_handed_on());
        assert!(taken.certificate().unwrap().covers("shop.internal"));

        let address: IpAddr = "2001:db8:1:2:3::4".parse().unwrap();
        let taken =
            handed_on(&client(origin(address)), origin(FAR), Some(&secret), Some(&secret)).unwrap();
        assert_eq!(taken.origin().address, address.into());
        assert!(taken.certificate().is_none());
    }

    #[test]
    fn a_node_that_does_not_can_only_take_rights_away() {
        let (secret, other) = (TokenSecret::generate().unwrap(), TokenSecret::generate().unwrap());
        let far = with_certificate(origin(FAR));
        let taken = handed_on(&far, origin(NEAR), None, Some(&secret)).unwrap();
        assert_eq!(taken.origin().address, origin(NEAR).address);
        assert!(!taken.origin().is_local && taken.certificate().is_none());
        // It may be one that was not heard yet.
        assert_eq!(handed_on(&far, origin(NEAR), Some(&other), Some(&secret)).err(), Some(503));
        let plain = client(origin(FAR));
        let taken = handed_on(&plain, origin(NEAR), Some(&other), Some(&secret)).unwrap();
        assert_eq!(taken.origin().address, origin(NEAR).address);

        for (from, node, is_local) in
            [(NEAR, NEAR, true), (NEAR, FAR, false), (FAR, NEAR, false), (FAR, FAR, false)]
        {
            let taken = handed_on(&client(origin(from)), origin(node), None, None).unwrap();
            assert_eq!(taken.origin().is_local, is_local, "{from:?} {node:?}");
        }
    }

    #[test]
    fn who_is_connected_speaks_for_itself() {
        let mut request = Request::new(Body::empty());
        request.headers_mut().insert("client-cert", ":AAAA:".parse().unwrap());
        let is_nodes = Some(|_: &TokenHash| true);
        client(origin(FAR)).take_handed_on(&mut request, is_nodes).unwrap();
        assert!(request.extensions().get::<Caller>().is_none());
    }
}
