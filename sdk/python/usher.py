"""For Usher listeners in Python.

A listener is a module `app` with two names:

    from usher import Delivery, Description, Emission, event_type

    plugin = Description("greeter", "1.0.0", "Greets whoever arrives",
                         subscriptions={"arrivals": event_type("guest.arrived")})

    def handle(delivery: Delivery) -> list[Emission]:
        return [Emission("guest.greeted", subject=delivery.event.subject)]

What `handle` returns is committed with all it wrote to `state` and `blobs`. Raise `Retry` or
`Reject` to fail: nothing is kept then. Any other exception is retried, too, and its traceback goes
to the operator.

Modules are imported when the component is built, not when it runs. Values made at that moment are
the same in every instance: random numbers, the time, a `random.Random()` of your own. Make such
values within `handle`. `random`, `os.urandom`, `uuid` and `time` are fresh there.
"""

from __future__ import annotations

import json as _json
from dataclasses import dataclass, field
from typing import Any, Iterator, Mapping, Optional, Sequence, Union

__all__ = [
    "Attribute", "Delivery", "Denied", "Description", "Emission", "Error", "Event", "LimitReached",
    "Reject", "Retry", "Timestamp", "Unavailable", "Uri", "UriReference", "all_of", "any_of",
    "event_type", "exact", "negated", "prefix", "suffix", "type_prefix",
]


class Uri(str):
    """An extension attribute that is an absolute URI (RFC 3986, section 4.3)."""


class UriReference(str):
    """An extension attribute that is a URI reference (RFC 3986, section 4.1)."""


class Timestamp(str):
    """An extension attribute that is a time (RFC 3339)."""


Attribute = Union[bool, int, str, bytes, Uri, UriReference, Timestamp]
"""The value of an extension attribute; integers have 32 bits."""


class Retry(Exception):
    """A transient failure: the event is delivered again, not before `after_ms` have passed."""

    def __init__(self, reason: str, after_ms: Optional[int] = None):
        super().__init__(reason)
        self.reason = reason
        self.after_ms = after_ms


class Reject(Exception):
    """A permanent failure: the event becomes a dead letter at once."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Error(Exception):
    """A call to the host failed. Uncaught it is retried, with these words as the reason."""


class Denied(Error):
    """The operator has not granted what was called; the words say what to add."""


class LimitReached(Error):
    """A limit of the plugin was reached, or an argument breaks a rule."""


class Unavailable(Error):
    """The host could not do it; another attempt may succeed."""


@dataclass(frozen=True)
class Event:
    """A CloudEvent."""

    id: str
    source: str
    type: str
    subject: Optional[str] = None
    time: Optional[str] = None
    datacontenttype: Optional[str] = None
    dataschema: Optional[str] = None
    extensions: Mapping[str, Attribute] = field(default_factory=dict)
    data: Optional[bytes] = None

    def json(self) -> Any:
        """The data, parsed from JSON; `None` without data. Raises `Reject` if it isn't JSON: it
        will not be JSON at the next attempt either."""
        if self.data is None:
            return None
        try:
            return _json.loads(self.data)
        except ValueError as error:
            raise Reject(f"the data of {self.type} is no JSON: {error}") from error

    def text(self) -> str:
        """The data as UTF-8. Raises `Reject` if it isn't."""
        try:
            return (self.data or b"").decode()
        except UnicodeDecodeError as error:
            raise Reject(f"the data of {self.type} is no UTF-8: {error}") from error


@dataclass(frozen=True)
class Delivery:
    """One attempt to deliver an event to a subscription."""

    event: Event
    subscription: str
    attempt: int
    """Number of this attempt, from 1."""
    sequence: int
    """The event's position in the log."""
    deadline_ms: int
    """When the host aborts the call: milliseconds since 1970-01-01 UTC."""
    replay: bool


class Emission:
    """An event to emit. The host sets its id, source, time and where it came from.

    `data` is written as JSON, unless it is `bytes`; then `content_type` says what they are.
    `delay_ms` delays the append to the log, up to 30 days: timers are made of it.
    """

    def __init__(
        self,
        type: str,
        data: Any = None,
        *,
        subject: Optional[str] = None,
        content_type: Optional[str] = None,
        dataschema: Optional[str] = None,
        extensions: Optional[Mapping[str, Attribute]] = None,
        delay_ms: Optional[int] = None,
    ):
        self.type = type
        self.subject = subject
        self.content_type = content_type
        self.dataschema = dataschema
        self.extensions = dict(extensions or {})
        self.delay_ms = delay_ms
        self.data: Optional[bytes]
        if data is None or isinstance(data, (bytes, bytearray, memoryview)):
            self.data = None if data is None else bytes(data)
        else:
            self.data = _json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()
            self.content_type = content_type or "application/json"


Filter = Mapping[str, Any]
"""A filter of the CloudEvents Subscriptions API 1.0."""


def exact(**attributes: str) -> Filter:
    """Events whose attributes equal these."""
    return {"exact": attributes}


def prefix(**attributes: str) -> Filter:
    """Events whose attributes begin with these."""
    return {"prefix": attributes}


def suffix(**attributes: str) -> Filter:
    """Events whose attributes end with these."""
    return {"suffix": attributes}


def event_type(type: str) -> Filter:
    """Events of a type."""
    return exact(type=type)


def type_prefix(start: str) -> Filter:
    """Events whose type begins with this."""
    return prefix(type=start)


def all_of(*filters: Filter) -> Filter:
    """Events that pass all of them."""
    return {"all": list(filters)}


def any_of(*filters: Filter) -> Filter:
    """Events that pass one of them."""
    return {"any": list(filters)}


def negated(filter: Filter) -> Filter:
    """Events that do not pass it."""
    return {"not": filter}


@dataclass(frozen=True)
class Description:
    """What a plugin is and what it requests. Requesting grants nothing: the operator does."""

    name: str
    version: str
    summary: str
    subscriptions: Mapping[str, Filter]
    wants: Mapping[str, str] = field(default_factory=dict)
    """Capabilities (`config`, `secrets`, `state`, `blobs`, `http`), each with the reason."""
    max_in_flight: Mapping[str, int] = field(default_factory=dict)
    """Deliveries in flight at most, by subscription."""
