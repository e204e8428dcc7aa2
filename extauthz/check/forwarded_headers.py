"""What an allow sets and removes in addition to the identity headers: claims, the client's credential.

Each header of CLAIM_HEADERS is either set, overwriting what is there, or removed, and so is
`x-auth-assertion`. INVARIANT: no name is both set and removed (Envoy removes last).

A value is a claim as text: a string as it is, a number and a boolean as in JSON, a list comma-joined. As in
`identity_headers`, everything that is not printable ASCII is percent-encoded, and so are the commas in the
entries of a list. An absent, unknown, empty, structured or too long value removes the header.
"""

import math
import sys
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Final

from extauthz.check.assertions import Assertions
from extauthz.check.identity_headers import ASSERTION, encode_role, encode_value
from extauthz.compile.conditions.attribute_names import resolver
from extauthz.compile.conditions.condition_input import ConditionInput, Resolver
from extauthz.domain.bounded_cache import BoundedCache
from extauthz.domain.forwarding import Forwarding, combined
from extauthz.domain.principal import PrincipalKind
from extauthz.domain.reasons import Effect
from extauthz.domain.verdict import Allowed, Preflight

AUTHORIZATION: Final = "authorization"
MAX_VALUE_BYTES: Final = 2048
"""Of the encoded value; a header with a longer one is removed."""

_LONGEST_INTEGER: Final = 4096
"""In bits; Python does not convert integers with more than 4300 digits."""
_CACHED: Final = 8192
_CACHED_BYTES: Final = 32 * 1024 * 1024
_ENTRY_BYTES: Final = 768
_USER: Final = PrincipalKind.USER


class ForwardedHeaders:
    """The headers that one allow sets and removes, and when they are used (POSIX seconds).

    Immutable but for `parts`: `envoy_response` keeps its bytes there, any thread sets it to the same value.
    """

    __slots__ = ("parts", "removed", "used_from", "used_until", "values")

    def __init__(
        self,
        values: tuple[tuple[str, str], ...],
        removed: tuple[str, ...],
        used_from: float = -math.inf,
        used_until: float = math.inf,
    ) -> None:
        self.values = values
        self.removed = removed
        self.used_from = used_from
        self.used_until = used_until
        self.parts: tuple[bytes, bytes] | None = None


class Forwarder:
    """Determines the `ForwardedHeaders` of allows; shared by the threads of a process."""

    def __init__(
        self,
        claim_headers: Iterable[str] = (),
        token_header: str | None = None,
        assertions: Assertions | None = None,
    ) -> None:
        """Take CLAIM_HEADERS, and what signs assertions.

        `token_header` may carry the client's token in place of Authorization.
        """
        self._claim_headers = tuple(sorted(claim_headers))
        self._credentials = (AUTHORIZATION,) if token_header is None else (AUTHORIZATION, token_header)
        self._assertions = assertions
        self._nothing = ForwardedHeaders((), (*self._claim_headers, ASSERTION))
        self.usual = None if assertions is not None else self._nothing
        """The headers where neither the provider nor the resource says anything; None: they differ."""
        self._known = BoundedCache[tuple[object, ...], ForwardedHeaders](_CACHED, max_bytes=_CACHED_BYTES)

    def headers_of(self, verdict: Allowed | Preflight, now: float) -> ForwardedHeaders:
        """Return the headers of an allow at `now` (POSIX seconds)."""
        principal, target = verdict.principal, verdict.target
        forwarding: Forwarding | None = None
        values: tuple[str, ...] = ()
        if principal.forwarding is not None or target.forwarding is not None:
            forwarding = combined(principal.forwarding, target.forwarding)
            if forwarding.headers:
                facts = ConditionInput(principal, verdict.roles, target, None, None, now)
                values = tuple([as_text(read(facts)) for read in _readers(forwarding.headers)])
        service = target.service
        if self._assertions is None or (forwarding is not None and not forwarding.assertion):
            service = None
        if service is None:
            if forwarding is None:
                return self._nothing
            key: tuple[object, ...] = (forwarding, values)
        else:
            # INVARIANT: everything that the assertion says, and nothing else, distinguishes it from others.
            key = (
                service,
                principal.id,
                verdict.roles,
                target.tenant,
                principal.domain,
                # An enumeration's hash costs a call.
                principal.kind is _USER or principal.kind.value,
                forwarding,
                values,
            )
        known = self._known.get(key)
        if known is not None and known.used_from <= now < known.used_until:
            return known
        made = self._made(forwarding or Forwarding(), values, verdict, service, now)
        self._known.put(key, made, _weight(made))
        return made

    def _made(
        self,
        forwarding: Forwarding,
        texts: tuple[str, ...],
        verdict: Allowed | Preflight,
        service: str | None,
        now: float,
    ) -> ForwardedHeaders:
        given = {name: text for (name, _), text in zip(forwarding.headers, texts, strict=True) if text}
        # CLAIM_HEADERS may have become shorter since the policies were compiled: what it lacks is not set.
        values = {name: given[name] for name in self._claim_headers if name in given}
        used_from, used_until = -math.inf, math.inf
        if service is not None and self._assertions is not None:
            assertion = self._assertions.sign(verdict, service, now)
            if assertion is None:
                used_until = now
            else:
                values[ASSERTION], used_from, used_until = assertion
        absent = (name for name in (*self._claim_headers, ASSERTION) if name not in values)
        removed = (*absent, *(self._credentials if forwarding.removes_authorization else ()))
        return ForwardedHeaders(tuple(values.items()), removed, used_from, used_until)


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


def _weight(headers: ForwardedHeaders) -> int:
    # The encoded part has the texts once more.
    return _ENTRY_BYTES + 2 * sum(sys.getsizeof(text) for _, text in headers.values)
