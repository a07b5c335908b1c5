#!/usr/bin/env bash
# npm @bytecodealliance/jco 1.35.0 (componentize, both backends).
#
# A world that imports wasi:http/outgoing-handler, with the WIT that jco brings, would be expected to be
# built by both backends of `jco componentize`. StarlingMonkey builds it. QuickJS fails when it runs the
# module's top level: its own linker has no implementation of wasi:http/types whose resources are those of
# wasi:io. So components on QuickJS can't make HTTP requests, whether or not they do at build time.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > package.json <<'JSON'
{
  "private": true,
  "dependencies": { "@bytecodealliance/jco": "1.35.0" },
  "overrides": { "@bytecodealliance/preview2-shim": "0.26.0" }
}
JSON
npm install --silent --no-fund --no-audit
mkdir -p wit/deps
cp -r node_modules/@bytecodealliance/jco/lib/wit/builtin/0.2.12/* wit/deps/
cat > wit/world.wit <<'WIT'
package example:asks;
world asks {
  import wasi:http/outgoing-handler@0.2.12;
  export run: func() -> string;
}
WIT
echo 'export const run = () => "ran";' > asks.js
build() {
    local out=$1
    shift
    node_modules/.bin/jco componentize asks.js --wit wit --world-name asks "$@" --out "$out" > "$out.log" 2>&1
}
build starlingmonkey.wasm || { cat starlingmonkey.wasm.log; exit 1; }
if build quickjs.wasm --backend quickjs --backend-qjs-disable-async; then
    echo "this has changed: QuickJS builds it, too"
    exit 1
fi
expected='a matching implementation was not found in the linker'
grep "$expected" quickjs.wasm.log || { cat quickjs.wasm.log; echo "this has changed; expected: $expected"; exit 1; }
