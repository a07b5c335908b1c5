#!/usr/bin/env bash
# serde_json 1.0.154, numbers.
#
# Whether a text is valid JSON would be expected to be one question with one answer. But 1e999, which RFC
# 8259 allows, is read without complaint where a value is skipped (IgnoredAny) or kept as it is written
# (RawValue), and refused with "number out of range" where it becomes a Value. And an integer beyond 64 bits
# is not refused at all: Value keeps it as another number, a rounded float, so that a document that was read
# and written again has changed.
#
# So who checks a document by skipping it has not shown that it can be read, and who compares numbers of
# documents has to compare their text.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'TOML'
[package]
name = "numbers"
version = "0.0.0"
edition = "2024"

[dependencies]
serde = "=1.0.229"
serde_json = { version = "=1.0.154", features = ["raw_value"] }
TOML
cat > "$folder/src/main.rs" <<'RUST'
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

fn main() {
    let large = "[1e999]";
    println!("skipped: {}", serde_json::from_str::<IgnoredAny>(large).is_ok());
    println!("kept: {}", serde_json::from_str::<&RawValue>(large).is_ok());
    match serde_json::from_str::<Value>(large) {
        Ok(value) => println!("read: {value}"),
        Err(error) => println!("read: {error}"),
    }
    let value: Value = serde_json::from_str("[18446744073709551615,18446744073709551617]").unwrap();
    println!("written again: {value}");
}
RUST
expected='skipped: true
kept: true
read: number out of range at line 1 column 6
written again: [18446744073709551615,1.8446744073709552e+19]'
seen=$(cd "$folder" && cargo run --quiet)
printf '%s\n' "$seen"
if [[ "$seen" != "$expected" ]]; then
    printf 'changed; expected:\n%s\n' "$expected" >&2
    exit 1
fi
