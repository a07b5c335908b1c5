"""Files addressed by their digest, shared with other plugins (capability `blobs`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from componentize_py_types import Err
from wit_world.imports import blobs

import usher


def _failed(error: Err) -> usher.Error:
    value = error.value
    kinds = {blobs.Error_Denied: usher.Denied, blobs.Error_Limit: usher.LimitReached}
    return kinds.get(type(value), usher.Unavailable)(value.value)


@dataclass(frozen=True)
class Blob:
    """A blob with its content."""

    digest: str
    content_type: str
    content: bytes


def put(content: bytes, content_type: str) -> str:
    """Stores content, visible once the delivery is acknowledged; returns its digest."""
    try:
        return blobs.put(bytes(content), content_type)
    except Err as error:
        raise _failed(error) from None


def get(digest: str) -> Optional[Blob]:
    """The blob of a digest, whichever plugin put it."""
    try:
        found = blobs.get(digest)
    except Err as error:
        raise _failed(error) from None
    return found and Blob(found.info.digest, found.info.content_type, found.content)


def delete(digest: str) -> None:
    """Drops this plugin's reference to a blob."""
    try:
        blobs.delete(digest)
    except Err as error:
        raise _failed(error) from None
