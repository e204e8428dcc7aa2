"""Opaque tokens of a real authorization server (npm's `oidc-provider`), through real Envoy."""

import json
from pathlib import Path

import pytest

from tests.authorization_server import AUDIENCE, JWT, SECRET, authorization_server, install
from tests.e2e.gate import ALLOWED, DENIED, POSTURES, Gate, Posture, bearer, gate
from tests.tokens import SigningKey
from tests.waiting import await_true

CLOSED = Posture(careful=True, fail_open=False)
CLIENT_KEY = SigningKey.es256("gateway")
UNAUTHORIZED, UNAVAILABLE = 401, 503


def status(door: Gate, target: bytes, token: str, posture: Posture = CLOSED) -> int:
    return door.send(posture, target, bearer(token)).status


def settled(door: Gate, target: bytes, token: str) -> int:
    """Ask until the server has answered, which on a busy machine takes longer than Envoy waits."""
    found: list[int] = []

    def is_settled() -> bool:
        found.append(status(door, target, token))
        return found[-1] != UNAVAILABLE

    await_true(is_settled, within=60, what="an answer of the server")
    return found[-1]


def test_an_opaque_token_is_accepted_while_its_server_or_its_answer_lasts(tmp_path: Path) -> None:
    problem = install()
    if problem is not None:
        pytest.skip(problem)
    (tmp_path / "secret").write_text(SECRET)
    with authorization_server(CLIENT_KEY.jwk()) as server:
        provider = {
            "issuer": server.issuer,
            "audiences": [AUDIENCE],
            "subject_claims": ["sub", "client_id"],
            "roles": [{"claim": "scope", "shape": "space"}],
            "introspection": {"client_id": "gateway-basic", "client_secret_file": "secret", "timeout": 3},
        }
        file = tmp_path / "providers.yaml"
        file.write_text(json.dumps({"providers": [provider]}))
        with gate(tmp_path, IDENTITY_PROVIDERS=str(file)) as door:
            known, revoked, new = server.token(), server.token(), server.token()
            assert settled(door, b"/", known) == ALLOWED
            assert (b"x-auth-subject", b"worker") in door.upstream.arrivals[-1].headers
            assert settled(door, b"/admin/x", known) == DENIED
            assert settled(door, b"/", server.token(resource=JWT)) == ALLOWED
            server.revoke(revoked)
            for refused in (revoked, "invented", "ya29.invented", "a.b.c", "", "two words"):
                assert settled(door, b"/", refused) == UNAUTHORIZED, refused
            server.stop()
            assert status(door, b"/", known) == ALLOWED
            for posture in POSTURES:
                assert status(door, b"/", new, posture) == UNAVAILABLE, posture
