//! What most tests start with: a router with some guests, all of them serving.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use usher_tests::{Client, Finished, Folder, Router, usher_with};

/// A router and its folder. The router goes first when dropped.
pub(crate) struct Scene {
    pub(crate) router: Router,
    pub(crate) folder: Folder,
}

/// Few retries, and with hardly any delay.
pub(crate) const QUICK_RETRIES: &str = "[retry]\nfirst_delay_ms = 10\nmax_attempts = 3\n";

impl Scene {
    /// A router without plugins.
    pub(crate) fn empty() -> Result<Self> {
        Self::with("", &[])
    }

    /// A router with these guests, all serving, and these tables in its usher.toml.
    pub(crate) fn with(tables: &str, guests: &[&str]) -> Result<Self> {
        let folder = Folder::with_config("", tables)?;
        folder.install_guests(guests)?;
        let router = Router::start(&folder)?;
        for guest in guests {
            router
                .client()
                .wait_for_plugin(guest, "serving")
                .with_context(|| router.log_tail(20))?;
        }
        Ok(Self { router, folder })
    }

    pub(crate) fn client(&self) -> &Client {
        self.router.client()
    }

    /// Publishes an event and waits until its flow is settled.
    pub(crate) fn flow_of(&self, ty: &str, id: &str, data: &Value) -> Result<Value> {
        let receipt = self.client().publish_new(ty, id, data)?;
        self.client().settled_flow(receipt.sequence)
    }
}

/// The types of a flow's events, in order.
pub(crate) fn types(flow: &Value) -> Vec<&str> {
    let events = flow["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    events.iter().filter_map(|event| event["event"]["type"].as_str()).collect()
}

/// The first delivery of a flow's first event.
pub(crate) fn delivery(flow: &Value) -> &Value {
    &flow["events"][0]["deliveries"][0]
}

/// A CloudEvent from `/tests`.
pub(crate) fn event(ty: &str, id: &str, data: &Value) -> Value {
    json!({ "specversion": "1.0", "id": id, "source": "/tests", "type": ty, "data": data })
}

/// Runs a command against `router`, with this token in its environment.
pub(crate) fn usher_as(router: &Router, token: &str, args: &[&str]) -> Result<Finished> {
    let all: Vec<&str> = args.iter().copied().chain(["--url", router.url()]).collect();
    usher_with(&all, b"", &[("USHER_TOKEN", token)])
}

/// Creates a token and returns its secret.
pub(crate) fn new_token(router: &Router, by: &str, name: &str, scopes: &[&str]) -> Result<String> {
    let scopes = scopes.iter().flat_map(|scope| ["--scope", scope]);
    let args: Vec<&str> = ["tokens", "new", name].into_iter().chain(scopes).collect();
    let created = usher_as(router, by, &args)?;
    assert_eq!(created.code, 0, "{created:?}");
    let secret = created.stdout.trim_end();
    assert!(secret.starts_with("usher_") && !secret.contains('\n'), "{created:?}");
    Ok(secret.to_owned())
}
