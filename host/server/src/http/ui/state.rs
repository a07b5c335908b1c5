//! What all addresses of the page share.

use std::sync::Arc;

use axum::Router;
use tokio::sync::Semaphore;

use crate::http::state::Api;

/// Limit on screens that are being made at a time.
const SCREENS_MAX: usize = 8;

/// The page. Cheap to clone.
#[derive(Clone)]
pub(super) struct Ui {
    pub(super) api: Api,
    /// The routes of the API.
    pub(super) routes: Router,
    /// One permit for each screen that is being made.
    pub(super) making: Arc<Semaphore>,
}

impl Ui {
    pub(super) fn new(api: Api, routes: Router) -> Self {
        Self { api, routes, making: Arc::new(Semaphore::new(SCREENS_MAX)) }
    }
}
