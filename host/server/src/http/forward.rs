//! Hands requests to a node that doesn't own the journal on to the one that does.
//!
//! The owner decides who may do what: it takes tokens as ever, and believes this node who the client is by
//! its certificate.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri, header};
use hyper::body::{Frame, SizeHint};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use usher_access::TokenSecret;
use usher_api::IS_STANDBY;
use usher_jetstream::Owner;
use usher_outbound::{AddressRange, Connector, Origin};

use super::client::Client;
use super::problem::ApiError;
use super::tls::Tls;

/// How often a node that waits for the owner's answer looks whether that is still the owner.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Says who answered.
const OWNER: HeaderName = HeaderName::from_static("usher-owner");

/// Headers that are about one connection (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Addresses of other nodes may be private: they come from their configuration.
const ANYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// Connections to an owner.
#[derive(Clone)]
struct ToOwner {
    url: String,
    pool: legacy::Client<Connector, Body>,
    is_tls: bool,
}

/// Hands requests on.
pub(crate) struct Forwarder {
    /// The name of this node.
    node: String,
    owner: Box<dyn Fn() -> Option<Owner> + Send + Sync>,
    /// Certificates of authorities besides the system's, for the owner's own.
    ca: Option<PathBuf>,
    /// This node's certificate, if the owner asks for one.
    own: Option<Arc<Tls>>,
    /// What this node proves itself with.
    secret: TokenSecret,
    /// Connections to the owner's URL, as it was last.
    to_owner: Mutex<Option<ToOwner>>,
    /// The epoch of the owner that the log says can't be asked.
    unreachable: AtomicU64,
}

impl Forwarder {
    /// For the node of this name; `owner` says who owns the journal now.
    pub(crate) fn new(
        node: String,
        ca: Option<PathBuf>,
        own: Option<Arc<Tls>>,
        secret: TokenSecret,
        owner: impl Fn() -> Option<Owner> + Send + Sync + 'static,
    ) -> Self {
        let (owner, to_owner, unreachable) = (Box::new(owner), Mutex::default(), AtomicU64::new(0));
        Self { node, ca, own, secret, owner, to_owner, unreachable }
    }

    /// The owner, if one is known that isn't about to leave.
    fn owner(&self) -> Option<Owner> {
        (self.owner)().filter(|owner| !owner.is_leaving && owner.node != self.node)
    }

    /// What a standby says when it is asked whether it is ready.
    pub(super) fn unready(&self) -> ApiError {
        let owner = self.owner().map_or_else(|| "not known yet".to_owned(), |owner| owner.node);
        let node = &self.node;
        ApiError::unavailable(format!(
            "node {node} {IS_STANDBY}; the owner of the journal is {owner}"
        ))
    }

    /// Has the owner answer.
    ///
    /// # Errors
    /// It can't be asked.
    pub(super) async fn answer(
        self: &Arc<Self>,
        request: Request<Body>,
        client: &Client,
    ) -> Result<Response, ApiError> {
        let node = &self.node;
        if client.is_forwarded() {
            let owner = self.owner().map_or_else(|| "not known".to_owned(), |owner| owner.node);
            let what = format!("{node} was taken for the owner of the journal, which is {owner}");
            return Err(ApiError::unavailable(what));
        }
        let Some(owner) = self.owner() else {
            let what =
                format!("node {node} is a standby, and no owner of the journal is heard of yet");
            return Err(ApiError::unavailable(what));
        };
        let Some(url) = &owner.url else {
            let what = format!(
                "node {node} is a standby; ask {}, which doesn't tell where it is: set journal.url there",
                owner.node
            );
            return Err(ApiError::unavailable(what));
        };
        match self.hand_on(request, url, &owner, client).await {
            Ok(mut response) => {
                if let Ok(name) = HeaderValue::try_from(&owner.node) {
                    response.headers_mut().insert(OWNER, name);
                }
                Ok(response)
            }
            Err(error) => {
                if self.unreachable.swap(owner.epoch, Ordering::Relaxed) != owner.epoch {
                    let error = format!("{error:#}");
                    tracing::warn!(owner = owner.node, url, error, "the owner can't be asked");
                }
                let what = format!(
                    "the owner of the journal, {}, can't be asked: {error:#}; if it has failed, another node \
                     takes over",
                    owner.node
                );
                Err(ApiError::unavailable(what))
            }
        }
    }

