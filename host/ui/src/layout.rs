//! What is around a screen: head, navigation, and who looks.

use maud::{DOCTYPE, Markup, html};
use usher_api::Problem;

use crate::assets::{ICON, SCRIPT, STYLE};
use crate::html::badge;
use crate::screen::{Screen, Shown};
use crate::source::Viewer;
use usher_wording::Tone;

/// A page.
#[derive(Clone, Debug)]
pub struct Page {
    /// The HTTP status.
    pub status: u16,
    /// The document.
    pub html: String,
}

/// A screen, or why there is none.
pub(crate) fn page(
    viewer: &Viewer,
    screen: Screen,
    query: &str,
    shown: Result<Shown, Problem>,
) -> Page {
    let (status, title, is_live, body) = match shown {
        Ok(Shown { title, is_live, body }) => (200, title, is_live, body),
        Err(problem) => (problem.status, screen.title().to_owned(), false, trouble(&problem)),
    };
    let mark = if query.is_empty() { "" } else { "?" };
    let live = is_live.then(|| format!("live/{}{mark}{query}", screen.path()));
    let inside = html! {
        header {
            a.brand href="overview" { "Usher" }
            nav aria-label="Screens" {
                @for shown in Screen::ALL.into_iter().filter(|one| one.is_in_navigation()) {
                    @if shown.is_for(viewer) {
                        a href=(shown.path()) aria-current=[(shown == screen).then_some("page")] {
                            (shown.title())
                        }
                    }
                }
            }
            div.viewer {
                (badge(&viewer.actor, Tone::Faint))
                @if viewer.is_logged_in {
                    form method="post" action="logout" { button type="submit" { "Log out" } }
                }
            }
        }
        div #notice role="status" aria-live="polite" hidden {}
        main #main tabindex="-1" data-live=[live] { (body) }
    };
    Page { status, html: document(&title, Some(viewer), &inside) }
}

/// The page that asks for a token; `to` is the screen to show then, with its query.
pub fn login(refusal: Option<&str>, to: Option<&str>) -> Page {
    let inside = html! {
        main.login #main {
            h1 { "Usher" }
            @if let Some(refusal) = refusal { p.trouble role="alert" { (refusal) } }
            form method="post" action="login" {
                @if let Some(to) = to { input type="hidden" name="to" value=(to); }
                label {
                    "Token"
                    input type="password" name="token" autocomplete="current-password" required
                        autofocus;
                }
                button type="submit" { "Log in" }
            }
            p.faint {
                "An operator creates tokens with " code { "usher tokens new NAME --scope read" } "."
            }
        }
    };
    let status = if refusal.is_some() { 401 } else { 200 };
    Page { status, html: document("Log in", None, &inside) }
}

/// A page that loads its address once more. A browser sends no cookie along when a link elsewhere
/// leads here; it does when this page leads to itself.
pub fn again() -> Page {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta http-equiv="refresh" content="0"; title { "Usher" } }
            body {}
        }
    };
    Page { status: 200, html: document.into_string() }
}

/// A page with nothing but a problem.
pub fn message(problem: &Problem) -> Page {
    let inside = html! { main #main { (trouble(problem)) p { a href="overview" { "Overview" } } } };
    Page { status: problem.status, html: document(&problem.title, None, &inside) }
}

fn document(title: &str, viewer: Option<&Viewer>, inside: &Markup) -> String {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Usher" }
                link rel="icon" href=(ICON.address());
                link rel="stylesheet" href=(STYLE.address());
                script src=(SCRIPT.address()) defer {}
            }
            body data-actor=[viewer.map(|viewer| &viewer.actor)] {
                a.skip href="#main" { "Skip to content" }
                (inside)
            }
        }
    };
    document.into_string()
}

pub(crate) fn trouble(problem: &Problem) -> Markup {
    html! {
        section.trouble role="alert" {
            h1 { (problem.status) " " (problem.title) }
            p { (problem.detail) }
        }
    }
}
