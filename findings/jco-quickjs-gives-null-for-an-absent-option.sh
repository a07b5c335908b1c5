#!/usr/bin/env bash
# npm @bytecodealliance/jco 1.35.0 (componentize, both backends), run on PyPI wasmtime 50.0.1.
#
# The same JavaScript would be expected to get the same values on both backends of `jco componentize`.
# But an absent option<T> is `undefined` on StarlingMonkey, as jco's documentation has it, and `null` on
# QuickJS: `value === undefined` and default parameters work on one of them only. `value == null`,
# `value ?? other` and `value?.member` work on both.
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
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check wasmtime==50.0.1
cat > absent.wit <<'WIT'
package example:absent;
world absent {
  export kind: func(value: option<string>) -> string;
}
WIT
cat > absent.js <<'JS'
export function kind(value) {
  return value === null ? "null" : typeof value;
}
JS
cat > call.py <<'PY'
import sys
from wasmtime import Engine, Store, WasiConfig
from wasmtime.component import Component, Linker

engine = Engine()
store = Store(engine)
store.set_wasi(WasiConfig())
linker = Linker(engine)
linker.add_wasip2()
instance = linker.instantiate(store, Component.from_file(engine, sys.argv[1]))
print(instance.get_func(store, "kind")(store, None))
PY
build() {
    local out=$1
    shift
    node_modules/.bin/jco componentize absent.js --wit absent.wit --world-name absent "$@" --out "$out" > build.log 2>&1 ||
        { cat build.log; exit 1; }
}
build quickjs.wasm --backend quickjs --backend-qjs-disable-async
build starlingmonkey.wasm --disable all
seen="quickjs: $(venv/bin/python call.py quickjs.wasm), starlingmonkey: $(venv/bin/python call.py starlingmonkey.wasm)"
echo "$seen"
expected="quickjs: null, starlingmonkey: undefined"
[[ "$seen" == "$expected" ]] || { echo "this has changed; expected: $expected"; exit 1; }
