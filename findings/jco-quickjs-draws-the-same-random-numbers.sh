#!/usr/bin/env bash
# npm @bytecodealliance/jco 1.35.0 (componentize --backend quickjs), run on PyPI wasmtime 50.0.1.
#
# Math.random() in a call would be expected to differ from instance to instance, as it does in components
# built on StarlingMonkey. But a component built on QuickJS imports nothing to draw from: its generator
# was seeded when it was built, so every instance draws the same numbers in the same order, on every
# machine. Ids and jitter made of them collide. `usher new` writes projects whose Math.random draws from
# the host.
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
cat > draw.wit <<'WIT'
package example:draw;
world draw {
  export draw: func() -> f64;
}
WIT
cat > draw.js <<'JS'
export function draw() {
  return Math.random();
}
JS
node_modules/.bin/jco componentize draw.js --wit draw.wit --world-name draw \
    --backend quickjs --backend-qjs-disable-async --out draw.wasm > build.log 2>&1 || { cat build.log; exit 1; }
cat > call.py <<'PY'
from wasmtime import Engine, Store, WasiConfig
from wasmtime.component import Component, Linker

engine = Engine()
component = Component.from_file(engine, "draw.wasm")


def drawn():
    store = Store(engine)
    store.set_wasi(WasiConfig())
    linker = Linker(engine)
    linker.add_wasip2()
    instance = linker.instantiate(store, component)
    return instance.get_func(store, "draw")(store)


numbers = {drawn() for _ in range(5)}
print(f"5 instances, {len(numbers)} different numbers")
PY
seen=$(venv/bin/python call.py)
echo "$seen"
expected="5 instances, 1 different numbers"
[[ "$seen" == "$expected" ]] || { echo "this has changed; expected: $expected"; exit 1; }
