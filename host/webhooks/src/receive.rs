//! A request to a webhook, checked and made into an event.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::Value;
use usher_event::limits::EVENT_MAX_BYTES;
use usher_event::{Event, EventBuilder, format_time, media, read_time};

use crate::github::Github;
use crate::kind::Kind;
use crate::pick::{Mapping, Picked};
use crate::rejected::Rejected;
use crate::signature::SigningKey;

/// A webhook of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where it is received.
    pub path: String,
    /// Whose it is.
    pub kind: Kind,
    /// Keys that may have signed a request; several while one is replaced by another.
    pub keys: Vec<SigningKey>,
    /// How far the time of a signature may be off.
    pub tolerance: Duration,
    /// Where attributes come from, before what the kind says.
    pub mapping: Mapping,
}

/// What a request comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// An event to publish.
    Event(Event),
    /// A question of the sender, to be replied to with this text.
    Challenge(String),
}

impl Webhook {
    /// Checks a request and makes an event of it. `random` gives the id where that is picked.
    ///
    /// # Errors
    /// See [`Rejected`].
    pub fn receive(
        &self,
        headers: &HeaderMap,
        body: &Bytes,
        now_ms: u64,
        random: &dyn Fn() -> String,
    ) -> Result<Received, Rejected> {
        self.kind.verify(&self.keys, headers, body, (now_ms, self.tolerance))?;
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json = content_type.is_none_or(media::is_json);
        let json = self.json(is_json, body)?;
        let picked = Picked { headers, json: json.as_ref(), body, random };
        if self.kind == Kind::Slack
            && picked.at("/type").as_deref() == Some("url_verification")
            && let Some(challenge) = picked.at("/challenge")
        {
            return Ok(Received::Challenge(challenge));
        }
        let own = self.attributes(&picked);
        let mapping = &self.mapping;
        let ty = picked.first(&mapping.ty).map(|ty| format!("{}{ty}", mapping.type_prefix));
        let ty = ty.or(own.ty).ok_or(Rejected::Missing("type"))?;
        let source = picked.first(&mapping.source).or(own.source);
        let source = source.unwrap_or_else(|| self.path.clone());
        let id = picked.first(&mapping.id).or(own.id).ok_or(Rejected::Missing("id"))?;
        let mut event = Event::builder(id, source, ty);
        if let Some(subject) = picked.first(&mapping.subject).or(own.subject) {
            event = event.subject(subject);
        }
        let time = picked.first(&mapping.time).or(own.time);
        if let Some(time) =
            time.and_then(|time| rfc3339(&time)).or(own.is_now.then(|| format_time(now_ms)))
        {
            event = event.time(time);
        }
        Ok(Received::Event(with_data(event, content_type, body).build()?))
    }

    /// The body as JSON, if it is and something could be picked from it.
    fn json(&self, is_json: bool, body: &[u8]) -> Result<Option<Value>, Rejected> {
        // Larger ones are refused as events.
        let is_small = body.len() <= EVENT_MAX_BYTES;
        match self.kind {
            Kind::Hmac(_) | Kind::Unsigned if !is_json => Ok(None),
            _ if !is_small => Ok(None),
            _ => serde_json::from_slice(body)
                .map(Some)
                .map_err(|error| Rejected::NotJson(error.to_string())),
        }
    }

