//! The committed copy of the OpenAPI document.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

/// `UPDATE=1 cargo test -p usher-api` writes it.
#[test]
fn the_committed_document_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let document = usher_api::document().unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, &document).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap();
    assert!(
        committed == document,
        "docs/openapi.json is out of date: UPDATE=1 cargo test -p usher-api"
    );
}
