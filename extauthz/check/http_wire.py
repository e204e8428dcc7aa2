"""Envoy's HTTP ext_authz (`http_service`): an outcome as an HTTP response.

Envoy lets pass on 200 and on nothing else, but counts every 5xx as a failure of ours, to which it applies
`failure_mode_allow`. So what is 503 over gRPC is 403 here, with the reason in a header.
"""

from dataclasses import dataclass
from typing import Final

from extauthz.check import wire
from extauthz.check.denial import denial_body, denial_headers
from extauthz.check.identity_headers import DECISION_ID, encode_value, identity_headers, spellings_to_remove
from extauthz.domain.decision import Outcome
from extauthz.domain.reasons import DENIED_HTTP_STATUS, Effect, Reason
from extauthz.domain.request import RequestFacts

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


def write(outcome: Outcome) -> HttpAnswer:
    """Return the answer to Envoy: 200 where the same outcome over gRPC would be OK, otherwise a denial."""
    principal, request = outcome.principal, outcome.request
    # INVARIANT: wire.write decides; there is no second place that can say OK.
    if wire.says_ok(wire.write(outcome)) and principal is not None and isinstance(request, RequestFacts):
        identity = identity_headers(
            principal.kind, principal.id, outcome.tenant, principal.domain, outcome.roles
        )
        removed = (*identity.removed, *spellings_to_remove(request.strip_headers))
        return HttpAnswer(
            _ALLOWED,
            (
                *identity.values,
                (DECISION_ID, encode_value(outcome.decision_id)),
                (HEADERS_TO_REMOVE, ",".join(removed)),
            ),
        )
    reason = outcome.decision.reason
    if outcome.decision.effect is not Effect.DENY:
        reason = Reason.INTERNAL_ERROR
    return _denied(reason, outcome.decision_id, is_grpc=request is not None and request.is_grpc)


def internal_error(decision_id: str) -> HttpAnswer:
    """Return the denial for when something broke on the way to an answer."""
    return _denied(Reason.INTERNAL_ERROR, decision_id, is_grpc=False)


def _denied(reason: Reason, decision_id: str, *, is_grpc: bool) -> HttpAnswer:
    status = DENIED_HTTP_STATUS[reason]
    headers = (*denial_headers(reason, is_grpc=is_grpc), (REASON, reason.value))
    body = denial_body(reason, decision_id, is_grpc=is_grpc)
    return HttpAnswer(_FORBIDDEN if status >= 500 else status, headers, body.encode())
