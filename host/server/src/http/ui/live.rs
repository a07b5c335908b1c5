//! Screens that stay up to date: server-sent events with a screen's content, each time that it has
//! changed.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Uri};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};
use usher_event::Digest;
use usher_ui::Screen;

use super::session::Session;
use super::source::OwnApi;
use super::state::Ui;
use crate::http::client::Client;
use crate::http::problem::ApiError;
use crate::http::state::stopped;
use crate::http::stream::{COMMENT, Place, sent_events};

/// How often a screen is made again.
const EVERY: Duration = Duration::from_secs(1);

/// A comment is sent after this many screens without a change, so that both ends notice a dead
/// connection.
const SILENT_MAX: u32 = 15;

/// A screen that is looked at.
struct Live {
    ui: Ui,
    client: Client,
    screen: Screen,
    uri: Uri,
    headers: HeaderMap,
    ticks: Interval,
    /// Digest of what was sent last.
    sent: Option<Digest>,
    silent: u32,
    is_begun: bool,
    stop: watch::Receiver<bool>,
    _place: Place,
}

/// Follows a screen, without an end.
pub(super) async fn follow(
    State(ui): State<Ui>,
    client: Client,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let screen = Screen::from_path(&name)
        .ok_or_else(|| ApiError::not_found(format!("the page has no screen {name}")))?;
    Session::of(&ui.api, &client, &uri, &headers)?;
    let place = Place::take(&ui.api)?;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let live = Live {
        stop: ui.api.stop.clone(),
        _place: place,
        ui,
        client,
        screen,
        uri,
        headers,
        ticks,
        sent: None,
        silent: 0,
        is_begun: false,
    };
    let events = stream::unfold(live, |mut live| async move {
        let event = live.next().await?;
        Some((Ok::<_, Infallible>(event), live))
    });
    Ok(sent_events(events, "no-store"))
}

impl Live {
    /// The next event; `None` when the router stops, the viewer's token is no longer valid, or the
    /// screen is none that changes.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return None,
                _ = self.ticks.tick() => {}
            }
            let session = Session::of(&self.ui.api, &self.client, &self.uri, &self.headers).ok()?;
            if !std::mem::replace(&mut self.is_begun, true) {
                // Tells the page who this is for: it may have been made for someone else.
                let viewer = format!("event: viewer\ndata: {}\n\n", session.viewer.actor);
                return Some(viewer.into());
            }
            let html = self.make(&session).await?;
            let digest = Digest::of(html.as_bytes());
            if self.sent != Some(digest) {
                (self.sent, self.silent) = (Some(digest), 0);
                let mut event = String::with_capacity(html.len() + 64);
                for line in html.split(['\n', '\r']) {
                    event.extend(["data: ", line, "\n"]);
                }
                event.push('\n');
                let share = self.ui.api.answers.take(self.client.connection(), event.len()).await?;
                return Some(share.charged(event));
            }
            self.silent += 1;
            if self.silent >= SILENT_MAX {
                self.silent = 0;
                return Some(Bytes::from_static(COMMENT));
            }
        }
    }

    /// The screen's content; `None` if it isn't a live one.
    async fn make(&self, session: &Session) -> Option<String> {
        let _making = self.ui.making.acquire().await.ok()?;
        let source = OwnApi::new(&self.ui.routes, session, &self.client);
        let query = self.uri.query().unwrap_or_default();
        usher_ui::content(&source, &session.viewer, self.screen, query).await
    }
}
