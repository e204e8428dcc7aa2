"""The answer to a denied caller: status, headers and body for each reason, the same at every entrance."""

from json.encoder import encode_basestring_ascii
from typing import Final

from extauthz.domain.reasons import Reason

RETRY_AFTER_SECONDS: Final = 1
"""What is 503 here passes as soon as a key, a policy or a free slot arrives, which takes about this long."""

_ERRORS: Final = {400: "bad_request", 401: "unauthorized", 403: "forbidden", 503: "service_unavailable"}


def denial_headers(reason: Reason, *, is_grpc: bool) -> tuple[tuple[str, str], ...]:
    """Return the response headers of a denial.

    A gRPC caller reads `grpc-status`, which Envoy would otherwise derive from the HTTP status (400 gives
    INTERNAL); the content type is left to Envoy then. The content length always is.
    """
    headers = [("grpc-status", str(reason.grpc_code))] if is_grpc else []
    if not is_grpc:
        headers.append(("content-type", "application/json"))
    if reason.http_status == 401:
        headers.append(("www-authenticate", reason.challenge))
    if reason.http_status == 503:
        headers.append(("retry-after", str(RETRY_AFTER_SECONDS)))
    return tuple(headers)


def denial_body(reason: Reason, decision_id: str | None, *, is_grpc: bool) -> str:
    """Return the body: JSON, or one line of text for gRPC callers, which Envoy puts into `grpc-message`."""
    if is_grpc:
        return f"{reason.value} (decision_id {decision_id})" if decision_id else reason.value
    error = _ERRORS[reason.http_status]
    quoted_id = "null" if decision_id is None else encode_basestring_ascii(decision_id)
    return f'{{"error":"{error}","reason":"{reason.value}","decision_id":{quoted_id}}}'
