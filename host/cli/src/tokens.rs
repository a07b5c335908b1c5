//! `usher tokens`: lists, creates and revokes tokens, and makes hashes for the configuration.

use serde::Serialize;
use usher_access::TokenSecret;
use usher_api::{NewToken, Timestamp, Token, TokenCreated, TokenRevoked, Tokens, routes};

use super::args::{ClientArgs, HashTokenArgs, NewTokenArgs, RevokeTokenArgs};
use super::ui::error::CliError;
use super::ui::output::{Output, style};
use super::ui::table::{Align, Cell, Table, paint};
use usher_wording::{date_time, now, printable};

/// Placeholder in empty cells.
const NOTHING: &str = "-";

/// Lists the tokens.
pub(crate) fn list(args: &ClientArgs, out: &mut Output) -> Result<(), CliError> {
    let found: Tokens = args.client()?.call(routes::TOKENS, &[]).fetch()?;
    if args.json {
        return out.json(&found);
    }
    out.text(&table(&found.tokens, now()))
}

fn table(tokens: &[Token], now: Timestamp) -> String {
    if tokens.is_empty() {
        return "no tokens: the router asks local callers for none\n".to_owned();
    }
    let mut table = Table::new(&[
        ("TOKEN", Align::Left),
        ("SCOPES", Align::Left),
        ("SOURCES", Align::Left),
        ("CREATED (UTC)", Align::Left),
        ("LAST USED", Align::Left),
        ("EXPIRES", Align::Left),
    ]);
    for token in tokens {
        let time =
            |time: Option<Timestamp>, absent: &str| time.map_or(absent.to_owned(), date_time);
        let scopes: Vec<_> = token.scopes.iter().map(ToString::to_string).collect();
        let sources = token.source_prefix.as_ref().map(|prefix| format!("{prefix}*"));
        let created = if token.configured { "in usher.toml" } else { NOTHING };
        let expires = match token.expires {
            Some(expires) if expires <= now => Cell::styled("expired", style::BAD),
            expires => time(expires, "never").into(),
        };
        table.row([
            Cell::styled(token.name.as_str(), style::NAME),
            printable(&scopes.join(" ")).into(),
            printable(sources.as_deref().unwrap_or("any")).into(),
            Cell::styled(time(token.created, created), style::FAINT),
            time(token.last_used, "never").into(),
            expires,
        ]);
    }
    table.render()
}

/// Creates a token.
pub(crate) fn create(args: NewTokenArgs, out: &mut Output) -> Result<(), CliError> {
    let NewTokenArgs { name, scopes, source_prefix, expires, client } = args;
    let new = NewToken { name, scopes, source_prefix, expires };
    let body = serde_json::to_vec(&new).map_err(|error| CliError::new(error.to_string()))?;
    let router = client.client()?;
    let tokens: Tokens = router.call(routes::TOKENS, &[]).fetch()?;
    let request = router.call(routes::CREATE_TOKEN, &[]).body("application/json", body);
    let created: TokenCreated = request.fetch()?;
    if client.json {
        return out.json(&created);
    }
    // Alone on stdout, so that it can be piped into a file.
    out.text(&format!("{}\n", created.secret))?;
    out.flush()?;
    let name = paint(created.token.name.as_str(), style::NAME);
    anstream::eprintln!("token {name} created; its secret is not shown again");
    if tokens.tokens.is_empty() {
        anstream::eprintln!(
            "from now on every caller needs a token: set USHER_TOKEN, or name a file with \
             --token-file"
        );
    }
    Ok(())
}

/// Revokes a token.
pub(crate) fn revoke(args: &RevokeTokenArgs, out: &mut Output) -> Result<(), CliError> {
    let request = args.client.client()?.call(routes::REVOKE_TOKEN, &[args.name.as_str()]).fetch();
    let revoked: TokenRevoked = request?;
    if args.client.json {
        return out.json(&revoked);
    }
    out.text(&format!("token {} revoked\n", paint(revoked.name.as_str(), style::NAME)))
}

/// A secret and its hash.
#[derive(Serialize)]
struct Hashed {
    secret: String,
    hash: String,
}

/// Makes a secret and its hash.
pub(crate) fn hash(args: &HashTokenArgs, out: &mut Output) -> Result<(), CliError> {
    let secret = TokenSecret::generate();
    let secret = secret.ok_or_else(|| CliError::new("the system has no random numbers"))?;
    let hashed = Hashed { secret: secret.reveal().to_owned(), hash: secret.hash().to_string() };
    if args.json {
        return out.json(&hashed);
    }
    out.text(&format!("secret  {}\nhash    {}\n", hashed.secret, hashed.hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_a_table() {
        let tokens: Vec<Token> = serde_json::from_value(serde_json::json!([{
            "name": "ops", "scopes": ["admin"], "source_prefix": null,
            "created": "2026-01-31T12:00:00.000Z", "expires": null,
            "last_used": "2026-01-31T13:05:00.000Z", "configured": false
        }, {
            "name": "shop", "scopes": ["publish:ticket.", "read:attributes"],
            "source_prefix": "/shop/", "created": null, "expires": "2026-02-01T00:00:00.000Z",
            "last_used": null, "configured": true
        }]))
        .unwrap();
        let now = Timestamp::from_text("2026-02-01T00:00:00Z").unwrap();
        assert_eq!(
            anstream::adapter::strip_str(&table(&tokens, now)).to_string(),
            "\
TOKEN  SCOPES                           SOURCES  CREATED (UTC)            \
LAST USED                EXPIRES
ops    admin                            any      2026-01-31 12:00:00.000  \
2026-01-31 13:05:00.000  never
shop   publish:ticket. read:attributes  /shop/*  in usher.toml            \
never                    expired
"
        );
    }
}
