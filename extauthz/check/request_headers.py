"""Reads the client's headers from Envoy's message: those that decide, and those that an allow must remove.

Envoy sends `headers`, a map with repeated headers joined by a comma and bytes that are not UTF-8 replaced, or
with `encode_raw_headers` the list `header_map`, which keeps both as they were. Names are lower-case on
Envoy's side; they are folded here all the same, because an identity header must not pass for being spelled
differently.
"""

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress, repeat
from types import MappingProxyType
from typing import Final, NamedTuple

from extauthz.check.credentials import AUTHORIZATION, SERVICE_KEY
from extauthz.check.extauthz_check_pb2 import HttpRequest
from extauthz.check.header_entries import Entries, read_entries
from extauthz.domain.envoy_text import is_known

READ_ALWAYS: Final = frozenset(
    (
        AUTHORIZATION,
        SERVICE_KEY,
        "x-request-id",
        "traceparent",
        "content-type",
        ":method",
        ":authority",
        ":path",
    )
)
_NONE: Final[frozenset[str]] = frozenset()
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_TOKENS: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z\n]*")  # RFC 9110 5.6.2, by line

# CGI variables (RFC 3875 4.1.18) drop the case and turn "-" into "_"; servers differ in which other
# characters they change, so every character except letters and digits counts as the dash.
_FOLD: Final = bytes(
    ord(chr(octet).lower()) if chr(octet) in string.ascii_letters + string.digits + "\n" else ord("-")
    for octet in range(256)
)
_IDENTITY_PREFIX: Final = b"\nx-auth-"

MAX_HEADERS: Final = 512
"""More headers, pseudo-headers and the proxy's own included, are refused; Envoy takes 100 of a client unless
told otherwise. 512 cost less than ten usual checks do."""

MAX_IDENTITY_SPELLINGS: Final = 128
"""More headers that read like `x-auth-` are refused; Envoy takes 100 headers unless told otherwise."""

_CACHED_READINGS: Final = 1024
_CACHED_LENGTH: Final = 1024
"""In characters; longer lists of names are read afresh each time, so that the cache stays below 2 MB."""


class ClientHeaders(NamedTuple):
    """`raw` has at least the headers that are read, by lower-case name; `kept` those that conditions ask for.

    `is_raw` is whether `raw` has the client's own bytes, those of the pseudo-headers too. `repeated` names
    those of them that came more than once. `unknown` names the kept headers whose value is not certain to be
    the only one that the client sent, byte for byte: what a condition says about them is unknown. `strip`
    names what some upstream could read as an `x-auth-` header.
    """

    raw: Mapping[str, bytes]
    is_raw: bool
    repeated: frozenset[str]
    kept: Mapping[str, str]
    unknown: frozenset[str]
    strip: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeadersRejected:
    """Headers that cannot be judged: 400 `request_malformed`; `raw` has them for the answer and the log."""

    detail: str
    raw: Mapping[str, bytes]


