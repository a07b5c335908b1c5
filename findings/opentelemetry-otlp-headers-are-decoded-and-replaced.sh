#!/usr/bin/env bash
# opentelemetry-otlp 0.33.1, WithHttpConfig::with_headers.
#
# Its documentation says that configuration by builder methods always wins over the environment, and
# a header's value would be expected to be sent as it was given. But OTEL_EXPORTER_OTLP_HEADERS
# replaces headers of the same name, and values given to with_headers are percent-decoded, which only
# those of the environment are specified to be: a key with "%41" in it is sent with "A". Headers that
# have to arrive as they are belong into the HTTP client (with_http_client).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'TOML'
[package]
name = "headers"
version = "0.0.0"
edition = "2024"

[dependencies]
async-trait = "0.1"
futures-executor = "0.3"
opentelemetry-http = { version = "=0.33.1", default-features = false }
opentelemetry-otlp = { version = "=0.33.1", default-features = false, features = ["http-proto", "trace"] }
opentelemetry_sdk = { version = "=0.33.1", default-features = false, features = ["trace"] }
TOML
cat > "$folder/src/main.rs" <<'RUST'
use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::trace::SpanExporter as _;

/// Prints the headers that it is to send.
#[derive(Debug)]
struct Printer;

#[async_trait]
impl HttpClient for Printer {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        for name in ["x-key", "x-tenant"] {
            println!("{name}: {}", request.headers()[name].to_str().unwrap());
        }
        Ok(Response::new(Bytes::new()))
    }
}

fn main() {
    let headers = [("x-key", "se%41cret"), ("x-tenant", "builder")];
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Printer)
        .with_endpoint("http://localhost:4318/v1/traces")
        .with_headers(headers.map(|(name, value)| (name.into(), value.into())).into())
        .build()
        .unwrap();
    futures_executor::block_on(exporter.export(Vec::new())).unwrap();
}
RUST
seen=$(OTEL_EXPORTER_OTLP_HEADERS=x-tenant=environment \
    cargo run --quiet --manifest-path "$folder/Cargo.toml" --target-dir "$folder/target")
expected=$'x-key: seAcret\nx-tenant: environment'
echo "$seen"
[[ "$seen" == "$expected" ]] || { echo "this has changed; expected: $expected"; exit 1; }
