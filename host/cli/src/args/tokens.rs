//! `usher tokens`.

use clap::{Args, Subcommand};
use usher_api::{Timestamp, TokenScope};
use usher_event::TokenName;

use super::{ClientArgs, timestamp};

/// `usher tokens`.
#[derive(Debug, Subcommand)]
pub enum TokensVerb {
    /// List tokens, without their secrets
    List(ClientArgs),
    /// Create a token and print its secret, this one time
    New(NewTokenArgs),
    /// Revoke a token: it is refused from now on
    Revoke(RevokeTokenArgs),
    /// Print a new secret and its hash, for [token.NAME] in usher.toml; needs no router
    Hash(HashTokenArgs),
}

/// `usher tokens new`.
#[derive(Debug, Args)]
pub struct NewTokenArgs {
    /// The token's name, which the audit shows
    pub name: TokenName,
    /// What it permits: publish, publish:TYPE-PREFIX, read, read:attributes, operate, or admin for
    /// everything; may be repeated
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    pub scopes: Vec<TokenScope>,
    /// Only events whose source starts with this may be published
    #[arg(long, value_name = "PREFIX")]
    pub source_prefix: Option<String>,
    /// When it expires: a time (RFC 3339), or from now on, such as 90d or 12h; never by default
    #[arg(long, value_name = "WHEN", value_parser = expires)]
    pub expires: Option<Timestamp>,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `usher tokens revoke`.
#[derive(Debug, Args)]
pub struct RevokeTokenArgs {
    /// The token's name
    pub name: TokenName,
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `usher tokens hash`.
#[derive(Debug, Args)]
pub struct HashTokenArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// A time, or a number of days or hours from now on.
fn expires(text: &str) -> Result<Timestamp, String> {
    const HOUR_MS: u64 = 3_600_000;
    let span = [("d", 24 * HOUR_MS), ("h", HOUR_MS)].into_iter().find_map(|(unit, unit_ms)| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        count.checked_mul(unit_ms)
    });
    match span {
        Some(span_ms) => {
            let at_ms = usher_wording::now().as_ms().saturating_add(span_ms);
            Ok(Timestamp::from_ms(at_ms))
        }
        None => timestamp(text).map_err(|error| format!("use 90d, 12h, or a time: {error}")),
    }
}
