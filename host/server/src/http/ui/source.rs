//! The API as the page reads it: in this process, as the viewer.

use axum::Router;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use usher_api::Problem;
use usher_ui::Source;

use super::session::Session;
use crate::http::client::Client;
use crate::http::problem::ApiError;

/// Limit on one response of the API that a screen is made of.
const BODY_MAX_BYTES: usize = 32 * 1024 * 1024;

/// The API, for one viewer.
pub(super) struct OwnApi<'a> {
    routes: &'a Router,
    session: &'a Session,
    client: &'a Client,
}

impl<'a> OwnApi<'a> {
    pub(super) fn new(routes: &'a Router, session: &'a Session, client: &'a Client) -> Self {
        Self { routes, session, client }
    }

    async fn read(&self, path_and_query: String) -> Result<Vec<u8>, Problem> {
        let failed =
            |error: &dyn std::fmt::Display| ApiError::internal(error.to_string()).problem();
        let request = Request::get(path_and_query).body(Body::empty());
        let mut request = request.map_err(|error| failed(&error))?;
        self.session.sign(request.headers_mut());
        request.extensions_mut().insert(self.client.clone());
        let Ok(response) = self.routes.clone().oneshot(request).await;
        let is_success = response.status().is_success();
        let (mut rest, mut body) = (response.into_body(), Vec::new());
        // Each part gives its share of the budget back before the next one asks for its own: a
        // response held as a whole could wait for itself.
        while let Some(frame) = rest.frame().await {
            let frame = frame.map_err(|error| failed(&error))?;
            if let Some(data) = frame.data_ref() {
                body.extend_from_slice(data);
            }
            if body.len() > BODY_MAX_BYTES {
                return Err(failed(&"there is more of it than the page can show: narrow it down"));
            }
        }
        if is_success {
            return Ok(body);
        }
        Err(serde_json::from_slice(&body).unwrap_or_else(|error| failed(&error)))
    }
}

impl Source for OwnApi<'_> {
    fn get(&self, path_and_query: String) -> impl Future<Output = Result<Vec<u8>, Problem>> + Send {
        self.read(path_and_query)
    }
}
