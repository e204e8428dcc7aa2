"""Several issuers in one tenant, through real Envoy, from a file that changes under the running sidecar."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gate import ALLOWED, DENIED, RSA, Gate, Posture, bearer, gate
from tests.key_server import KeyServer
from tests.key_server_thread import identity_provider
from tests.tokens import AUDIENCE, SigningKey, claims
from tests.waiting import await_true

CLOSED = Posture(careful=True, fail_open=False)
SECOND = SigningKey.of("ES384", "second")
UNAUTHORIZED = 401
FOLLOWED_WITHIN_S = 10.0


class Providers:
    """The file of IDENTITY_PROVIDERS with one provider in it, whose keys a second server publishes."""

    def __init__(self, folder: Path, server: KeyServer) -> None:
        self.file = folder / "providers.yaml"
        self.issuer = server.issuer
        self.write()

    def write(self, **changes: object) -> None:
        """Replace the file as one step, as Kubernetes does."""
        provider: dict[str, Any] = {
            "issuer": self.issuer,
            "audiences": ["second-api"],
            "algorithms": ["ES384"],
            "roles": [{"claim": "scope", "shape": "space"}],
        }
        members = {name: value for name, value in (provider | changes).items() if value is not None}
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps({"providers": [members]}))
        new.replace(self.file)

    def token(self, **changes: object) -> bytes:
        now = int(time.time())
        usual = {"iss": self.issuer, "aud": "second-api", "iat": now - 5, "exp": now + 600}
        return bearer(SECOND.sign(claims(**(usual | changes))))


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Providers]:
    with identity_provider(SECOND) as server:
        yield Providers(tmp_path_factory.mktemp("providers"), server)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, second: Providers) -> Iterator[Gate]:
    with gate(tmp_path_factory.mktemp("gate"), IDENTITY_PROVIDERS=str(second.file)) as found:
        yield found


def status(door: Gate, target: bytes, token: bytes) -> int:
    return door.send(CLOSED, target, token).status


def first_token(door: Gate, **changes: object) -> bytes:
    now = int(time.time())
    usual = {"iss": door.provider.issuer, "aud": AUDIENCE, "iat": now - 5, "exp": now + 600}
    return bearer(RSA.sign(claims(**(usual | changes))))


def test_two_issuers_of_one_tenant_are_accepted_each_by_its_own_rules(door: Gate, second: Providers) -> None:
    assert status(door, b"/", first_token(door)) == ALLOWED
    assert status(door, b"/", second.token()) == ALLOWED
    assert status(door, b"/admin/x", second.token(scope="read admin")) == ALLOWED
    assert status(door, b"/admin/x", second.token(scope="read administrator")) == DENIED
    # Roles of the first issuer are in another claim, and its audience is another.
    assert status(door, b"/admin/x", first_token(door, scope="admin")) == DENIED
    assert status(door, b"/admin/x", first_token(door, realm_access={"roles": ["admin"]})) == ALLOWED
    assert status(door, b"/", second.token(aud=AUDIENCE)) == UNAUTHORIZED
    assert status(door, b"/", first_token(door, aud="second-api")) == UNAUTHORIZED


def test_the_key_of_one_issuer_does_not_verify_for_the_other(door: Gate, second: Providers) -> None:
    now = int(time.time())
    said = claims(iss=door.provider.issuer, iat=now - 5, exp=now + 600)
    assert status(door, b"/", bearer(SECOND.sign(said))) == UNAUTHORIZED
    said = claims(iss=second.issuer, aud="second-api", iat=now - 5, exp=now + 600)
    assert status(door, b"/", bearer(RSA.sign(said))) == UNAUTHORIZED


def test_a_changed_file_is_followed_and_a_mistake_in_it_changes_nothing(
    door: Gate, second: Providers
) -> None:
    assert status(door, b"/", second.token()) == ALLOWED
    second.write(audiences=["third-api"])
    await_true(
        lambda: status(door, b"/", second.token()) == UNAUTHORIZED,
        within=FOLLOWED_WITHIN_S,
        what="the new audience",
    )
    assert status(door, b"/", second.token(aud="third-api")) == ALLOWED

    second.write(audiences=None)
    await_true(
        lambda: "/providers/0/audiences" in door.sidecar.output.read_text(),
        within=FOLLOWED_WITHIN_S,
        what="the mistake in the log",
    )
    assert status(door, b"/", second.token(aud="third-api")) == ALLOWED
    assert status(door, b"/", first_token(door)) == ALLOWED

    second.write()
    await_true(
        lambda: status(door, b"/", second.token()) == ALLOWED, within=FOLLOWED_WITHIN_S, what="the old file"
    )
