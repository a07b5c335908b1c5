//! The page under `/ui`: what the API says, as HTML.
//!
//! Everything shown is read from the API with the viewer's own permissions, through [`Source`], and
//! everything done is a request to the API that the script in the browser makes. So the page knows
//! nothing that a program could not, and has no rules of its own.
//!
//! HTML is made by maud, which escapes whatever is put into it. There is neither inline script nor
//! inline style, so that the content security policy forbids both ([`CONTENT_SECURITY_POLICY`]).
//! All screens are files of one folder, and all addresses are relative to it: the page works under
//! any path prefix.

mod asked;
mod assets;
mod chart;
mod html;
mod json;
mod layout;
mod screen;
mod screens;
mod source;
mod timeline;

pub use assets::{Asset, asset};
pub use layout::{Page, again, login, message};
pub use screen::Screen;
pub use source::{Source, Viewer};

/// Only what the router itself serves; no inline script or style, no frame around it.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A screen as a whole page.
pub async fn page(source: &impl Source, viewer: &Viewer, screen: Screen, query: &str) -> Page {
    let shown = screens::show(source, viewer, screen, query).await;
    layout::page(viewer, screen, query, shown)
}

/// What is in a live screen's `main` element, or why it can't be read; `None` if it isn't live.
pub async fn content(
    source: &impl Source,
    viewer: &Viewer,
    screen: Screen,
    query: &str,
) -> Option<String> {
    match screens::show(source, viewer, screen, query).await {
        Ok(shown) => shown.is_live.then(|| shown.body.into_string()),
        Err(problem) => Some(layout::trouble(&problem).into_string()),
    }
}
