"""Envoy's HTTP ext_authz (`http_service`): a verdict as an HTTP response.

Envoy lets pass on 200 and on nothing else, but counts every 5xx as a failure of ours, to which it applies
`failure_mode_allow`. So what is 503 over gRPC is 403 here, with the reason in a header.
"""

from dataclasses import dataclass
from typing import Final, assert_never

from extauthz.check.denial import denial_body, denial_headers
from extauthz.check.forwarded_headers import ForwardedHeaders, Forwarder
from extauthz.check.identity_headers import DECISION_ID, encode_value, identity_headers, spellings_to_remove
from extauthz.domain.reasons import Reason
from extauthz.domain.verdict import Allowed, Denied, Preflight, Verdict

HEADERS_TO_REMOVE: Final = "x-envoy-auth-headers-to-remove"
REASON: Final = "x-extauthz-reason"

_ALLOWED: Final = 200
_FORBIDDEN: Final = 403


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status, headers and body of one answer; the status is never 5xx."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""


def write(verdict: Verdict, forwarder: Forwarder | None = None, now: float = 0.0) -> HttpAnswer:
    """Return the answer to Envoy; `forwarder` has further headers of an allow at `now` (POSIX seconds).

    INVARIANT: 200 is written only for an `Allowed` and a `Preflight`.
    """
    match verdict:
        case Allowed() | Preflight():
            return _allowed(verdict, None if forwarder is None else forwarder.headers_of(verdict, now))
        case Denied():
            is_grpc = verdict.request is not None and verdict.request.is_grpc
            return _denied(verdict.reason, verdict.decision_id, is_grpc=is_grpc)
        case _:
            assert_never(verdict)


def internal_error(decision_id: str) -> HttpAnswer:
    """Return the denial for when something broke on the way to an answer."""
    return _denied(Reason.INTERNAL_ERROR, decision_id, is_grpc=False)


def _allowed(verdict: Allowed | Preflight, forwarded: ForwardedHeaders | None) -> HttpAnswer:
    principal = verdict.principal
    identity = identity_headers(principal.kind, principal.id, verdict.tenant, principal.domain, verdict.roles)
    values = () if forwarded is None else forwarded.values
    removed = (
        *identity.removed,
        *spellings_to_remove(verdict.request.strip_headers),
        *(() if forwarded is None else forwarded.removed),
    )
    return HttpAnswer(
        _ALLOWED,
        (
            *identity.values,
            *values,
            (DECISION_ID, encode_value(verdict.decision_id)),
            (HEADERS_TO_REMOVE, ",".join(removed)),
        ),
    )


def _denied(reason: Reason, decision_id: str, *, is_grpc: bool) -> HttpAnswer:
    status = reason.http_status
    headers = (*denial_headers(reason, is_grpc=is_grpc), (REASON, reason.value))
    body = denial_body(reason, decision_id, is_grpc=is_grpc)
    return HttpAnswer(_FORBIDDEN if status >= 500 else status, headers, body.encode())
