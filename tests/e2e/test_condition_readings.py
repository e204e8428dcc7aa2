"""Conditions on claims that are read as times, addresses and words, through real Envoy."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.gate import ALLOWED, DENIED, EC, Gate, Posture, bearer, gate
from tests.tokens import AUDIENCE, claims

CLOSED = Posture(careful=True, fail_open=False)
POLICIES = """
role_rules:
  - {id: allow-anonymous, sub: anonymous, dom: "*", obj: "site:use", act: "*", effect: allow}
resources:
  - {name: "site:use", serviceName: site, routes: [{methods: ["*"], path: "/", authentication: optional}]}
  - {name: "vault:open", serviceName: bank, routes: [{methods: [GET], path: /vault}]}
  - {name: "mail:read", serviceName: post, routes: [{methods: [GET], path: /mail}]}
  - {name: "desk:use", serviceName: office, routes: [{methods: [GET], path: /desk}]}
attribute_policies:
  - id: until
    name: While the permission lasts
    resource: "vault:open"
    effect: allow
    rule_data:
      {type: CONDITION, attribute: user.until, as: time, operator: gt, value: {attribute: env.time}}
  - id: mail
    name: With the scope and the group
    resource: "mail:read"
    effect: allow
    format: casbin
    rule_data: '"mail" in words(user.scope) && "staff" in user["cognito:groups"]'
  - id: own
    name: From the address that the token names
    resource: "desk:use"
    effect: allow
    format: casbin
    rule_data: 'ip(user["https://example.com/address"]) == request.source.address'
"""


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    folder = tmp_path_factory.mktemp("readings")
    (folder / "conditions").mkdir()
    (folder / "conditions" / "all.yaml").write_text(POLICIES)
    with gate(folder, POLICY_SOURCE=f"files:{folder / 'conditions'}") as found:
        yield found


def asked(door: Gate, target: bytes, **said: object) -> int:
    now = int(time.time())
    usual = {"iss": door.provider.issuer, "aud": AUDIENCE, "iat": now - 5, "exp": now + 600}
    return door.send(CLOSED, target, bearer(EC.sign(claims(**usual, **said)))).status


def test_a_time_in_a_claim_decides_until_it_is_over(door: Gate) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    assert asked(door, b"/vault", until=(now + timedelta(hours=1)).isoformat()) == ALLOWED
    assert asked(door, b"/vault", until=(now - timedelta(seconds=1)).isoformat()) == DENIED
    for unknown in ("2099-01-31", 4_000_000_000, ["2099-01-31T08:00:00Z"], "", "never"):
        assert asked(door, b"/vault", until=unknown) == DENIED
    assert asked(door, b"/vault") == DENIED


def test_words_of_a_scope_and_a_group_under_a_name_with_a_colon(door: Gate) -> None:
    staff = {"cognito:groups": ["staff"]}
    assert asked(door, b"/mail", scope="openid mail", **staff) == ALLOWED
    assert asked(door, b"/mail", scope="openid email", **staff) == DENIED
    assert asked(door, b"/mail", scope=["mail"], **staff) == DENIED
    assert asked(door, b"/mail", scope="openid mail") == DENIED


def test_an_address_in_a_claim_under_a_name_with_slashes(door: Gate) -> None:
    name = "https://example.com/address"
    for own in ("127.0.0.1", "::ffff:127.0.0.1", "::FFFF:7f00:1"):
        assert asked(door, b"/desk", **{name: own}) == ALLOWED
    for other in ("127.0.0.2", "127.0.0.01", "127.0.0.1:80", "localhost", ["127.0.0.1"]):
        assert asked(door, b"/desk", **{name: other}) == DENIED
