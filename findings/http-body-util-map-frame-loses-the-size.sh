#!/usr/bin/env bash
# http-body-util 0.1.3: a body that goes through `BodyExt::map_frame`, even with a function that hands
# each frame on as it is, no longer knows its size, though `map_err` keeps it. An HTTP/1 answer that had
# a Content-Length goes out chunked, and a HEAD request no longer learns the length.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
bytes = "=1.12.2"
http-body = "=1.1.0"
http-body-util = "=0.1.3"
TOML
cat > "$folder/src/main.rs" <<'RUST'
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};

fn main() {
    let body = || Full::new(Bytes::from_static(b"seven b"));
    println!("as it is: {:?}", body().size_hint().exact());
    println!("map_err: {:?}", body().map_err(|error| error).size_hint().exact());
    println!("map_frame: {:?}", body().map_frame(|frame| frame).size_hint().exact());
}
RUST
cd "$folder"
found=$(cargo run --quiet)
expected='as it is: Some(7)
map_err: Some(7)
map_frame: None'
printf '%s\n' "$found"
[[ "$found" == "$expected" ]] || { printf 'it is otherwise now; expected:\n%s\n' "$expected" >&2; exit 1; }
