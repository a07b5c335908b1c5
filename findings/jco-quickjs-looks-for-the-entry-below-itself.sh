#!/usr/bin/env bash
# npm @bytecodealliance/jco 1.35.0, componentize --backend quickjs.
#
# `jco componentize src/index.js` would be expected to find that file on either backend, as it does on
# StarlingMonkey. On QuickJS it looks for src/src/index.js: the file's folder becomes the root, and the
# path relative to the current folder the entry below it. An entry in the current folder, or an absolute
# path, works.
set -euo pipefail

folder=$(cd "$(mktemp -d)" && pwd -P)
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
cat > hello.wit <<'WIT'
package example:hello;
world hello {
  export hello: func() -> string;
}
WIT
mkdir src
cat > src/index.js <<'JS'
export function hello() {
  return "hello";
}
JS
cp src/index.js .
build() {
    if node_modules/.bin/jco componentize "$@" --wit hello.wit --world-name hello \
        --out hello.wasm > build.log 2>&1; then
        echo "built"
    else
        grep -o "JavaScript entry file not found: .*/src/src/index.js" build.log | sed "s|$folder|.|"
    fi
}
quickjs=(--backend quickjs --backend-qjs-disable-async)
seen=$(
    build src/index.js
    build src/index.js "${quickjs[@]}"
    build "$folder/src/index.js" "${quickjs[@]}"
    build index.js "${quickjs[@]}"
)
echo "$seen"
expected="built
JavaScript entry file not found: ./src/src/index.js
built
built"
[[ "$seen" == "$expected" ]] || { echo "this has changed; expected: $expected"; exit 1; }
