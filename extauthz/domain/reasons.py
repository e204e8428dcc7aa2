"""Why a decision came out as it did, and the statuses that each reason means to a caller."""

from enum import StrEnum
from typing import Final


class Effect(StrEnum):
    """What a rule does when it matches."""

    ALLOW = "allow"
    DENY = "deny"


class Reason(StrEnum):
    """The public reason codes of a decision (the table in the contract's section Envoy)."""

    RULE_MATCHED = "rule_matched"
    NO_MATCHING_RULE = "no_matching_rule"
    CONDITION_UNKNOWN = "condition_unknown"
    UNMAPPED_ROUTE = "unmapped_route"
    TENANT_MISMATCH = "tenant_mismatch"
    TENANT_SUSPENDED = "tenant_suspended"

    TOKEN_MISSING = "token_missing"
    TOKEN_MALFORMED = "token_malformed"
    TOKEN_EXPIRED = "token_expired"
    TOKEN_NOT_YET_VALID = "token_not_yet_valid"
    TOKEN_BAD_SIGNATURE = "token_bad_signature"
    TOKEN_UNKNOWN_ISSUER = "token_unknown_issuer"
    TOKEN_WRONG_AUDIENCE = "token_wrong_audience"
    TOKEN_UNKNOWN_KEY = "token_unknown_key"
    TOKEN_ALGORITHM = "token_algorithm"
    TOKEN_CLAIMS_INVALID = "token_claims_invalid"
    API_KEY_INVALID = "api_key_invalid"
    CREDENTIALS_CONFLICT = "credentials_conflict"

    PATH_AMBIGUOUS = "path_ambiguous"
    REQUEST_MALFORMED = "request_malformed"

    POLICY_STALE = "policy_stale"
    NOT_READY = "not_ready"
    KEYS_UNAVAILABLE = "keys_unavailable"
    OVERLOADED = "overloaded"
    DEADLINE = "deadline"
    INTERNAL_ERROR = "internal_error"


_FORBIDDEN: Final = frozenset(
    {
        Reason.RULE_MATCHED,
        Reason.NO_MATCHING_RULE,
        Reason.CONDITION_UNKNOWN,
        Reason.UNMAPPED_ROUTE,
        Reason.TENANT_MISMATCH,
        Reason.TENANT_SUSPENDED,
    }
)
_BAD_REQUEST: Final = frozenset({Reason.PATH_AMBIGUOUS, Reason.REQUEST_MALFORMED})
_UNAVAILABLE: Final = frozenset(
    {
        Reason.POLICY_STALE,
        Reason.NOT_READY,
        Reason.KEYS_UNAVAILABLE,
        Reason.OVERLOADED,
        Reason.DEADLINE,
        Reason.INTERNAL_ERROR,
    }
)


def _denied_status(reason: Reason) -> int:
    if reason in _FORBIDDEN:
        return 403
    if reason in _BAD_REQUEST:
        return 400
    if reason in _UNAVAILABLE:
        return 503
    return 401


DENIED_HTTP_STATUS: Final = {reason: _denied_status(reason) for reason in Reason}
"""The HTTP status of a denial with this reason; 401 carries an RFC 6750 challenge, 503 a `Retry-After`."""

DENIED_GRPC_STATUS: Final = {
    reason: {400: 3, 401: 16, 403: 7, 503: 14}[status] for reason, status in DENIED_HTTP_STATUS.items()
}
"""What a gRPC caller reads: INVALID_ARGUMENT, UNAUTHENTICATED, PERMISSION_DENIED or UNAVAILABLE."""
