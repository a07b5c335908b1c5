#!/usr/bin/env bash
# npm cloudevents 10.0.0, emitterFor and httpTransport.
#
# The promise of an emitter would be expected to be rejected when the server refuses an event, as it
# is when there is no server. But httpTransport resolves with body and headers of any response and
# leaves out its status: an event that got 400 or 503 looks delivered, and is lost. Who needs to know
# has to give emitterFor a transport of their own, such as one of fetch that looks at `ok`.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-fund --no-audit cloudevents@10.0.0
cat > refused.mjs <<'JS'
import http from "node:http";
import { CloudEvent, emitterFor, httpTransport } from "cloudevents";

const server = http.createServer((request, response) => {
  request.resume();
  response.writeHead(503, { "content-type": "text/plain" }).end("come back later");
});
server.listen(0, "127.0.0.1", async () => {
  const emit = emitterFor(httpTransport(`http://127.0.0.1:${server.address().port}/`));
  const event = new CloudEvent({ id: "1", source: "/shop", type: "ticket.purchased", data: {} });
  const outcome = await emit(event).then(
    (answer) => `resolved: ${answer.body}, status ${answer.status}`,
    (error) => `rejected: ${error.message}`,
  );
  console.log(outcome);
  server.close();
});
JS
seen=$(node refused.mjs)
echo "$seen"
expected="resolved: come back later, status undefined"
[[ "$seen" == "$expected" ]] || { echo "this has changed; expected: $expected"; exit 1; }
