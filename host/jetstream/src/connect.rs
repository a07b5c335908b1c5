//! The connection to NATS.

use std::collections::BTreeSet;
use std::future::{Ready, ready};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event};
use usher_journal::JournalError;

use crate::JetStreamOptions;

/// How long connecting to a server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Servers that can't be reached are tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How many tokens of a subject say what it is for: `$JS.API.CONSUMER`, `usher.journal.STREAM`.
const SUBJECT_TOKENS: usize = 3;

/// Limit on the kinds of refusals that are told.
const REFUSALS_TOLD_MAX: usize = 64;

/// Tells the operator what the servers refuse, each kind once. A request without permission has no answer: that
/// it was refused comes by itself (async-nats 0.51).
fn tell_refusals() -> impl Fn(Event) -> Ready<()> {
    let told = Mutex::new(BTreeSet::new());
    move |event| {
        if let Event::ServerError(error) = event {
            let reason = error.to_string();
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() < REFUSALS_TOLD_MAX && told.insert(kind(&reason)) {
                tracing::warn!(reason, "the journal's servers refuse something to this node");
            }
        }
        ready(())
    }
}

/// What refusals have in common that are about subjects with the same beginning: the rest of it may be a name that
/// is made for each request.
fn kind(reason: &str) -> String {
    let beginning: Vec<_> = reason.splitn(SUBJECT_TOKENS + 1, '.').take(SUBJECT_TOKENS).collect();
    beginning.join(".")
}

/// Connects to one of the servers; goes on trying while none can be reached.
pub(crate) async fn connect(options: &JetStreamOptions) -> Result<Client, JournalError> {
    let servers = options.servers.join(", ");
    let refused = |reason: String| JournalError::Service {
        stream: options.stream.clone(),
        reason: format!("cannot connect to {servers}: {reason}"),
    };
    let mut is_told = false;
    loop {
        let mut connecting = ConnectOptions::new()
            .name(format!("usher {}", options.node))
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(Duration::from_secs(2))
            .event_callback(tell_refusals())
            .reconnect_delay_callback(|tries| {
                let tries = u64::try_from(tries).unwrap_or(u64::MAX);
                Duration::from_millis(tries.saturating_mul(50).min(1_000))
            });
        if let Some((user, file)) = &options.user {
            let password = std::fs::read_to_string(file)
                .map_err(|error| refused(format!("the password in {}: {error}", file.display())))?;
            let password = password.trim_end_matches(['\r', '\n']).to_owned();
            connecting = connecting.user_and_password(user.clone(), password);
        }
        if let Some((certificate, key)) = &options.certificate {
            connecting = connecting.add_client_certificate(certificate.clone(), key.clone());
        }
        if let Some(ca) = &options.ca {
            connecting = connecting.add_root_certificates(ca.clone());
        }
        let error = match connecting.connect(&options.servers[..]).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        match error.kind() {
            ConnectErrorKind::Dns | ConnectErrorKind::TimedOut | ConnectErrorKind::Io => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(servers, %error, "the journal's servers can't be reached; trying again");
                }
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                return Err(refused(format!("{error}; check user and password_file in [journal]")));
            }
            ConnectErrorKind::ServerParse
            | ConnectErrorKind::Tls
            | ConnectErrorKind::MaxReconnects => {
                return Err(refused(error.to_string()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_one_kind_are_one() {
        let refusal =
            |subject: &str| format!("nats: Permissions Violation for Publish to \"{subject}\"");
        let of = |subject: &str| kind(&refusal(subject));
        assert_eq!(of("$JS.API.CONSUMER.CREATE.usher.x7"), of("$JS.API.CONSUMER.CREATE.usher.y8"));
        assert_ne!(of("$JS.API.CONSUMER.CREATE.usher"), of("$JS.API.STREAM.INFO.usher"));
        assert_ne!(of("usher.owner.a"), of("usher.node.a"));
        assert_eq!(kind("authorization violation"), "authorization violation");
    }
}
