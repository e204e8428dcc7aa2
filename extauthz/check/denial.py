"""What a denied caller is told: status, headers and body for each reason; the same at every entrance."""

from json.encoder import encode_basestring_ascii
from typing import Final

from extauthz.domain.reasons import DENIED_GRPC_STATUS, DENIED_HTTP_STATUS, Reason

RETRY_AFTER_SECONDS: Final = 1
"""What is 503 here passes as soon as a key, a policy or a free slot arrives, which takes about this long."""

_REALM: Final = "extauthz"
_ERRORS: Final = {400: "bad_request", 401: "unauthorized", 403: "forbidden", 503: "service_unavailable"}

# RFC 6750 3.1. A request without credentials gets no error code.
_BEARER_ERRORS: Final = {
    Reason.TOKEN_MALFORMED: ("invalid_token", "the token is malformed"),
    Reason.TOKEN_EXPIRED: ("invalid_token", "the token has expired"),
    Reason.TOKEN_NOT_YET_VALID: ("invalid_token", "the token is not valid yet"),
    Reason.TOKEN_BAD_SIGNATURE: ("invalid_token", "the signature does not verify"),
    Reason.TOKEN_UNKNOWN_ISSUER: ("invalid_token", "the issuer is not known here"),
    Reason.TOKEN_WRONG_AUDIENCE: ("invalid_token", "the token is meant for another audience"),
    Reason.TOKEN_UNKNOWN_KEY: ("invalid_token", "the issuer has no such key"),
    Reason.TOKEN_ALGORITHM: ("invalid_token", "the algorithm is not accepted"),
    Reason.TOKEN_CLAIMS_INVALID: ("invalid_token", "a claim is missing or invalid"),
    Reason.API_KEY_INVALID: ("invalid_token", "the API key is not valid"),
    Reason.CREDENTIALS_CONFLICT: ("invalid_request", "more than one credential was sent"),
}


def denial_headers(reason: Reason, *, is_grpc: bool) -> tuple[tuple[str, str], ...]:
    """Return the response headers of a denial.

    A gRPC caller reads `grpc-status`, which Envoy would otherwise derive from the HTTP status (400 gives
    INTERNAL); the content type is left to Envoy then. The content length always is.
    """
    status = DENIED_HTTP_STATUS[reason]
    headers = [("grpc-status", str(DENIED_GRPC_STATUS[reason]))] if is_grpc else []
    if not is_grpc:
        headers.append(("content-type", "application/json"))
    if status == 401:
        headers.append(("www-authenticate", _challenge(reason)))
    if status == 503:
        headers.append(("retry-after", str(RETRY_AFTER_SECONDS)))
    return tuple(headers)


def denial_body(reason: Reason, decision_id: str | None, *, is_grpc: bool) -> str:
    """Return the body: JSON, or one line of text for gRPC callers, which Envoy puts into `grpc-message`."""
    if is_grpc:
        return f"{reason.value} (decision_id {decision_id})" if decision_id else reason.value
    error = _ERRORS[DENIED_HTTP_STATUS[reason]]
    quoted_id = "null" if decision_id is None else encode_basestring_ascii(decision_id)
    return f'{{"error":"{error}","reason":"{reason.value}","decision_id":{quoted_id}}}'


def _challenge(reason: Reason) -> str:
    """Return the value of `WWW-Authenticate` (RFC 6750 3)."""
    if reason not in _BEARER_ERRORS:
        return f'Bearer realm="{_REALM}"'
    error, description = _BEARER_ERRORS[reason]
    return f'Bearer realm="{_REALM}", error="{error}", error_description="{description}"'
