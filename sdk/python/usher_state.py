"""The plugin's own keys and values (capability `state`).

A delivery sees its own writes at once, everyone else once it is acknowledged. Reading, changing and
writing needs no lock: if another delivery changed what this one read, the host drops what this one
did and delivers the event again.
"""

from __future__ import annotations

from typing import Iterator, Optional

from componentize_py_types import Err
from wit_world.imports import atomics

try:
    from wit_world.imports import wasi_keyvalue_store as store
except ImportError:
    # Its name as long as no other interface is called so.
    from wit_world.imports import store

import usher


def _failed(error: Err) -> usher.Error:
    value = error.value
    if isinstance(value, store.Error_AccessDenied):
        return usher.Denied("state is not granted: the operator has to add state = true")
    words = getattr(value, "value", "the host has no such store")
    limit = any(part in words for part in ("the limit", "too many", "may use"))
    return usher.LimitReached(words) if limit else usher.Unavailable(words)


class Bucket:
    """A named set of keys, created on first write. Open it where it is used: a handle is cheap."""

    def __init__(self, name: str = ""):
        try:
            self._bucket = store.open(name)
        except Err as error:
            raise _failed(error) from None

    def get(self, key: str) -> Optional[bytes]:
        """The value of a key, or `None`."""
        try:
            return self._bucket.get(key)
        except Err as error:
            raise _failed(error) from None

    def set(self, key: str, value: bytes) -> None:
        """Sets a key. At most 64 KiB."""
        try:
            self._bucket.set(key, bytes(value))
        except Err as error:
            raise _failed(error) from None

    def delete(self, key: str) -> None:
        """Removes a key; no-op if there is none."""
        try:
            self._bucket.delete(key)
        except Err as error:
            raise _failed(error) from None

    def increment(self, key: str, delta: int = 1) -> int:
        """Adds to the decimal number at a key, which begins with 0; returns the sum."""
        try:
            return atomics.increment(self._bucket, key, delta)
        except Err as error:
            raise _failed(error) from None

    def keys(self) -> Iterator[str]:
        """All keys, in ascending order."""
        cursor = None
        while True:
            try:
                page = self._bucket.list_keys(cursor)
            except Err as error:
                raise _failed(error) from None
            yield from page.keys
            cursor = page.cursor
            if cursor is None:
                return