    async fn hand_on(
        self: &Arc<Self>,
        mut request: Request<Body>,
        url: &str,
        owner: &Owner,
        client: &Client,
    ) -> anyhow::Result<Response> {
        let to_owner = self.to(url)?;
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("{}{path}", url.trim_end_matches('/')).parse()?;
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_11;
        let headers = request.headers_mut();
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
        client.forward_headers(headers, self.secret_for(&to_owner));
        let asked = to_owner.pool.request(request);
        let mut response = tokio::select! {
            response = asked => response?,
            () = self.until_another_owner(owner) => anyhow::bail!("it isn't the owner any more"),
        };
        for name in HOP_BY_HOP {
            response.headers_mut().remove(name);
        }
        let (this, owner) = (Arc::clone(self), owner.clone());
        let gone = Box::pin(async move { this.until_another_owner(&owner).await });
        Ok(response.map(|body| Body::new(OwnersBody { body, gone })))
    }

    /// An owner whose machine is gone doesn't answer, and its connections don't end.
    async fn until_another_owner(&self, owner: &Owner) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let is_same = |now: &Owner| now.epoch == owner.epoch && now.node == owner.node;
            if !(self.owner)().is_some_and(|now| is_same(&now)) {
                return;
            }
        }
    }

    fn secret_for(&self, owner: &ToOwner) -> Option<&TokenSecret> {
        owner.is_tls.then_some(&self.secret)
    }

    fn to(&self, url: &str) -> anyhow::Result<ToOwner> {
        let mut kept = self.to_owner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.as_ref().filter(|known| known.url == url) {
            return Ok(known.clone());
        }
        let origin = Origin::of(&url.parse()?);
        let origin = origin.ok_or_else(|| anyhow::anyhow!("{url:?} is no URL of a router"))?;
        let tls = match origin.tls() {
            true => Some(self.tls()?),
            false => None,
        };
        let is_tls = tls.is_some();
        let addresses = ANYWHERE.iter().filter_map(|range| range.parse::<AddressRange>().ok());
        let connector = Connector { origin: Arc::new(origin), addresses: addresses.collect(), tls };
        let pool = legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(kept.insert(ToOwner { url: url.to_owned(), pool, is_tls }).clone())
    }

    fn tls(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let mut config = Arc::unwrap_or_clone(usher_tls::client_config(self.ca.as_deref())?);
        if let Some(own) = &self.own {
            config.client_auth_cert_resolver = Arc::clone(own) as _;
        }
        Ok(Arc::new(config))
    }
}

/// What the owner sends. Where its machine is gone nothing more comes, and no end either: then it is broken
/// off once another owns the journal.
struct OwnersBody<B> {
    body: B,
    gone: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Unpin> HttpBody for OwnersBody<B> {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => {}
            ready => return ready.map_err(Into::into),
        }
        let what = "another node owns the journal now";
        self.gone.as_mut().poll(context).map(|()| Some(Err(what.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::stream;
    use http_body_util::BodyExt as _;

    use super::*;

    #[test]
    fn the_secret_goes_over_tls_only() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let made = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        std::fs::write(&ca, made.cert.pem()).unwrap();
        let secret = TokenSecret::generate().unwrap();
        let forwarder = Forwarder::new("a".to_owned(), Some(ca), None, secret, || None);
        for (url, is_tls) in [("http://10.0.0.1:7171", false), ("https://10.0.0.1:7171", true)] {
            assert_eq!(
                forwarder.secret_for(&forwarder.to(url).unwrap()).is_some(),
                is_tls,
                "{url}"
            );
        }
    }

    #[tokio::test]
    async fn what_never_ends_is_broken_off_and_what_ends_is_not() {
        let endless = Body::from_stream(stream::pending::<Result<Bytes, String>>());
        let mut body = OwnersBody { body: endless, gone: Box::pin(ready(())) };
        assert!(body.frame().await.unwrap().is_err());
        for gone in
            [Box::pin(ready(())) as Pin<Box<dyn Future<Output = ()> + Send>>, Box::pin(pending())]
        {
            let body = OwnersBody { body: Body::from("all"), gone };
            assert_eq!(body.collect().await.unwrap().to_bytes(), "all");
        }
    }
}
