//! Where the page reads, and for whom.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use usher_api::{Problem, Route, Scope};

/// The API, with the permissions of the viewer.
pub trait Source: Send + Sync {
    /// Requests a path with its query; returns the body of a success.
    fn get(&self, path_and_query: String) -> impl Future<Output = Result<Vec<u8>, Problem>> + Send;
}

/// Who looks.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// Its name in the audit.
    pub actor: String,
    /// Whether it has logged in with a token, and can log out.
    pub is_logged_in: bool,
    /// What it may use.
    pub scopes: BTreeSet<Scope>,
}

impl Viewer {
    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// Reads a route of the API.
pub(crate) async fn fetch<T: DeserializeOwned>(
    source: &impl Source,
    route: Route,
    parameters: &[&str],
    query: &impl Serialize,
) -> Result<T, Problem> {
    let query = serde_urlencoded::to_string(query).map_err(|error| problem(error.to_string()))?;
    let mark = if query.is_empty() { "" } else { "?" };
    let body = source.get(format!("{}{mark}{query}", route.filled(parameters))).await?;
    serde_json::from_slice(&body).map_err(|error| problem(error.to_string()))
}

/// A problem of the page itself.
pub(crate) fn problem(detail: impl Into<String>) -> Problem {
    Problem {
        kind: "about:blank".to_owned(),
        title: "invalid request".to_owned(),
        status: 400,
        detail: detail.into(),
        attribute: None,
        member: None,
    }
}
