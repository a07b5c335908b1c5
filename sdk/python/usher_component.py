"""What the component exports: the module `app`, in the contract's types. componentize-py begins
here."""

from __future__ import annotations

import json
from typing import Any

from componentize_py_types import Err
from wit_world.imports import contract

import app
import usher

_KINDS = {
    contract.Value_Uri: usher.Uri,
    contract.Value_UriReference: usher.UriReference,
    contract.Value_Timestamp: usher.Timestamp,
}


def _attribute(value: Any) -> usher.Attribute:
    return _KINDS.get(type(value), lambda plain: plain)(value.value)


def _value(name: str, value: usher.Attribute) -> contract.Value:
    # bool is a subclass of int, and the URI types are subclasses of str.
    for python, wit in (
        (bool, contract.Value_Boolean),
        (int, contract.Value_Integer),
        (usher.Uri, contract.Value_Uri),
        (usher.UriReference, contract.Value_UriReference),
        (usher.Timestamp, contract.Value_Timestamp),
        (str, contract.Value_Text),
        (bytes, contract.Value_Binary),
    ):
        if isinstance(value, python):
            return wit(value)
    raise TypeError(f"the extension {name!r} is a {type(value).__name__}: use bool, int, str or bytes")


def _delivery(raw: contract.Delivery) -> usher.Delivery:
    event = raw.event
    return usher.Delivery(
        usher.Event(
            event.id,
            event.source,
            event.type,
            event.subject,
            event.time,
            event.datacontenttype,
            event.dataschema,
            {extension.name: _attribute(extension.value) for extension in event.extensions},
            event.data,
        ),
        raw.subscription,
        raw.attempt,
        raw.sequence,
        raw.deadline_ms,
        raw.replay,
    )


def _emission(emission: usher.Emission) -> contract.Emission:
    extensions = [
        contract.Extension(name, _value(name, value)) for name, value in emission.extensions.items()
    ]
    return contract.Emission(
        emission.type,
        emission.subject,
        emission.content_type,
        emission.dataschema,
        extensions,
        emission.data,
        emission.delay_ms,
    )


class Listener:
    def describe(self) -> contract.Description:
        plugin = app.plugin
        return contract.Description(
            plugin.name,
            plugin.version,
            plugin.summary,
            [
                contract.Subscription(name, json.dumps(filter), plugin.max_in_flight.get(name))
                for name, filter in plugin.subscriptions.items()
            ],
            [contract.Capability(name, reason) for name, reason in plugin.wants.items()],
        )

    def handle(self, raw: contract.Delivery) -> list[contract.Emission]:
        try:
            return [_emission(emission) for emission in app.handle(_delivery(raw)) or []]
        except usher.Retry as failure:
            raise Err(contract.Failure_Retry(contract.Retry(failure.reason, failure.after_ms)))
        except usher.Reject as failure:
            raise Err(contract.Failure_Reject(failure.reason))
        except SystemExit as failure:
            # It would end the instance without a word.
            raise RuntimeError(f"sys.exit({failure.code!r}) was called") from failure
        except usher.Error as failure:
            raise Err(contract.Failure_Retry(contract.Retry(str(failure), None)))
