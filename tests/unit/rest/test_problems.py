"""Titles of problem documents and names in the REST description: the same on every interpreter."""

from http import HTTPStatus
from typing import Any

import pytest

from extauthz.admin.app import served
from extauthz.domain.tenancy import TenancyMode
from extauthz.rest.openapi import document
from extauthz.rest.problems import ProblemError

TITLES = {
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    406: "Not Acceptable", 408: "Request Timeout", 409: "Conflict", 410: "Gone", 411: "Length Required",
    412: "Precondition Failed", 413: "Content Too Large", 414: "URI Too Long", 415: "Unsupported Media Type",
    416: "Range Not Satisfiable", 417: "Expectation Failed", 421: "Misdirected Request",
    422: "Unprocessable Content", 426: "Upgrade Required", 428: "Precondition Required",
    429: "Too Many Requests", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
    501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}  # fmt: skip
"""RFC 9110 15.5 and 15.6; 428, 429 and 431: RFC 6585."""


@pytest.mark.parametrize("status", TITLES)
def test_a_title_is_the_name_in_the_rfc(status: int) -> None:
    assert ProblemError(HTTPStatus(status), "").document()["title"] == TITLES[status]


def test_responses_keep_their_names_for_generated_clients() -> None:
    components: Any = document(served(TenancyMode.SAAS))["components"]
    assert sorted(components["responses"]) == [
        "BAD_REQUEST", "CONFLICT", "FORBIDDEN", "NOT_FOUND", "PRECONDITION_FAILED",
        "REQUEST_ENTITY_TOO_LARGE", "REQUEST_TIMEOUT", "SERVICE_UNAVAILABLE", "TOO_MANY_REQUESTS",
        "UNAUTHORIZED", "UNPROCESSABLE_ENTITY", "UNSUPPORTED_MEDIA_TYPE",
    ]  # fmt: skip
    example = components["responses"]["UNPROCESSABLE_ENTITY"]["content"]["application/problem+json"][
        "example"
    ]
    assert example["title"] == "Unprocessable Content"
