"""What a workload gets with an allowed request in addition to the identity headers (`x-auth-*`).

An identity provider and a resource may each have a `Forwarding`; `combined` is the one that applies to a
request with both. `claim_header_problem` judges the name of a header that is set from a claim.
"""

from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

MAX_CLAIM_HEADERS: Final = 16
"""Most names in CLAIM_HEADERS, and so most headers of one request that are set from claims."""
MAX_CLAIM_HEADER_NAME: Final = 64

_NAME_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
# RFC 9110 7.6.1, and the fields that RFC 9112 gives a meaning for the connection.
_OF_THE_CONNECTION: Final = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
        "expect",
    )
)
_CREDENTIALS: Final = frozenset(
    (
        "authorization",
        "cookie",
        "set-cookie",
        "proxy-authorization",
        "proxy-authenticate",
        "x-service-api-key",
        "x-admin-api-key",
    )
)
_OF_THE_REQUEST: Final = frozenset(
    ("host", "origin", "forwarded", "via", "traceparent", "tracestate", "x-request-id")
)
_READ_ELSEWHERE: Final = (
    "x-auth-",
    "x-envoy-",
    "x-forwarded-",
    "x-extauthz-",
    "content-",
    "access-control-",
    "grpc-",
)


class AuthorizationHeader(StrEnum):
    """Whether the `Authorization` header of the request reaches the workload."""

    KEEP = "keep"
    REMOVE = "remove"


class Forwarding(NamedTuple):
    """`headers` are pairs of a header name and the attribute (`user.*`) of its value, in the order of names.

    `removes_authorization`: the `Authorization` header does not reach the workload. `assertion` False: the
    workload gets no `x-auth-assertion`. A named tuple: it is part of the key of a cache.
    """

    headers: tuple[tuple[str, str], ...] = ()
    removes_authorization: bool = False
    assertion: bool = True


_DEFAULT: Final = Forwarding()


def forwarding_of(
    headers: tuple[tuple[str, str], ...], authorization: AuthorizationHeader | None, *, assertion: bool | None
) -> Forwarding | None:
    """Return what the members of a document say; None where they say nothing but the defaults."""
    removes = authorization is AuthorizationHeader.REMOVE
    found = Forwarding(headers, removes, assertion is not False)
    return None if found == _DEFAULT else found


@lru_cache(maxsize=1024)
def combined(of_provider: Forwarding | None, of_resource: Forwarding | None) -> Forwarding:
    """Return what applies to a request: of a header that both set, the resource's attribute.

    INVARIANT: what either of them withholds from the workload is withheld.
    """
    if of_provider is None or of_resource is None:
        return of_provider or of_resource or _DEFAULT
    return Forwarding(
        tuple(sorted((dict(of_provider.headers) | dict(of_resource.headers)).items())),
        of_provider.removes_authorization or of_resource.removes_authorization,
        of_provider.assertion and of_resource.assertion,
    )


def claim_header_problem(name: str) -> str | None:
    """Return why no claim may set a header of this name, None when one may; the name is lower-case."""
    if not name or not _NAME_CHARACTERS.issuperset(name):
        return "a header name has lower-case letters, digits and '-'"
    if len(name) > MAX_CLAIM_HEADER_NAME:
        return f"a header name here has at most {MAX_CLAIM_HEADER_NAME} characters"
    if name in _CREDENTIALS:
        return "it carries a credential"
    if name in _OF_THE_CONNECTION:
        return "it belongs to the connection, not to the request"
    if name in _OF_THE_REQUEST or name.startswith(_READ_ELSEWHERE):
        return "it has a meaning for Envoy, extauthz or HTTP itself"
    return None
