//! How to reach a router.

use std::path::{Path, PathBuf};

use clap::Args;
use usher_client::Client;

use crate::ui::error::CliError;

/// The address `usher run` listens on by default.
const URL_DEFAULT: &str = "http://127.0.0.1:7171";

const URL_FORMS: &str = "use http://HOST:PORT, https://HOST:PORT or unix:PATH";

/// The environment variable with the token.
const TOKEN_VARIABLE: &str = "USHER_TOKEN";

/// A file that holds more is no token.
const TOKEN_MAX_BYTES: u64 = 4096;

/// Router address and output format.
#[derive(Debug, Args)]
pub struct ClientArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
    /// Print JSON, as in the HTTP API
    #[arg(long)]
    pub json: bool,
}

/// Router address.
#[derive(Debug, Args)]
pub struct ConnectArgs {
    /// The router's address
    #[arg(long, env = "USHER_URL", default_value = URL_DEFAULT, value_parser = base_url)]
    pub(crate) url: String,
    #[command(flatten)]
    credentials: CredentialsArgs,
}

/// What a router asks for.
#[derive(Debug, Args)]
pub struct CredentialsArgs {
    /// File with the token, if the router asks for one; or set USHER_TOKEN to the token itself
    #[arg(long, env = "USHER_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// File with the root of the router's certificate, besides those of the system
    #[arg(long, env = "USHER_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

impl ClientArgs {
    /// As without further flags.
    #[cfg(test)]
    pub(crate) fn at(url: &str) -> Self {
        let connect = ConnectArgs {
            url: url.to_owned(),
            credentials: CredentialsArgs { token_file: None, ca_file: None },
        };
        Self { connect, json: false }
    }

    /// A client of the router.
    ///
    /// # Errors
    /// The token or the root can't be read.
    pub fn client(&self) -> Result<Client, CliError> {
        self.connect.client()
    }
}

impl ConnectArgs {
    /// A client of the router.
    pub(crate) fn client(&self) -> Result<Client, CliError> {
        self.credentials.client(&self.url)
    }
}

impl CredentialsArgs {
    /// A client of the router at `url`.
    ///
    /// # Errors
    /// The token or the root can't be read.
    pub fn client(&self, url: &str) -> Result<Client, CliError> {
        let token = match &self.token_file {
            Some(file) => Some(read_token(file)?),
            None => std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty()),
        };
        let mut client = Client::new(url);
        if url.starts_with("https:") {
            let verifying = client.verifying(self.ca_file.as_deref());
            client = verifying.map_err(|error| CliError::new(error.to_string()))?;
        }
        match token {
            None => Ok(client),
            Some(token) => client.with_token(&token).ok_or_else(|| {
                CliError::with_hint(
                    "the token has characters that no token has",
                    "it starts with usher_ and is one line; check --token-file and USHER_TOKEN",
                )
            }),
        }
    }
}

fn read_token(file: &Path) -> Result<String, CliError> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| CliError::new(format!("{}: {error}", file.display()));
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(failed)?;
    opened.take(TOKEN_MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(text.trim().to_owned())
}

/// Validates a router's base URL and strips a trailing slash.
pub fn base_url(text: &str) -> Result<String, String> {
    if text.strip_prefix("unix:").is_some_and(|path| !path.is_empty()) {
        return Ok(text.to_owned());
    }
    let uri: http::Uri = text.parse().map_err(|error| format!("not a URL: {error}"))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        Some(other) => return Err(format!("{other} is not supported; {URL_FORMS}")),
        None => return Err(URL_FORMS.to_owned()),
    }
    if uri.query().is_some() || !matches!(uri.path(), "" | "/") {
        return Err(format!("leave out path and query; {URL_FORMS}"));
    }
    Ok(text.trim_end_matches('/').to_owned())
}
