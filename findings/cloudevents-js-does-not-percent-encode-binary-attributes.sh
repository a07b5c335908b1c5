#!/usr/bin/env bash
# npm cloudevents 10.0.0, HTTP.binary and HTTP.toEvent.
#
# The HTTP protocol binding of CloudEvents 1.0.2 (section 3.1.3.2) has attribute values percent-encoded
# in headers: spaces, quotes, percent signs and whatever isn't printable ASCII. This SDK neither
# encodes when it sends nor decodes when it receives. Between two of its kind that goes unnoticed; a
# receiver that follows the binding reads another subject than was sent, and the SDK reads the encoded
# text of a sender that follows it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit cloudevents@10.0.0
cat > binary.mjs <<'JS'
import { CloudEvent, HTTP } from "cloudevents";

const event = { id: "1", source: "/shop", type: "ticket.discounted", data: {} };
const sent = HTTP.binary(new CloudEvent({ ...event, subject: "20%25 off" }));
console.log(`sent: ${sent.headers["ce-subject"]}`);

const headers = {
  "ce-specversion": "1.0",
  "ce-id": "1",
  "ce-source": "/shop",
  "ce-type": "ticket.discounted",
  "ce-subject": "Caf%C3%A9%20Central",
  "content-type": "application/json",
};
console.log(`received: ${HTTP.toEvent({ headers, body: "{}" }).subject}`);
JS
seen=$(node binary.mjs)
expected=$'sent: 20%25 off\nreceived: Caf%C3%A9%20Central'
echo "$seen"
[[ "$seen" == "$expected" ]] || { echo "this has changed; expected: $expected"; exit 1; }
