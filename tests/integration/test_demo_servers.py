"""The demo's identity provider and upstream, as real processes over real HTTP."""

import base64
import http.client
import json
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlencode

import jwt
import pytest

from extauthz.demo.processes import LOOPBACK, free_port, http_answers, spawn


def call(
    port: int, method: str, path: str, *, form: Mapping[str, str] | None = None, basic: str | None = None
) -> tuple[int, dict[str, object]]:
    headers = {} if form is None else {"Content-Type": "application/x-www-form-urlencoded"}
    if basic is not None:
        headers["Authorization"] = "Basic " + base64.b64encode(basic.encode()).decode()
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    connection.request(method, path, body=None if form is None else urlencode(form), headers=headers)
    response = connection.getresponse()
    status, document = response.status, json.loads(response.read())
    connection.close()
    return status, document


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "extauthz.demo.identity_provider", "--port", str(port)]
    child = spawn("idp", command, output=tmp_path_factory.mktemp("idp") / "idp.log")
    child.wait_ready(lambda: http_answers(port, "/.well-known/openid-configuration"), timeout_s=20)
    yield port
    child.stop()


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "extauthz.demo.upstream", "--port", str(port)]
    child = spawn("upstream", command, output=tmp_path_factory.mktemp("upstream") / "upstream.log")
    child.wait_ready(lambda: http_answers(port, "/"), timeout_s=20)
    yield port
    child.stop()


def token(port: int, name: str, **extra: str) -> str:
    form = {"grant_type": "password", "username": name, "password": name, **extra}
    status, document = call(port, "POST", "/token", form=form)
    assert status == 200, document
    return str(document["access_token"])


def published(port: int) -> dict[str, jwt.PyJWK]:
    return {
        key.key_id: key for key in jwt.PyJWKSet.from_dict(call(port, "GET", "/jwks")[1]).keys if key.key_id
    }


def verified(port: int, signed: str) -> dict[str, object]:
    key = published(port)[jwt.get_unverified_header(signed)["kid"]]
    issuer = f"http://127.0.0.1:{port}"
    claims: dict[str, object] = jwt.decode(
        signed, key, algorithms=["RS256", "ES256"], audience="extauthz-demo", issuer=issuer
    )
    return claims


def test_discovery_names_what_the_provider_serves(provider: int) -> None:
    _, document = call(provider, "GET", "/.well-known/openid-configuration")

    issuer = f"http://127.0.0.1:{provider}"
    assert document["issuer"] == issuer
    assert document["jwks_uri"] == f"{issuer}/jwks"
    assert document["token_endpoint"] == f"{issuer}/token"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_people_get_tokens_that_an_independent_library_verifies(provider: int, algorithm: str) -> None:
    claims = verified(provider, token(provider, "alice", alg=algorithm))

    assert claims["sub"] == "alice"
    assert claims["realm_access"] == {"roles": ["finance"]}
    assert claims["exp"] == int(str(claims["iat"])) + 3600
    assert verified(provider, token(provider, "bob"))["realm_access"] == {"roles": []}
    assert verified(provider, token(provider, "admin"))["adm"] == "*"


def test_services_get_tokens_by_body_and_by_basic(provider: int) -> None:
    grant = {"grant_type": "client_credentials"}
    by_body = grant | {"client_id": "reporting", "client_secret": "reporting-secret"}

    for answer in (
        call(provider, "POST", "/token", form=by_body),
        call(provider, "POST", "/token", form=grant, basic="reporting:reporting-secret"),
    ):
        assert answer[0] == 200
        assert verified(provider, str(answer[1]["access_token"]))["sub"] == "reporting"


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"grant_type": "password", "username": "alice", "password": "no"}, 400, "invalid_grant"),
        ({"grant_type": "client_credentials", "client_id": "reporting"}, 401, "invalid_client"),
        ({"grant_type": "magic"}, 400, "unsupported_grant_type"),
        ({}, 400, "invalid_request"),
        (
            {"grant_type": "password", "username": "bob", "password": "bob", "flaw": "?"},
            400,
            "invalid_request",
        ),
        (
            {"grant_type": "password", "username": "bob", "password": "bob", "alg": "none"},
            400,
            "invalid_request",
        ),
    ],
)
def test_invalid_requests_get_the_errors_of_the_standard(
    provider: int, form: dict[str, str], status: int, error: str
) -> None:
    assert call(provider, "POST", "/token", form=form) == (status, {"error": error})


def test_flawed_tokens_have_exactly_their_flaw(provider: int) -> None:
    with pytest.raises(jwt.ExpiredSignatureError):
        verified(provider, token(provider, "alice", flaw="expired"))
    with pytest.raises(jwt.InvalidAudienceError):
        verified(provider, token(provider, "alice", flaw="wrong_audience"))
    forged = token(provider, "alice", flaw="forged")
    assert jwt.get_unverified_header(forged)["kid"] in published(provider)
    with pytest.raises(jwt.InvalidSignatureError):
        verified(provider, forged)


def test_a_rotation_keeps_old_tokens_valid_until_the_next_one(provider: int) -> None:
    before = token(provider, "alice")
    assert call(provider, "POST", "/rotate")[0] == 200
    after = token(provider, "alice")

    assert jwt.get_unverified_header(before)["kid"] != jwt.get_unverified_header(after)["kid"]
    assert verified(provider, before)["sub"] == verified(provider, after)["sub"] == "alice"

    assert call(provider, "POST", "/rotate")[0] == 200
    assert jwt.get_unverified_header(before)["kid"] not in published(provider)
    assert verified(provider, after)["sub"] == "alice"


@pytest.mark.parametrize(
    "target",
    ["/", "//admin", "/a/../b", "/a%2Fb", "/..;/x", "/%252e", "/a?b=c&d=%20", "/caf%C3%A9", "/a;b", "*"],
)
def test_the_upstream_shows_the_target_as_it_was_on_the_wire(upstream: int, target: str) -> None:
    with socket.create_connection((LOOPBACK, upstream), timeout=5) as raw:
        lines = [f"OPTIONS {target} HTTP/1.1", "Host: h", "X-Twice: 1", "x-twice: 2", "Connection: close"]
        raw.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        document = json.loads(answer.read())

    assert (answer.status, document["method"], document["path"]) == (200, "OPTIONS", target)
    assert document["headers"]["x-twice"] == "1, 2"


def test_the_upstream_accepts_tokens_as_large_as_the_limit(upstream: int) -> None:
    connection = http.client.HTTPConnection(LOOPBACK, upstream, timeout=5)
    connection.request(
        "POST", "/big", body=b"x" * 3_000_000, headers={"Authorization": "Bearer " + "a" * 16_384}
    )

    assert connection.getresponse().status == 200
    connection.close()


def test_the_upstream_ends_at_once_on_request(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "extauthz.demo.upstream", "--port", str(port)]
    child = spawn("upstream", command, output=tmp_path / "upstream.log")
    child.wait_ready(lambda: http_answers(port, "/"), timeout_s=20)

    with socket.create_connection((LOOPBACK, port)):
        started = time.monotonic()
        child.stop(grace_s=5)

    assert time.monotonic() - started < 3
