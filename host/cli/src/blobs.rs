//! `usher blobs`: lists and fetches blobs stored by plugins.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use usher_event::Digest;

use super::args::{BlobArgs, BlobsListArgs};
use super::pages;
use super::ui::error::CliError;
use super::ui::output::{Output, style};
use super::ui::table::{Align, Cell, Table};
use usher_api::{Blob, Blobs, BlobsQuery, routes};
use usher_wording::{bytes, date_time, printable_cut};

/// Lists blobs.
pub(crate) fn list(args: &BlobsListArgs, out: &mut Output) -> Result<(), CliError> {
    let client = args.client.client()?;
    let wanted = args.max.count;
    let fetch = |max: usize, after: Option<Digest>| {
        let query = BlobsQuery { after, max: Some(max) };
        Ok(client.call(routes::BLOBS, &[]).query(&query).fetch::<Blobs>()?.blobs)
    };
    let found = pages::collect(wanted, args.after, fetch, |blob| blob.digest)?;
    if args.client.json {
        return out.json(&Blobs { blobs: found });
    }
    out.text(&table(&found))?;
    match found.last() {
        Some(last) if found.len() == wanted => {
            out.text(&format!("there may be more: use --after {}\n", last.digest))
        }
        _ => Ok(()),
    }
}

/// JSON output of `blobs get`.
#[derive(Serialize)]
struct Fetched {
    digest: Digest,
    size_bytes: usize,
    file: String,
}

/// Fetches one blob and verifies its digest.
pub(crate) fn get(args: &BlobArgs, out: &mut Output) -> Result<(), CliError> {
    if args.output.is_none() && io::stdout().is_terminal() {
        return Err(CliError::with_hint(
            "not writing a file's content to a terminal",
            "use -o FILE, or send standard output elsewhere",
        ));
    }
    let content = args.connect.client()?.call(routes::BLOB, &[&args.digest.to_string()]).bytes()?;
    let found = Digest::of(&content);
    if found != args.digest {
        return Err(CliError::new(format!("the content received has another digest: {found}")));
    }
    let Some(file) = &args.output else {
        let mut stdout = io::stdout().lock();
        return Ok(stdout.write_all(&content).and_then(|()| stdout.flush())?);
    };
    std::fs::write(file, &content)
        .map_err(|error| CliError::new(format!("can't write {}: {error}", file.display())))?;
    let fetched = Fetched {
        digest: args.digest,
        size_bytes: content.len(),
        file: file.display().to_string(),
    };
    if args.json {
        return out.json(&fetched);
    }
    out.text(&format!("{}: {}\n", fetched.file, bytes(content.len() as u64)))
}

fn table(found: &[Blob]) -> String {
    if found.is_empty() {
        return "no blobs\n".to_owned();
    }
    let mut table = Table::new(&[
        ("DIGEST", Align::Left),
        ("SIZE", Align::Right),
        ("TYPE", Align::Left),
        ("PLUGIN", Align::Left),
        ("CREATED", Align::Left),
    ]);
    for blob in found {
        table.row([
            Cell::styled(blob.digest.to_string(), style::STRONG),
            bytes(blob.size_bytes).into(),
            printable_cut(&blob.content_type, 40).into(),
            Cell::styled(blob.plugin.as_str(), style::NAME),
            Cell::styled(date_time(blob.created), style::FAINT),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_a_table() {
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let blobs: Vec<Blob> = serde_json::from_value(serde_json::json!([{
            "digest": digest, "size_bytes": 20_480, "content_type": "application/pdf",
            "plugin": "printer", "created": "2026-01-31T12:00:00.000Z"
        }]))
        .unwrap();
        let text = anstream::adapter::strip_str(&table(&blobs)).to_string();
        let (head, row) = text.split_once('\n').unwrap();
        assert!(head.starts_with("DIGEST") && head.ends_with("CREATED"), "{head}");
        let rest = "20.0 KiB  application/pdf  printer  2026-01-31 12:00:00.000";
        assert_eq!(row, format!("{digest}  {rest}\n"));
        assert_eq!(table(&[]), "no blobs\n");
    }
}