def client_headers(
    http: HttpRequest,
    condition_headers: frozenset[str],
    read_headers: frozenset[str],
    *,
    raw_entries: bool,
    claim_headers: frozenset[str] = _NONE,
) -> ClientHeaders | HeadersRejected:
    """Read the headers of a check in whichever of the two forms they came.

    `read_headers` are those whose values are looked at, `READ_ALWAYS` among them. `raw_entries` is whether
    the entries of `header_map` are known to be as the client sent them. Other spellings of `claim_headers`
    are treated like those of `x-auth-*`.
    """
    raw: Mapping[str, bytes] = http.headers
    is_raw, repeated, replaced, names, different = False, _NONE, _NONE, "\n".join(raw), len(raw)
    if http.HasField("header_map"):
        if raw:
            return HeadersRejected("the headers came twice, as headers and as header_map", raw)
        entries = http.header_map.headers[:]
        if len(entries) > MAX_HEADERS:
            return HeadersRejected(f"more than {MAX_HEADERS} headers", {})
        read = read_entries(entries, read_headers)
        if read is None:
            return HeadersRejected("an entry of header_map is not a header", {})
        is_raw, (names, different, raw, repeated, replaced) = raw_entries, read
        if repeated and any(name.startswith(":") for name in repeated):
            return HeadersRejected("a pseudo-header came twice", raw)
    elif different > MAX_HEADERS:
        return HeadersRejected(f"more than {MAX_HEADERS} headers", raw)
    read_names = _reading if len(names) <= _CACHED_LENGTH else _reading.__wrapped__
    lower, suspicious = read_names(names, claim_headers)
    if not lower:
        names, different, raw, repeated, _ = _folded(raw)
        _, suspicious = _reading.__wrapped__(names, claim_headers)

    if suspicious > MAX_IDENTITY_SPELLINGS:
        return HeadersRejected(f"more than {MAX_IDENTITY_SPELLINGS} header names read like x-auth-", raw)
    strip = _identity_spellings(names, different, claim_headers) if suspicious else ()
    if isinstance(strip, str):
        return HeadersRejected(strip, raw)
    if not condition_headers:
        return ClientHeaders(raw, is_raw, repeated, _NO_HEADERS, _NONE, strip)
    kept: dict[str, str] = {}
    unknown: frozenset[str] = _NONE
    for name in condition_headers:
        value = raw.get(name)
        if value is not None:
            kept[name] = value.decode("utf-8", "replace")
            if name in repeated or not is_known(name, value, raw=is_raw and name not in replaced):
                unknown |= {name}
    return ClientHeaders(raw, is_raw, repeated, MappingProxyType(kept), unknown, strip)


@lru_cache(maxsize=_CACHED_READINGS)
def _reading(names: str, claim_headers: frozenset[str]) -> tuple[bool, int]:
    """Tell of header names, by line: whether all are lower-case, and how many an allow may have to remove.

    Clients send few different sets of names, but each with every request.
    """
    folded = b"\n" + names.encode().translate(_FOLD)
    suspicious = folded.count(_IDENTITY_PREFIX)
    if claim_headers:
        suspicious += sum(map(_folded_claims(claim_headers).__contains__, folded.split(b"\n")))
    return names == names.lower(), suspicious


@lru_cache(maxsize=16)
def _folded_claims(claim_headers: frozenset[str]) -> frozenset[bytes]:
    return frozenset(name.encode("ascii").translate(_FOLD) for name in claim_headers)


def _folded(headers: Mapping[str, bytes]) -> Entries:
    """Join the headers of a map whose names differ in nothing but case."""
    values: dict[str, list[bytes]] = {}
    for name, value in headers.items():
        values.setdefault(name.lower(), []).append(value)
    joined = {name: b",".join(seen) for name, seen in values.items()}
    repeated = frozenset(name for name, seen in values.items() if len(seen) > 1)
    return Entries("\n".join(values), len(values), joined, repeated, _NONE)


def _identity_spellings(names: str, different: int, claim_headers: frozenset[str]) -> tuple[str, ...] | str:
    """Return the sorted names that some upstream folds to `x-auth-...`, or what is wrong with them.

    `names` are all of them, by line. Those that fold to one of `claim_headers` are among them, but not these
    names themselves, which every allow sets or removes.
    """
    lines = names.encode().translate(_FOLD).split(b"\n")
    if len(lines) != different:
        return "a header name contains a line break"
    # A client may send a thousand: `compress` and `map` keep the loop in C.
    own = names.split("\n")
    found = sorted(compress(own, map(bytes.startswith, lines, repeat(b"x-auth-"))))
    if claim_headers:
        spelt = compress(own, map(_folded_claims(claim_headers).__contains__, lines))
        found += sorted(set(spelt) - claim_headers)
    # Envoy cannot remove what is not a header name, and would not have accepted it either.
    if _TOKENS.fullmatch("\n".join(found)) is None:
        return "a header name that reads like x-auth- is not a token (RFC 9110 5.6.2)"
    return tuple(found)
