"""What an allow sets and removes in addition to the identity headers: claims, the client's credential.

Each header of CLAIM_HEADERS is either set, overwriting what is there, or removed, and so is
`x-auth-assertion`. INVARIANT: no name is both set and removed (Envoy removes last).

A value is a claim as text: a string as it is, a number and a boolean as in JSON, a list comma-joined. As in
`identity_headers`, everything that is not printable ASCII is percent-encoded, and so are the commas in the
entries of a list. An absent, unknown, empty, structured or too long value removes the header.
"""

import sys
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Final

from extauthz.check.identity_headers import ASSERTION, encode_role, encode_value
from extauthz.compile.attributes import resolver
from extauthz.compile.condition_input import ConditionInput, Resolver
from extauthz.domain.bounded_cache import BoundedCache
from extauthz.domain.forwarding import combined
from extauthz.domain.reasons import Effect
from extauthz.domain.verdict import Allowed, Preflight

AUTHORIZATION: Final = "authorization"
MAX_VALUE_BYTES: Final = 2048
"""Of the encoded value; a header with a longer one is removed."""

_LONGEST_INTEGER: Final = 4096
"""In bits; Python does not convert integers with more than 4300 digits."""
_CACHED: Final = 8192
_CACHED_BYTES: Final = 32 * 1024 * 1024
_ENTRY_BYTES: Final = 512


class ForwardedHeaders:
    """The headers that one allow sets and removes. Immutable but for `part`.

    `part` is for `envoy_response`, which keeps its bytes here: any thread sets it to the same value.
    """

    __slots__ = ("part", "removed", "values")

    def __init__(self, values: tuple[tuple[str, str], ...], removed: tuple[str, ...]) -> None:
        self.values = values
        self.removed = removed
        self.part = b""


class Forwarder:
    """Determines the `ForwardedHeaders` of allows; shared by the threads of a process."""

    def __init__(self, claim_headers: Iterable[str] = (), token_header: str | None = None) -> None:
        """Take CLAIM_HEADERS, and the header that may carry the client's token in place of Authorization."""
        self._claim_headers = tuple(sorted(claim_headers))
        self._credentials = (AUTHORIZATION,) if token_header is None else (AUTHORIZATION, token_header)
        self.usual = ForwardedHeaders((), (*self._claim_headers, ASSERTION))
        """The headers where neither the provider nor the resource says anything."""
        self._known = BoundedCache[tuple[object, ...], ForwardedHeaders](_CACHED, max_bytes=_CACHED_BYTES)

    def headers_of(self, verdict: Allowed | Preflight, now: float) -> ForwardedHeaders:
        """Return the headers of an allow at `now` (POSIX seconds)."""
        of_provider, of_resource = verdict.principal.forwarding, verdict.target.forwarding
        if of_provider is None and of_resource is None:
            return self.usual
        forwarding = combined(of_provider, of_resource)
        values: tuple[str, ...] = ()
        if forwarding.headers:
            facts = ConditionInput(verdict.principal, verdict.roles, verdict.target, None, None, now)
            values = tuple([as_text(read(facts)) for read in _readers(forwarding.headers)])
        key = (forwarding, values)
        known = self._known.get(key)
        if known is None:
            given = zip(forwarding.headers, values, strict=True)
            known = self._made(
                {name: value for (name, _), value in given if value}, forwarding.removes_authorization
            )
            self._known.put(key, known, _weight(values))
        return known

    def _made(self, values: dict[str, str], removes_authorization: bool) -> ForwardedHeaders:
        # CLAIM_HEADERS may have become shorter since the policies were compiled: what it lacks is not set.
        values = {name: values[name] for name in self._claim_headers if name in values}
        absent = (name for name in (*self._claim_headers, ASSERTION) if name not in values)
        removed = (*absent, *(self._credentials if removes_authorization else ()))
        return ForwardedHeaders(tuple(values.items()), removed)


@lru_cache(maxsize=1024)
def _readers(headers: tuple[tuple[str, str], ...]) -> tuple[Resolver, ...]:
    return tuple(resolver(attribute, Effect.ALLOW) for _, attribute in headers)


def as_text(value: object) -> str:
    """Return the encoded text of an attribute, empty where there is none that fits."""
    if type(value) is str:
        return _text(value) if len(value) <= MAX_VALUE_BYTES else ""
    if isinstance(value, tuple):
        if len(value) > MAX_VALUE_BYTES:
            return ""
        entries = [_scalar(entry) for entry in value]
        text = (
            "" if None in entries else ",".join(encode_role(entry) for entry in entries if entry is not None)
        )
    else:
        text = _scalar(value) or ""
    return text if len(text) <= MAX_VALUE_BYTES else ""


@lru_cache(maxsize=_CACHED)
def _text(value: str) -> str:
    text = encode_value(value)
    return text if len(text) <= MAX_VALUE_BYTES else ""


def _scalar(value: object) -> str | None:
    """Return the text of a string, a number or a boolean; None for anything else."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() if value.bit_length() <= _LONGEST_INTEGER:
            return str(value)
        case Decimal():
            return str(value)
        case _:
            return None


def _weight(values: tuple[str, ...]) -> int:
    # The key and the headers share the texts; the encoded part has them once more.
    return _ENTRY_BYTES + 2 * sum(map(sys.getsizeof, values))
