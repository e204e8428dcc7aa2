"""The reasons of decisions, and the answer of each to a caller: one table.

A member has its code, the HTTP status of a denial with it, an RFC 6750 error for a refused credential, and a
text. A reason that is not in the table cannot exist.
"""

from enum import StrEnum
from typing import Final


class Effect(StrEnum):
    """What a rule does when it matches."""

    ALLOW = "allow"
    DENY = "deny"


_GRPC_CODES: Final = {400: 3, 401: 16, 403: 7, 503: 14}
"""google.rpc.Code: INVALID_ARGUMENT, UNAUTHENTICATED, PERMISSION_DENIED, UNAVAILABLE."""


REALM: Final = "extauthz"


class Reason(StrEnum):
    """The public reason codes of a decision (docs/reference/contract.md#reasons).

    `http_status` is the status of a denial: a 401 carries an RFC 6750 challenge with `challenge_error`
    (RFC 6750 3.1; None: no error code), a 503 a `Retry-After`. `text` is for people, and quotes no input.
    """

    http_status: int
    challenge_error: str | None
    text: str

    def __new__(cls, code: str, http_status: int, challenge_error: str | None, text: str) -> "Reason":
        """Take one row of the table."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.http_status = http_status
        member.challenge_error = challenge_error
        member.text = text
        return member

    @property
    def grpc_code(self) -> int:
        """The `grpc-status` of a denial."""
        return _GRPC_CODES[self.http_status]

    @property
    def challenge(self) -> str:
        """The value of `WWW-Authenticate` in a 401 (RFC 6750 3); without credentials it has no error code."""
        if self.challenge_error is None:
            return f'Bearer realm="{REALM}"'
        return f'Bearer realm="{REALM}", error="{self.challenge_error}", error_description="{self.text}"'

    # fmt: off
    RULE_MATCHED = "rule_matched", 403, None, "a rule denies it"
    PREFLIGHT = "preflight", 403, None, "it asks, as a CORS preflight, about a route"  # only of allows
    NO_MATCHING_RULE = "no_matching_rule", 403, None, "no rule matches"
    CONDITION_UNKNOWN = "condition_unknown", 403, None, "a deny rule could not be evaluated, so it denies"
    UNMAPPED_ROUTE = "unmapped_route", 403, None, "no resource has this route"
    TENANT_MISMATCH = "tenant_mismatch", 403, None, "the credential is of another tenant"
    TENANT_SUSPENDED = "tenant_suspended", 403, None, "the tenant is suspended"

    TOKEN_MISSING = "token_missing", 401, None, "a credential is needed"
    TOKEN_MALFORMED = "token_malformed", 401, "invalid_token", "the token is malformed"
    TOKEN_EXPIRED = "token_expired", 401, "invalid_token", "the token has expired"
    TOKEN_NOT_YET_VALID = "token_not_yet_valid", 401, "invalid_token", "the token is not valid yet"
    TOKEN_BAD_SIGNATURE = "token_bad_signature", 401, "invalid_token", "the signature does not verify"
    TOKEN_UNKNOWN_ISSUER = "token_unknown_issuer", 401, "invalid_token", "the issuer is not known here"
    TOKEN_WRONG_AUDIENCE = (
        "token_wrong_audience", 401, "invalid_token", "the token is meant for another audience"
    )
    TOKEN_UNKNOWN_KEY = "token_unknown_key", 401, "invalid_token", "the issuer has no such key"
    TOKEN_ALGORITHM = "token_algorithm", 401, "invalid_token", "the algorithm is not accepted"
    TOKEN_CLAIMS_INVALID = "token_claims_invalid", 401, "invalid_token", "a claim is missing or invalid"
    TOKEN_INACTIVE = "token_inactive", 401, "invalid_token", "the token is not active"
    API_KEY_INVALID = "api_key_invalid", 401, "invalid_token", "the API key is not valid"
    CREDENTIALS_CONFLICT = (
        "credentials_conflict", 401, "invalid_request", "more than one credential was sent"
    )

    PATH_AMBIGUOUS = "path_ambiguous", 400, None, "the path has more than one reading"
    REQUEST_MALFORMED = "request_malformed", 400, None, "the request is malformed"

    POLICY_STALE = "policy_stale", 503, None, "the policies have not been confirmed for too long; try again"
    NOT_READY = "not_ready", 503, None, "no policies are loaded yet; try again"
    KEYS_UNAVAILABLE = "keys_unavailable", 503, None, "the issuer's keys could not be fetched; try again"
    INTROSPECTION_UNAVAILABLE = (
        "introspection_unavailable", 503, None, "the issuer could not be asked about the token; try again"
    )
    OVERLOADED = (
        "overloaded", 503, None, "the decision log is full, or too many checks wait; try again"
    )
    DEADLINE = "deadline", 503, None, "the caller's deadline has passed"
    INTERNAL_ERROR = "internal_error", 503, None, "the check failed"
    # fmt: on
