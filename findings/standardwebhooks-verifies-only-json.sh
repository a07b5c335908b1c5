#!/usr/bin/env bash
# npm standardwebhooks 1.1.1, Webhook.verify.
#
# The Standard Webhooks specification signs bytes, whatever they are, and a verifier would be expected
# to say whether the signature is right. This one parses the body as JSON once it is, and throws a
# SyntaxError for any other: to its caller, a signed webhook with a body of text looks like a forged
# one, unless it tells the two errors apart.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit standardwebhooks@1.1.1
cat > verify.mjs <<'JS'
import { Webhook } from "standardwebhooks";

const webhook = new Webhook("whsec_c2VjcmV0IGtleSBvZiB0aGlzIGV4YW1wbGU=");
for (const body of ['{"seat":12}', "seat 12"]) {
  const now = new Date();
  const headers = {
    "webhook-id": "msg_1",
    "webhook-timestamp": String(Math.floor(now / 1000)),
    "webhook-signature": webhook.sign("msg_1", now, body),
  };
  try {
    console.log(`${body}: ${JSON.stringify(webhook.verify(body, headers))}`);
  } catch (error) {
    console.log(`${body}: ${error.constructor.name}`);
  }
}
JS
seen=$(node verify.mjs)
expected=$'{"seat":12}: {"seat":12}\nseat 12: SyntaxError'
echo "$seen"
[[ "$seen" == "$expected" ]] || { echo "this has changed; expected: $expected"; exit 1; }
