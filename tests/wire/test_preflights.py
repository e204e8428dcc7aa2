"""Which checks are read as a CORS preflight, whatever form their headers have."""

from dataclasses import replace

import pytest

from extauthz.check.credentials import CredentialSources
from extauthz.check.envoy_request import EnvoyRequests
from extauthz.check.extauthz_check_pb2 import CheckRequest
from extauthz.domain.request import CheckedRequest
from tests.builders import check_request

PREFLIGHT = {"origin": "https://a.example", "access-control-request-method": "PUT"}
READER = EnvoyRequests(preflights=True)
EVERYWHERE = CredentialSources("x-token", "session", workloads=True)


def message(*, raw: bool, headers: dict[str, str], method: str = "OPTIONS") -> CheckRequest:
    if raw:
        lines = [(name, value.encode()) for name, value in headers.items()]
        return CheckRequest.FromString(check_request(method=method, raw_headers=lines))
    return CheckRequest.FromString(check_request(method=method, headers=headers))


def asked(request: CheckRequest, reader: EnvoyRequests = READER) -> str | None:
    found = reader.read(request.SerializeToString())
    assert isinstance(found, CheckedRequest)
    return found.facts.preflight


@pytest.mark.parametrize("raw", [True, False])
def test_a_preflight_is_read_in_both_forms_and_only_where_it_is_on(*, raw: bool) -> None:
    request = message(raw=raw, headers=PREFLIGHT)

    assert asked(request) == "PUT"
    assert asked(request, EnvoyRequests()) is None
    assert asked(message(raw=raw, headers=PREFLIGHT, method="PUT")) is None


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(
    "more",
    [
        {"authorization": ""},
        {"proxy-authorization": "Basic eA=="},
        {"cookie": ""},
        {"x-service-api-key": ""},
        {"content-length": "1"},
        {"content-length": "00"},
        {"content-length": ""},
        {"transfer-encoding": "identity"},
        {"origin": "https://a.example,https://b.example"},
        {"origin": "https://a.example\n"},
        {"origin": "https://"},
        {"origin": "https://a.example:"},
        {"origin": "https://a.example:123456"},
        {"origin": "https://user@a.example"},
        {"origin": "null,null"},
        {"origin": "x" * 600 + "://a.example"},
        {"access-control-request-method": "PUT,PUT"},
        {"access-control-request-method": "PU!"},
        {"access-control-request-method": ""},
        {"access-control-request-method": "P" * 65},
    ],
)
def test_what_a_browser_would_not_send_is_not_a_preflight(*, raw: bool, more: dict[str, str]) -> None:
    assert asked(message(raw=raw, headers=PREFLIGHT | more)) is None


@pytest.mark.parametrize("member", ["size", "body", "raw_body"])
def test_a_preflight_with_a_body_is_an_ordinary_request(member: str) -> None:
    request = message(raw=True, headers=PREFLIGHT)
    setattr(request.attributes.request.http, member, 1 if member == "size" else b"x")

    assert asked(request) is None


def test_an_unknown_size_is_not_a_body() -> None:
    request = message(raw=True, headers=PREFLIGHT)
    request.attributes.request.http.size = -1

    assert asked(request) == "PUT"


def test_a_preflight_with_a_configured_credential_is_not_anonymous() -> None:
    reader = replace(READER, sources=EVERYWHERE)
    request = message(raw=True, headers=PREFLIGHT)
    assert asked(request, reader) == "PUT"
    assert asked(message(raw=True, headers=PREFLIGHT | {"x-token": "a"}), reader) is None
    request.attributes.source.principal = "spiffe://mesh/ns/shop/sa/cart"
    assert asked(request, reader) is None
    assert asked(request) == "PUT"
