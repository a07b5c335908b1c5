"""The plugin's settings and secrets (capabilities `config` and `secrets`)."""

from __future__ import annotations

from typing import Optional

from componentize_py_types import Err
try:
    from wit_world.imports import wasi_config_store as store
except ImportError:
    # Its name as long as no other interface is called so.
    from wit_world.imports import store

import usher


def get(key: str, default: Optional[str] = None) -> Optional[str]:
    """A setting, or a secret that is granted; `default` if it isn't set."""
    try:
        value = store.get(key)
    except Err as error:
        raise usher.Denied(error.value.value) from None
    return default if value is None else value


def require(key: str) -> str:
    """A setting. Raises `usher.Retry` without it: an operator can still add it."""
    value = get(key)
    if value is None:
        raise usher.Retry(f"the setting {key!r} is missing")
    return value


def all_settings() -> dict[str, str]:
    """All settings; secrets are not among them."""
    try:
        return dict(store.get_all())
    except Err as error:
        raise usher.Denied(error.value.value) from None
