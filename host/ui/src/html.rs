//! Pieces that all screens are made of.

use maud::{Markup, html};
use serde::Serialize;
use usher_api::Timestamp;
use usher_event::Digest;
use usher_event::text::cut_chars;
use usher_wording::{Phrase, Tone, date_time, printable};

use crate::json::pretty;
use crate::screen::Screen;

/// Limit on the text of one cell.
const CELL_MAX_CHARS: usize = 160;

/// Limit on a payload that is shown as it was sent.
const SHOWN_MAX_BYTES: usize = 1024 * 1024;

/// Untrusted text, cut to fit a cell.
pub(crate) fn cell(text: &str) -> Markup {
    let shown = printable(cut_chars(text, CELL_MAX_CHARS).as_ref());
    html! { (shown) }
}

/// A point in time, in UTC.
pub(crate) fn time(time: Timestamp) -> Markup {
    html! { time datetime=(time) { (date_time(time)) } }
}

/// A point in time, if there is one.
pub(crate) fn maybe_time(at: Option<Timestamp>) -> Markup {
    html! { @match at { Some(at) => (time(at)), None => { span.faint { "–" } } } }
}

/// The first characters of a digest, whole in the title.
pub(crate) fn digest(digest: Option<Digest>) -> Markup {
    let whole = digest.map(|digest| digest.to_string());
    html! {
        @if let Some(whole) = &whole {
            code title=(whole) { (whole.get(..12).unwrap_or_default()) }
        } @else { span.faint { "–" } }
    }
}

/// The class of a tone in the style sheet.
pub(crate) fn tone_class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Open => "open",
        Tone::Bad => "bad",
        Tone::Faint => "faint",
    }
}

pub(crate) fn phrase(phrase: &Phrase) -> Markup {
    html! { span class=(tone_class(phrase.tone)) { (phrase.words) } }
}

/// A word for a state, with a colour.
pub(crate) fn badge(words: &str, tone: Tone) -> Markup {
    html! { span class={ "badge " (tone_class(tone)) } { (words) } }
}

/// The address of a screen.
pub(crate) fn address(screen: Screen, query: &impl Serialize) -> String {
    let query = serde_urlencoded::to_string(query).unwrap_or_default();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{}{mark}{query}", screen.path())
}

pub(crate) fn event_link(sequence: u64) -> Markup {
    html! { a href=(address(Screen::Event, &[("sequence", sequence)])) { "#" (sequence) } }
}

pub(crate) fn flow_link(sequence: u64) -> Markup {
    html! { a href=(address(Screen::Flow, &[("id", sequence)])) { "flow " (sequence) } }
}

pub(crate) fn dead_letter_link(id: u64) -> Markup {
    html! { a href=(address(Screen::DeadLetter, &[("id", id)])) { "dead letter " (id) } }
}

pub(crate) fn plugin_link(name: &str) -> Markup {
    html! { a href=(address(Screen::Plugin, &[("name", name)])) { (name) } }
}

/// A payload: JSON indented with its numbers as sent, other text as it is, the rest as a number of
/// bytes.
pub(crate) fn payload(data: &[u8]) -> Markup {
    let text = std::str::from_utf8(data).ok().filter(|text| {
        let is_plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
        data.len() <= SHOWN_MAX_BYTES && text.chars().all(is_plain)
    });
    html! {
        @match text {
            Some(text) => { pre.payload tabindex="0" { (lines(&pretty(text).unwrap_or_else(|| text.to_owned()))) } }
            None => { p.faint { (data.len()) " bytes that are no text" } }
        }
    }
}

/// Text with its line breaks; what would change how the rest is read is escaped.
pub(crate) fn lines(text: &str) -> String {
    text.split('\n').map(|line| printable(&line.replace('\t', "  "))).collect::<Vec<_>>().join("\n")
}

/// A button that sends a request to the API; `path` is that of the API, without the first slash.
/// Its question is asked first, if it has one.
pub(crate) fn action(words: &str, path: &str, question: Option<&str>) -> Markup {
    html! {
        form.action method="post" action={ "api/" (path) } data-question=[question] {
            button type="submit" { (words) }
        }
    }
}

/// A labelled field of a form.
pub(crate) fn field(label: &str, name: &str, kind: &str, value: Option<&str>) -> Markup {
    html! { label { (label) input type=(kind) name=(name) value=(value.unwrap_or_default()); } }
}

/// A table that scrolls by itself where the window is narrow; a line of words if it is empty.
pub(crate) fn table(heads: &[&str], rows: &[Markup], empty: &str) -> Markup {
    html! {
        @if rows.is_empty() {
            p.faint { (empty) }
        } @else {
            div.scroll tabindex="0" {
                table {
                    thead { tr { @for head in heads { th scope="col" { (head) } } } }
                    tbody { @for row in rows { (row) } }
                }
            }
        }
    }
}
