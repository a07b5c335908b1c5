//! Certificates and keys: read from PEM files, checked, and made into configurations of rustls for
//! servers and clients.
//!
//! Everything here reads small files and blocks; nothing connects.

mod certificate;
mod client;
mod explain;
mod files;
mod server;

pub use certificate::Certificate;
pub use client::{Roots, client_config, root_certificates};
pub use explain::explain;
pub use files::TlsError;
pub use server::{ServerFiles, ServerTls, server_config};
