"""A decision case of a recorded request: the caller, the request and the answer as they were recorded."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from extauthz.decide.by_name import ENTRANCES_BY_NAME
from extauthz.domain.mcp import NAME_MEMBERS, RESPONSE
from extauthz.domain.principal import PrincipalKind
from extauthz.recording import shape as recorded
from extauthz.recording.shape import ABSENT, FOLDED, UNKNOWN, CredentialState, Shape

_NAMED = "resource."
_HEADERS_OF_MESSAGE = {"content-type": "application/json"}


class NoCaseError(ValueError):
    """A recorded request of which no case can be made; the text says why."""


def case_of(shape: Shape, *, name: str, now: str) -> dict[str, Any]:
    """Return the case of a shape; `now` is the time of the decision (RFC 3339).

    It expects the recorded decision, whatever rule makes it.

    Raises:
        NoCaseError: a part of the request was not kept, or the credential was refused.
    """
    if shape.credential is CredentialState.REFUSED:
        raise NoCaseError(f"its credential was refused ({shape.reason.value}): no policy decides that")
    folded = [slot for slot, text in shape.slots if text == FOLDED]
    if folded:
        raise NoCaseError(f"{folded[0]} was not kept: there were too many different values")
    if UNKNOWN in dict(shape.slots).values():
        raise NoCaseError("it has a value that conditions read as unknown, which a case cannot state")
    return {
        "name": name,
        "principal": _principal(shape),
        "request": _by_name(shape) if shape.entrance in ENTRANCES_BY_NAME else _request(shape),
        "expect": {"decision": shape.effect.value},
        "now": now,
    }


def _principal(shape: Shape) -> object:
    if shape.credential is not CredentialState.VERIFIED:
        return "anonymous"
    subject = _literal(shape, recorded.SUBJECT)
    if shape.kind is PrincipalKind.WORKLOAD:
        return {"workload": subject}
    assert shape.kind is not None, "a verified credential has a kind"
    members: dict[str, Any] = {"id": subject, "kind": shape.kind.value, "roles": list(shape.own_roles)}
    if shape.domain is not None:
        members["domain"] = shape.domain
    claims = {name: _plain(value) for name, value in recorded.claims_of(shape).items()}
    return members | ({"claims": claims} if claims else {})


def _by_name(shape: Shape) -> dict[str, Any]:
    parameters = {
        name.removeprefix(_NAMED): _plain(recorded.value_of(text))
        for name, text in shape.slots
        if name.startswith(_NAMED) and text not in recorded.WORDS
    }
    members: dict[str, Any] = {"resource": shape.resource, "action": shape.action}
    return members | ({"parameters": parameters} if parameters else {})


def _request(shape: Shape) -> dict[str, Any]:
    path = recorded.path_of(shape)
    if path is None:
        raise NoCaseError("it has no path")
    fields = _values(shape, recorded.QUERY)
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in fields.items())
    members: dict[str, Any] = {
        "method": _literal(shape, recorded.METHOD),
        "host": _literal(shape, recorded.HOST),
        "path": quote(path, safe="/:@!$&'()*+,;=-._~") + (f"?{query}" if query else ""),
    }
    source = {
        member: text
        for member, slot in (("principal", recorded.PEER), ("address", recorded.ADDRESS))
        if (text := recorded.text_of(shape.slot(slot))) is not None
    }
    context = {
        name: value
        for name, value in (("resource", shape.resource), ("action", shape.action))
        if value is not None
    }
    headers = _values(shape, recorded.HEADERS)
    if (message := _message(shape)) is not None:
        members["body"] = json.dumps(message)
        headers |= _HEADERS_OF_MESSAGE
    optional = {"headers": headers, "source": source, "context_extensions": context}
    return members | {name: value for name, value in optional.items() if value}


def _message(shape: Shape) -> dict[str, object] | None:
    """Return the message of the Model Context Protocol; of its parameters only the name was recorded."""
    method = recorded.text_of(shape.slot(recorded.MCP_METHOD))
    if method is None:
        return None
    message: dict[str, object] = {"jsonrpc": "2.0", "id": 1}
    if method == RESPONSE:
        return message | {"result": {}}
    message["method"] = method
    name, member = recorded.text_of(shape.slot(recorded.MCP_NAME)), NAME_MEMBERS.get(method)
    return message if name is None or member is None else message | {"params": {member: name}}


def _values(shape: Shape, prefix: str) -> dict[str, str]:
    """Return the recorded fields of the query, or headers, by name."""
    found: dict[str, str] = {}
    for name, text in shape.slots:
        if name.startswith(prefix) and text != ABSENT:
            found[name.removeprefix(prefix)] = _literal(shape, name)
    return found


def _literal(shape: Shape, slot: str) -> str:
    return str(recorded.text_of(shape.slot(slot)) or "")


def _plain(value: object) -> object:
    """Return a frozen value as JSON values."""
    if isinstance(value, Mapping):
        return {name: _plain(member) for name, member in value.items()}
    return [_plain(member) for member in value] if isinstance(value, tuple) else value
