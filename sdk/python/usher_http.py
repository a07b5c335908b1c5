"""Requests to servers that the operator has granted (capability `http`).

    response = usher_http.post("https://gateway.example/charges", json={"order": "o-1"})
    if response.status == 429:
        raise Retry("the gateway is busy", after_ms=60_000)
    charge = response.success().json()

The host allows 10 calls in a delivery and 1 MiB in each direction, and follows no redirects. A request
whose method isn't safe gets an `idempotency-key` that is the same at each attempt.
"""

from __future__ import annotations

import json as _json
import re
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Sequence, Union
from urllib.parse import urlsplit

from componentize_py_types import Err
from wit_world.imports import outgoing_handler, streams, types

import usher

_WRITE_MAX_BYTES = 4096
_READ_MAX_BYTES = 64 * 1024
_QUOTE_MAX_CHARS = 200
_METHODS = {
    "GET": types.Method_Get,
    "HEAD": types.Method_Head,
    "POST": types.Method_Post,
    "PUT": types.Method_Put,
    "DELETE": types.Method_Delete,
    "OPTIONS": types.Method_Options,
    "TRACE": types.Method_Trace,
    "PATCH": types.Method_Patch,
}

Headers = Union[Mapping[str, str], Sequence[tuple[str, str]]]


@dataclass(frozen=True)
class Response:
    """A response, read to its end."""

    status: int
    headers: list[tuple[str, str]]
    """Names in lower case, in the order in which they came."""
    body: bytes
    request: str
    """Method and URL of the request, for messages."""

    def header(self, name: str) -> Optional[str]:
        """The first value of a header."""
        return next((value for found, value in self.headers if found == name.lower()), None)

    def text(self) -> str:
        """The body as UTF-8; what isn't is replaced."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body, parsed from JSON. Raises `Unavailable` if it isn't: the other side may be ill."""
        try:
            return _json.loads(self.body)
        except ValueError as error:
            raise usher.Unavailable(f"{self.request} answered with no JSON: {error}") from error

    def success(self) -> "Response":
        """Itself if the status is 2xx. Otherwise the delivery fails: it is retried for 408, 425, 429
        and 5xx, not before `retry-after`, and rejected for all others."""
        if 200 <= self.status < 300:
            return self
        words = f"{self.request} answered {self.status}"
        if quoted := self.text().strip()[:_QUOTE_MAX_CHARS]:
            words += f": {quoted}"
        if self.status in (408, 425, 429) or self.status >= 500:
            after = self.header("retry-after") or ""
            seconds = int(after[:9]) if after.isdecimal() else None
            raise usher.Retry(words, None if seconds is None else seconds * 1000)
        raise usher.Reject(words)


def get(url: str, **options: Any) -> Response:
    """A GET request; the options are those of `request`."""
    return request("GET", url, **options)


def post(url: str, **options: Any) -> Response:
    """A POST request; the options are those of `request`."""
    return request("POST", url, **options)


def put(url: str, **options: Any) -> Response:
    """A PUT request; the options are those of `request`."""
    return request("PUT", url, **options)


def delete(url: str, **options: Any) -> Response:
    """A DELETE request; the options are those of `request`."""
    return request("DELETE", url, **options)


def request(
    method: str,
    url: str,
    *,
    headers: Headers = (),
    body: bytes = b"",
    json: Any = None,
    timeout_ms: int = 10_000,
) -> Response:
    """Sends a request and reads the whole response, whatever its status.

    `json` is written as the body, with its content type. `timeout_ms` bounds connecting, and each
    wait for the other side; the host's own limits apply as well.

    Raises `Denied` if the operator hasn't granted the address, `Unavailable` if the other side can't
    be reached or breaks off, `LimitReached` for too large a message, and `ValueError` for a request
    that can't be written.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"{url!r} is not an http or https address")
    fields = list(headers.items() if isinstance(headers, Mapping) else headers)
    if json is not None:
        body = _json.dumps(json, separators=(",", ":"), ensure_ascii=False).encode()
        if not any(name.lower() == "content-type" for name, _ in fields):
            fields.append(("content-type", "application/json"))
    if body:
        fields.append(("content-length", str(len(body))))
    try:
        written = types.Fields.from_list([(name, value.encode()) for name, value in fields])
    except Err as error:
        raise ValueError(f"headers of {method} {url}: {_words(error.value)}") from None
    outgoing = types.OutgoingRequest(written)
    known = _METHODS.get(method.upper())
    try:
        outgoing.set_method(known() if known else types.Method_Other(method))
        outgoing.set_scheme(types.Scheme_Https() if parts.scheme == "https" else types.Scheme_Http())
        outgoing.set_authority(parts.netloc)
        path = parts.path or "/"
        outgoing.set_path_with_query(f"{path}?{parts.query}" if parts.query else path)
    except Err:
        raise ValueError(f"{method} {url!r} can't be written as a request") from None
    options = types.RequestOptions()
    nanoseconds = timeout_ms * 1_000_000
    options.set_connect_timeout(nanoseconds)
    options.set_first_byte_timeout(nanoseconds)
    options.set_between_bytes_timeout(nanoseconds)
    what = f"{method} {url}"
    out = outgoing.body()
    try:
        future = outgoing_handler.handle(outgoing, options)
        broken = _write(out, body)
        future.subscribe().block()
        answer = future.get().value
        # A request that was refused can't be written either; why is in its answer.
        if isinstance(answer, Err) or broken is not None:
            raise answer if isinstance(answer, Err) else broken
        response = answer.value
        content = _read(response)
    except Err as error:
        raise _failed(what, error.value) from None
    named = [(name.lower(), value.decode(errors="replace"))
             for name, value in response.headers().entries()]
    return Response(response.status(), named, content, what)


def _write(out: types.OutgoingBody, body: bytes) -> Optional[Err]:
    try:
        with out.write() as stream:
            for start in range(0, len(body), _WRITE_MAX_BYTES):
                stream.blocking_write_and_flush(body[start:start + _WRITE_MAX_BYTES])
        types.OutgoingBody.finish(out, None)
    except Err as error:
        out.__exit__(None, None, None)
        return error
    return None


def _read(response: types.IncomingResponse) -> bytes:
    content = bytearray()
    with response.consume() as body, body.stream() as stream:
        while True:
            try:
                content += stream.blocking_read(_READ_MAX_BYTES)
            except Err as error:
                if isinstance(error.value, streams.StreamError_Closed):
                    return bytes(content)
                raise


def _words(value: Any) -> str:
    if isinstance(value, streams.StreamError_LastOperationFailed):
        return value.value.to_debug_string()
    name = re.sub("(?<=[a-z])(?=[A-Z])", "-", type(value).__name__.split("_", 1)[-1]).lower()
    more = getattr(value, "value", None)
    return f"{name}: {more}" if more is not None else name


def _failed(what: str, value: Any) -> usher.Error:
    words = _words(value)
    said = getattr(value, "value", None)
    text = said if isinstance(said, str) else words
    if "is not granted" in text:
        return usher.Denied(text)
    if any(part in text for part in ("one delivery may", "at a time", "body-size")):
        return usher.LimitReached(f"{what}: {text}")
    return usher.Unavailable(f"{what}: {text}")
