#!/usr/bin/env bash
# PyPI azure-eventgrid 4.22.1 with cloudevents 2.2.0.
#
# EventGridPublisherClient.send takes events of the CNCF's SDK, and turns them into its own. With
# version 2 of that SDK the module that it looks for is gone; the ImportError is swallowed, and what is
# sent is a JSON array with the Python repr of each object, as application/json. Any server that
# returns 200 without looking makes that a success. Version 1 of the SDK works.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    azure-eventgrid==4.22.1 cloudevents==2.2.0
cat > "$folder/send.py" <<'PY'
import http.server
import threading

from azure.core.credentials import AzureKeyCredential
from azure.eventgrid import EventGridPublisherClient
from cloudevents.core.v1.event import CloudEvent


class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        kind = self.headers["content-type"]
        print(kind, body.split(" at 0x")[0])
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = EventGridPublisherClient(
    f"http://127.0.0.1:{server.server_port}/api/events", AzureKeyCredential("key")
)
attributes = {"id": "1", "source": "/shop", "type": "ticket.purchased", "specversion": "1.0"}
client.send(CloudEvent(attributes, {"order": "o-1"}))
PY
seen=$("$folder/venv/bin/python" "$folder/send.py")
echo "$seen"
[[ "$seen" == 'application/json'*'["<cloudevents.core.v1.event.CloudEvent object' ]] \
    || { echo "this has changed"; exit 1; }
