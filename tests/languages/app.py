"""What a listener in Python meets that others don't."""

import random
import sys
import time

import usher_config
import usher_http
import usher_log
import usher_state
from usher import Delivery, Description, Emission, Reject, Retry, type_prefix

plugin = Description(
    "quirks-python",
    "1.0.0",
    "Does what its events say",
    subscriptions={"all": type_prefix("quirk.")},
    wants={"config": "to test", "state": "to test", "http": "to test"},
)

FROZEN = random.random()


def handle(delivery: Delivery) -> list[Emission]:
    match delivery.event.type:
        case "quirk.draw":
            data = {"random": random.random(), "time": time.time(), "frozen": FROZEN}
            return [Emission("drawn", data)]
        case "quirk.throw":
            count = usher_state.Bucket("count").increment("thrown")
            usher_log.info("about to fail")
            return broken(f"{count} {random.random()} {time.time()}")
        case "quirk.setting":
            return [Emission("setting", usher_config.require("missing"))]
        case "quirk.exit":
            sys.exit(3)
        case "quirk.retry":
            raise Retry("later", after_ms=500)
        case "quirk.reject":
            raise Reject("never")
        case "quirk.http":
            asked = delivery.event.json()
            response = usher_http.request(
                asked["method"], asked["url"], json=asked.get("json"), headers={"x-quirk": "é"}
            ).success()
            return [Emission("answered", {"status": response.status, "body": response.text(),
                                          "type": response.header("Content-Type")})]
        case "quirk.bytes":
            bucket = usher_state.Bucket("bytes")
            bucket.set("k", b"\xff\x00")
            kept = bucket.get("k")
            return [Emission("bytes", kept, content_type="application/octet-stream",
                             extensions={"text": "é", "number": 7, "yes": True})]
    return []


def broken(words: str) -> list[Emission]:
    raise ValueError(words)
