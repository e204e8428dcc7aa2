"""Which headers `CLAIM_HEADERS` may name, and which it may not name together with other settings."""

import pytest

from extauthz.settings import Settings, load_settings
from extauthz.settings.values import InvalidValueError, claim_headers


def test_names_are_read_in_lower_case() -> None:
    assert claim_headers("X-User-Email, x-user-groups") == {"x-user-email", "x-user-groups"}
    assert claim_headers("") == frozenset()


@pytest.mark.parametrize(
    "name",
    [
        "host",
        ":path",
        "authorization",
        "cookie",
        "proxy-authorization",
        "x-service-api-key",
        "x-admin-api-key",
        "X-Auth-Subject",
        "x-auth-assertion",
        "x-envoy-original-path",
        "x-forwarded-for",
        "x-request-id",
        "traceparent",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "content-type",
        "grpc-timeout",
        "x_user_email",
        "x user",
        "x-user\r\nx-auth-subject",
        "x-\u00fcser",
        "x" * 65,
    ],
)
def test_a_header_with_another_meaning_is_refused(name: str) -> None:
    with pytest.raises(InvalidValueError, match="without"):
        claim_headers(f"x-user-email,{name}")


def test_the_number_of_headers_is_bounded() -> None:
    assert len(claim_headers(",".join(f"x-{number}" for number in range(16)))) == 16
    with pytest.raises(InvalidValueError, match="at most 16"):
        claim_headers(",".join(f"x-{number}" for number in range(17)))


@pytest.mark.parametrize(
    ("other", "value"), [("CONDITION_HEADERS", "x-a,x-user-email"), ("TOKEN_HEADER", "x-user-email")]
)
def test_a_header_that_the_check_reads_cannot_be_removed_before_it(other: str, value: str) -> None:
    found = load_settings({"CLAIM_HEADERS": "x-user-email", other: value}, serving=False)
    assert not isinstance(found, Settings)
    assert [problem for problem in found if "CLAIM_HEADERS" in problem and other in problem]


@pytest.mark.parametrize("alone", ["ASSERTION_ISSUER", "ASSERTION_KEY_FILE"])
def test_an_assertion_needs_an_issuer_and_a_key(alone: str) -> None:
    found = load_settings({alone: "https://mesh.example"}, serving=False)
    assert found == ["ASSERTION_ISSUER and ASSERTION_KEY_FILE go together; set both or none"]
