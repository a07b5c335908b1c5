//! Resolves, checks and connects.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::address::{RefusedAddress, admit};
use crate::origin::Origin;
use crate::range::AddressRange;

/// A connection's bytes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name can't be resolved.
    #[error("{0}")]
    Resolve(io::Error),
    /// The name stands for addresses that it may not.
    #[error(transparent)]
    Refused(#[from] RefusedAddress),
    /// The name stands for no address.
    #[error("the name has no address")]
    NoAddress,
    /// None of the addresses accepts.
    #[error("{0}")]
    Connect(io::Error),
    /// TLS can't be agreed on.
    #[error("{0}")]
    Tls(io::Error),
    /// The host can't be in a certificate.
    #[error("the host is no name that a certificate may have")]
    Name,
}

/// Resolves the origin and connects to the first admitted address that accepts.
///
/// # Errors
/// See [`DialError`].
pub async fn dial(origin: &Origin, ranges: &[AddressRange]) -> Result<TcpStream, DialError> {
    let addresses: Vec<SocketAddr> = match origin.host().parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, origin.port())],
        Err(_) => {
            let resolved = tokio::net::lookup_host((origin.host(), origin.port())).await;
            admit(origin, ranges, resolved.map_err(DialError::Resolve)?)?
        }
    };
    let mut last = DialError::NoAddress;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Without it small requests wait; they work either way.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = DialError::Connect(error),
        }
    }
    Err(last)
}

/// Speaks TLS on a connection, if the origin asks for it.
///
/// # Errors
/// [`DialError::Tls`] and [`DialError::Name`].
pub async fn connect(
    origin: &Origin,
    tcp: TcpStream,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Box<dyn Stream>, DialError> {
    let Some(tls) = tls.filter(|_| origin.tls()) else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(origin.host().to_owned()).map_err(|_| DialError::Name)?;
    let connected = TlsConnector::from(tls).connect(name, tcp).await;
    Ok(Box::new(connected.map_err(DialError::Tls)?))
}