    /// What the kind says of a request's attributes.
    fn attributes(&self, picked: &Picked<'_>) -> Attributes {
        let header = |name: &str| {
            let value = picked.headers.get(name)?.to_str().ok()?;
            Some(value.trim().to_owned())
        };
        match self.kind {
            Kind::Github => {
                let event = header("x-github-event").unwrap_or_default();
                let Github { ty, source, subject, time } = Github::of(&event, picked);
                let ty = Some(ty).filter(|_| !event.is_empty());
                Attributes {
                    id: header("x-github-delivery"),
                    ty,
                    source,
                    subject,
                    time,
                    is_now: true,
                }
            }
            Kind::Stripe => Attributes {
                id: picked.at("/id"),
                ty: picked.at("/type").map(|ty| format!("com.stripe.{ty}")),
                source: Some(match picked.at("/account") {
                    Some(account) => format!("https://api.stripe.com/v1/accounts/{account}"),
                    None => "https://api.stripe.com".to_owned(),
                }),
                subject: picked.at("/data/object/id"),
                time: picked.at("/created"),
                is_now: false,
            },
            Kind::Slack => Attributes {
                id: picked.at("/event_id"),
                ty: picked.at("/event/type").map(|ty| format!("com.slack.{ty}")),
                source: picked.at("/team_id").map(|team| format!("https://slack.com/teams/{team}")),
                subject: picked.at("/event/channel"),
                time: picked.at("/event_time"),
                is_now: false,
            },
            Kind::Standard => Attributes {
                id: header("webhook-id").or_else(|| header("svix-id")),
                ty: picked.at("/type"),
                time: picked
                    .at("/timestamp")
                    .or_else(|| header("webhook-timestamp"))
                    .or_else(|| header("svix-timestamp")),
                ..Attributes::default()
            },
            Kind::Hmac(_) | Kind::Unsigned => Attributes {
                id: Some(usher_event::Digest::of(picked.body).to_string()),
                ..Attributes::default()
            },
        }
    }
}

/// What a kind says of the event.
#[derive(Default)]
struct Attributes {
    id: Option<String>,
    ty: Option<String>,
    source: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    /// Whether an event without a time gets that of its arrival.
    is_now: bool,
}

/// A time as RFC 3339; Unix seconds are converted.
fn rfc3339(text: &str) -> Option<String> {
    match text.parse::<u64>() {
        Ok(seconds) => Some(format_time(seconds.checked_mul(1_000)?)),
        Err(_) => read_time(text).map(|_| text.to_owned()),
    }
}

