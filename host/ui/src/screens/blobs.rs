//! Files that plugins keep.

use maud::{Markup, html};
use usher_api::{Blob, Blobs, BlobsQuery, Problem, Scope, routes};
use usher_wording::bytes;

use crate::asked::Asked;
use crate::html::{address, cell, digest, plugin_link, table, time};
use crate::screen::Screen;
use crate::source::{Source, Viewer, fetch};

/// Blobs on one page.
const PAGE_BLOBS: usize = 50;

pub(crate) async fn show(
    source: &impl Source,
    viewer: &Viewer,
    asked: &Asked,
) -> Result<Markup, Problem> {
    let query = BlobsQuery { after: asked.parsed("after")?, max: Some(PAGE_BLOBS) };
    let found: Blobs = fetch(source, routes::BLOBS, &[], &query).await?;
    let may_read = viewer.may(Scope::ReadData);
    let rows: Vec<_> = found.blobs.iter().map(|blob| row(blob, may_read)).collect();
    let more = found.blobs.last().filter(|_| found.blobs.len() == PAGE_BLOBS);
    Ok(html! {
        h1 { "Blobs" }
        (table(&["Digest", "Size", "Type", "Plugin", "Created (UTC)"], &rows, "There are none."))
        @if let Some(last) = more {
            @let query = [("after", last.digest.to_string())];
            p.pages { a href=(address(Screen::Blobs, &query)) rel="next" { "Next" } }
        }
    })
}

fn row(blob: &Blob, may_read: bool) -> Markup {
    html! {
        tr {
            td {
                @if may_read {
                    a href={ "api/blobs/" (blob.digest) } { (digest(Some(blob.digest))) }
                } @else { (digest(Some(blob.digest))) }
            }
            td.number { (bytes(blob.size_bytes)) }
            td { (cell(&blob.content_type)) }
            td { (plugin_link(blob.plugin.as_str())) }
            td { (time(blob.created)) }
        }
    }
}
