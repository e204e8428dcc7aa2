"""The credentials of a request, wherever the operator lets them be: read here, judged in `decide.identity`.

`X-Service-Api-Key` is always read, `Authorization` unless another header has the token in its place
(`TOKEN_HEADER`), other places only where the operator says so. A token in a header or cookie of another name
is judged like one in `Authorization`. The metadata of Envoy's jwt_authn filter is taken for the payload of a
token that Envoy verified; only Envoy's own filters can write it, never a client.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import ListValue, Struct, Value

from extauthz.check.extauthz_check_pb2 import Metadata
from extauthz.domain.credential import (
    BearerToken,
    Credential,
    PresentedServiceKey,
    RepeatedHeader,
    VerifiedClaims,
    authorization_credential,
)
from extauthz.domain.strict_json import MAX_DEPTH

AUTHORIZATION: Final = "authorization"
SERVICE_KEY: Final = "x-service-api-key"

JWT_AUTHN: Final = "envoy.filters.http.jwt_authn"
"""The metadata namespace of the filter; the proxy sends it when `metadata_context_namespaces` lists it."""

_EXACT: Final = 2**53
_UNREADABLE: Final[Mapping[str, object]] = {}
"""Claims without a subject: `decide.identity` refuses them."""


@dataclass(frozen=True, slots=True)
class CredentialSources:
    """Where else credentials may be.

    `token_header` is a lower-case header name, read in place of `Authorization`; `token_cookie` a cookie's
    name, `jwt_metadata` the name under which jwt_authn stores the payload (`payload_in_metadata`). With
    `workloads` the peer that Envoy verified is the principal of a request without a credential.
    """

    token_header: str | None = None
    token_cookie: str | None = None
    jwt_metadata: str | None = None
    workloads: bool = False

    @property
    def headers(self) -> frozenset[str]:
        """The lower-case names of the headers that these credentials are in."""
        cookie = None if self.token_cookie is None else "cookie"
        return frozenset(name for name in (self.token_header, cookie) if name is not None)


class _PayloadRejectedError(ValueError):
    """A payload that no token can have; never leaves this module."""


def read_credentials(
    headers: Mapping[str, bytes],
    repeated: frozenset[str],
    metadata: bytes,
    sources: CredentialSources | None,
    *,
    longest: int,
    joined: bool,
) -> list[Credential]:
    """Return every credential of a request; `headers` and `repeated` have lower-case names.

    `metadata` is the check's serialised `metadata_context`. What is longer than `longest` octets is cut
    there: no valid credential is, and what is left of it is too long all the same. `joined` is whether a
    comma may be where Envoy joined two Cookie headers.
    """
    found: list[Credential] = []
    if sources is not None and sources.token_header is not None:
        # `Authorization` is the application's own: nothing in it counts, and nothing in it is refused.
        found += _in_header(sources.token_header, headers, repeated, longest)
    elif AUTHORIZATION in repeated:
        found.append(RepeatedHeader(AUTHORIZATION))
    elif (authorization := headers.get(AUTHORIZATION)) is not None:
        found.append(authorization_credential(_text(authorization[:longest])))
    if SERVICE_KEY in repeated:
        found.append(RepeatedHeader(SERVICE_KEY))
    elif (service_key := headers.get(SERVICE_KEY)) is not None:
        found.append(PresentedServiceKey(_text(service_key[:longest])))
    if sources is not None:
        found += _other_credentials(headers, metadata, sources, joined=joined)
    return found


def _in_header(
    name: str, headers: Mapping[str, bytes], repeated: frozenset[str], longest: int
) -> Iterator[Credential]:
    """Yield the bare token in the header of that name."""
    if name in repeated:
        yield RepeatedHeader(name)
    elif (token := headers.get(name)) is not None:
        yield BearerToken(_text(token[:longest]))


def _other_credentials(
    headers: Mapping[str, bytes], metadata: bytes, sources: CredentialSources, *, joined: bool
) -> Iterator[Credential]:
    """Yield what is in the other configured places."""
    if sources.token_cookie is not None and "cookie" in headers:
        yield from map(BearerToken, _cookies(_text(headers["cookie"]), sources.token_cookie, joined=joined))
    if sources.jwt_metadata is not None and metadata:
        payload = _payload(metadata, sources.jwt_metadata)
        if payload is not None:
            yield VerifiedClaims(payload)


def _text(value: bytes) -> str:
    # No token contains U+FFFD: what is not text is a bad credential, not an absent one.
    return value.decode("utf-8", "replace")


def _cookies(header: str, name: str, *, joined: bool) -> list[str]:
    """Return the values of every cookie of the name (RFC 6265 4.2.1; names are compared with case)."""
    if joined:
        # A cookie that a comma hides would be a credential overlooked; no token has a comma in it.
        header = header.replace(",", ";")
    pairs = (pair.partition("=") for pair in header.split(";"))
    return [value.strip(" \t") for found, _, value in pairs if found.strip(" \t") == name]


def _payload(metadata: bytes, provider: str) -> Mapping[str, object] | None:
    """Return the claims that jwt_authn left under the provider's name, None without such claims."""
    try:
        filters = Metadata.FromString(metadata).filter_metadata
        if JWT_AUTHN not in filters:
            return None
        fields = Struct.FromString(filters[JWT_AUTHN]).fields
        if provider not in fields:
            return None
        claims = _plain(fields[provider], 0)
    except (DecodeError, _PayloadRejectedError):
        return _UNREADABLE
    return claims if isinstance(claims, dict) else _UNREADABLE


def _plain(value: Value, depth: int) -> object:
    """Return a value as the strict JSON reader would: integers as `int`, other numbers as `Decimal`."""
    if depth > MAX_DEPTH:
        raise _PayloadRejectedError
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "number_value":
            return _number(value.number_value)
        case "struct_value":
            return _members(value.struct_value, depth)
        case "list_value":
            return _entries(value.list_value, depth)
        case "null_value":
            return None
    raise _PayloadRejectedError


def _members(struct: Struct, depth: int) -> dict[str, object]:
    return {name: _plain(member, depth + 1) for name, member in struct.fields.items()}


def _entries(entries: ListValue, depth: int) -> list[object]:
    return [_plain(entry, depth + 1) for entry in entries.values]


def _number(number: float) -> int | Decimal:
    # A Struct knows doubles only; beyond 2**53 they no longer say which integer was meant.
    if not abs(number) <= _EXACT:
        raise _PayloadRejectedError
    return int(number) if number.is_integer() else Decimal(repr(number))