fn with_data(event: EventBuilder, content_type: Option<&str>, body: &Bytes) -> EventBuilder {
    if body.is_empty() {
        return event;
    }
    event.datacontenttype(content_type.unwrap_or("application/json")).data(body.clone())
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use ring::hmac;

    use super::*;
    use crate::kind::{Hmac, Timestamp};
    use crate::pick::Pick;
    use crate::signature::{Algorithm, Encoding, sign};

    const NOW_MS: u64 = 1_769_860_800_000;
    const NOW_S: u64 = NOW_MS / 1_000;
    const SECRET: &str = "It's a Secret to Everybody";

    fn webhook(kind: Kind) -> Webhook {
        let key = match kind {
            Kind::Standard => SigningKey::standard("whsec_c2VjcmV0"),
            _ => SigningKey::plain(SECRET),
        };
        Webhook {
            path: "/hooks/x".to_owned(),
            kind,
            keys: vec![key.unwrap()],
            tolerance: Duration::from_secs(300),
            mapping: Mapping::default(),
        }
    }

    fn tag(algorithm: hmac::Algorithm, text: &str) -> String {
        let key = hmac::Key::new(algorithm, SECRET.as_bytes());
        let tag = hmac::sign(&key, text.as_bytes());
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn receive(
        webhook: &Webhook,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Received, Rejected> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
        let body = Bytes::copy_from_slice(body.as_bytes());
        webhook.receive(&headers.collect(), &body, NOW_MS, &|| "random".to_owned())
    }

    #[track_caller]
    fn event(received: Result<Received, Rejected>) -> Event {
        match received {
            Ok(Received::Event(event)) => event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn github_is_as_its_documentation_says() {
        // The example of GitHub's own documentation.
        let body = "Hello, World!";
        let documented = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(tag(hmac::HMAC_SHA256, body), documented);

        let body = r#"{"action":"opened","number":7,"repository":{"url":"https://api.github.com/repos/a/b"},"pull_request":{"updated_at":"2026-01-31T12:00:00Z"}}"#;
        let signature = format!("sha256={}", tag(hmac::HMAC_SHA256, body));
        let headers = |signature| {
            [
                ("content-type", "application/json"),
                ("x-github-event", "pull_request"),
                ("x-github-delivery", "72d3162e"),
                ("x-hub-signature-256", signature),
            ]
        };
        let github = webhook(Kind::Github);
        let made = event(receive(&github, &headers(&signature), body));
        assert_eq!(
            (made.id(), made.ty(), made.source(), made.subject(), made.time()),
            (
                "72d3162e",
                "com.github.pull_request.opened",
                "https://api.github.com/repos/a/b",
                Some("7"),
                Some("2026-01-31T12:00:00Z")
            )
        );
        assert_eq!(made.data().unwrap(), body);
        let off = signature.replace(&signature[70..], "0");
        for (headers, body, word) in [
            (&headers(&off)[..], body, "wrong"),
            (&headers(&signature)[..], "{\"re\": \"encoded\"}", "wrong"),
            (&headers(&signature)[..3], body, "missing"),
            (&headers("sha1=00")[..], body, "missing"),
        ] {
            let error = receive(&github, headers, body).unwrap_err();
            assert!(error.is_unproven() && error.to_string().contains(word), "{error}");
        }
        let signed = format!("sha256={}", tag(hmac::HMAC_SHA256, "payload=x"));
        let error = receive(&github, &headers(&signed), "payload=x").unwrap_err();
        assert!(error.to_string().contains("not JSON"), "{error}");
    }

    #[test]
    fn github_events_that_have_a_form_of_their_own_have_that() {
        for (name, body, ty, source) in [
            (
                "installation_repositories",
                r#"{"action":"added","installation":{"account":{"url":"https://api.github.com/users/a"}}}"#,
                "com.github.installation_repository.added",
                "https://api.github.com/users/a",
            ),
            (
                "marketplace_purchase",
                r#"{"action":"purchased","sender":{"url":"https://api.github.com/users/a"}}"#,
                "com.github.marketplace_purchase.purchased",
                "https://api.github.com/users",
            ),
            (
                "issues",
                r#"{"action":"closed","repository":{"url":"https://api.github.com/repos/a/b"}}"#,
                "com.github.issue.closed",
                "https://api.github.com/repos/a/b",
            ),
        ] {
            let signature = format!("sha256={}", tag(hmac::HMAC_SHA256, body));
            let headers = [
                ("content-type", "application/json"),
                ("x-github-event", name),
                ("x-github-delivery", "72d3162e"),
                ("x-hub-signature-256", signature.as_str()),
            ];
            let made = event(receive(&webhook(Kind::Github), &headers, body));
            assert_eq!((made.ty(), made.source()), (ty, source));
        }
    }

    #[test]
    fn stripe_signs_the_time_too() {
        let body = r#"{"id":"evt_1","type":"charge.succeeded","created":1769860000,"data":{"object":{"id":"ch_1"}}}"#;
        let stripe = webhook(Kind::Stripe);
        let signed = |time_s: u64| {
            let good = tag(hmac::HMAC_SHA256, &format!("{time_s}.{body}"));
            receive(
                &stripe,
                &[("stripe-signature", &format!("t={time_s},v1=00,v1={good},v0=x"))],
                body,
            )
        };
        let made = event(signed(NOW_S - 299));
        assert_eq!(
            (made.id(), made.ty(), made.source(), made.subject(), made.time()),
            (
                "evt_1",
                "com.stripe.charge.succeeded",
                "https://api.stripe.com",
                Some("ch_1"),
                Some("2026-01-31T11:46:40.000Z")
            )
        );
        for time_s in [NOW_S - 301, NOW_S + 301] {
            assert_eq!(signed(time_s), Err(Rejected::Stale { off_s: 301 }));
        }
        for header in ["", "t=1", "v1=00", "t=x,v1=00", &format!("t={NOW_S},v1=00")] {
            let refused = receive(&stripe, &[("stripe-signature", header)], body).unwrap_err();
            assert!(refused.is_unproven(), "{header}: {refused}");
        }
    }

    #[test]
    fn slack_asks_before_it_sends() {
        let slack = webhook(Kind::Slack);
        let time = NOW_S.to_string();
        let signed = |body: &str| {
            let signature = format!("v0={}", tag(hmac::HMAC_SHA256, &format!("v0:{time}:{body}")));
            let headers =
                [("x-slack-request-timestamp", &*time), ("x-slack-signature", &*signature)];
            receive(&slack, &headers, body)
        };
        let question = r#"{"type":"url_verification","challenge":"3eZbrw1aB"}"#;
        assert_eq!(signed(question), Ok(Received::Challenge("3eZbrw1aB".to_owned())));
        let made = event(signed(
            r#"{"type":"event_callback","team_id":"T1","event_id":"Ev1","event_time":1769860799,"event":{"type":"message","channel":"C1"}}"#,
        ));
        assert_eq!(
            (made.id(), made.ty(), made.source(), made.subject()),
            ("Ev1", "com.slack.message", "https://slack.com/teams/T1", Some("C1"))
        );
        assert!(receive(&slack, &[], question).unwrap_err().is_unproven());
    }

    #[test]
    fn standard_webhooks_take_what_is_signed_here() {
        let mut standard = webhook(Kind::Standard);
        standard.keys.insert(0, SigningKey::plain("another").unwrap());
        let body = r#"{"type":"invoice.paid","timestamp":"2026-01-31T11:59:59Z","data":{}}"#;
        let signature = sign(&standard.keys[1..], "msg_1", NOW_S, body.as_bytes());
        let time = NOW_S.to_string();
        for names in [
            ["webhook-id", "webhook-timestamp", "webhook-signature"],
            ["svix-id", "svix-timestamp", "svix-signature"],
        ] {
            let headers = [(names[0], "msg_1"), (names[1], &*time), (names[2], &*signature)];
            let made = event(receive(&standard, &headers, body));
            assert_eq!(
                (made.id(), made.ty(), made.source(), made.time()),
                ("msg_1", "invoice.paid", "/hooks/x", Some("2026-01-31T11:59:59Z"))
            );
            let other = [(names[0], "msg_2"), headers[1], headers[2]];
            assert!(receive(&standard, &other, body).unwrap_err().is_unproven());
        }
    }

    #[test]
    fn any_hmac_can_be_described() {
        let mut custom = webhook(Kind::Hmac(Hmac {
            header: HeaderName::from_static("x-signature"),
            prefix: "v1:".to_owned(),
            algorithm: Algorithm::Sha512,
            encoding: Encoding::Hex,
            timestamp: Some(Timestamp {
                header: HeaderName::from_static("x-time"),
                separator: ":".to_owned(),
            }),
        }));
        custom.mapping = Mapping {
            ty: vec![Pick::Pointer("/kind".to_owned())],
            type_prefix: "com.example.".to_owned(),
            subject: vec![Pick::Header(HeaderName::from_static("x-about"))],
            ..Mapping::default()
        };
        let body = r#"{"kind":"order"}"#;
        let signature = format!("v1:{}", tag(hmac::HMAC_SHA512, &format!("{NOW_S}:{body}")));
        let time = NOW_S.to_string();
        let headers = [("x-time", &*time), ("x-signature", &*signature), ("x-about", "order 7")];
        let made = event(receive(&custom, &headers, body));
        assert_eq!(
            (made.ty(), made.subject(), made.id().len()),
            ("com.example.order", Some("order 7"), 64)
        );
        assert_eq!(made, event(receive(&custom, &headers, body)), "again, it is the same event");
        assert_eq!(
            receive(&custom, &headers[1..], body).unwrap_err(),
            Rejected::NoSignature { header: "x-time".to_owned() }
        );
    }

    #[test]
    fn what_is_not_signed_takes_other_bodies_too() {
        let mut plain = webhook(Kind::Unsigned);
        assert_eq!(receive(&plain, &[], "{}"), Err(Rejected::Missing("type")));
        plain.mapping.ty = vec![Pick::Text("alert".to_owned())];
        plain.mapping.id = vec![Pick::Random];
        let made = event(receive(&plain, &[("content-type", "text/plain")], "it burns"));
        assert_eq!((made.id(), made.datacontenttype()), ("random", Some("text/plain")));
        let refused = receive(&plain, &[("content-type", "application/json")], "it burns");
        assert!(matches!(refused, Err(Rejected::NotJson(_))), "{refused:?}");
        let large = "x".repeat(EVENT_MAX_BYTES + 1);
        let refused = receive(&plain, &[("content-type", "text/plain")], &large);
        assert!(matches!(refused, Err(Rejected::Event(_))), "{refused:?}");
    }
}
