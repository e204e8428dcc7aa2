"""Assertions in answers: cached by everything that they say, renewed in time, and left out where they are."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.check import envoy_response
from extauthz.check.assertions import Assertions
from extauthz.check.forwarded_headers import Forwarder
from extauthz.domain.forwarding import Forwarding
from extauthz.domain.principal import ANONYMOUS, PrincipalKind
from extauthz.domain.verdict import Allowed, PolicyVersion, Rule, RuleKind
from extauthz.keys.assertion_keys import AssertionKey, read_assertion_keys
from tests.builders import ALICE, READ_INVOICE, read_answer, request_facts

NOW = 1_800_000_000.5
USUAL = Allowed(
    "id", Rule("r", RuleKind.ROLE), ALICE, ("finance",), READ_INVOICE, PolicyVersion(), request_facts()
)


class Signers:
    """A source of a key that counts its uses, and may have none."""

    def __init__(self, *, has_key: bool = True) -> None:
        private = ed25519.Ed25519PrivateKey.generate()
        found = read_assertion_keys(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        assert isinstance(found, tuple)
        self.key: AssertionKey | None = found[0] if has_key else None
        self.asked = 0

    def signer(self) -> AssertionKey | None:
        self.asked += 1
        return self.key


def asserted(forwarder: Forwarder, verdict: Allowed, now: float = NOW) -> str | None:
    answer = read_answer(envoy_response.write(verdict, forwarder, now))
    token = answer.headers.get("x-auth-assertion")
    assert ("x-auth-assertion" in answer.removed) is (token is None)
    return token


def said(token: str | None) -> dict[str, Any]:
    assert token is not None
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def test_an_assertion_names_the_caller_and_the_service() -> None:
    found = said(asserted(Forwarder(assertions=Assertions("mesh", Signers())), USUAL))
    expected = {"iss": "mesh", "aud": "billing", "sub": ALICE.id, "kind": "user", "tenant": "default"}
    expected |= {} if ALICE.domain is None else {"domain": ALICE.domain}
    times = {"iat": int(NOW), "exp": int(NOW) + 60}
    assert found == expected | times | {"roles": ["finance"]}


def test_everything_that_it_says_makes_another_one() -> None:
    others = [
        USUAL,
        USUAL._replace(principal=replace(ALICE, id="bob")),
        USUAL._replace(principal=replace(ALICE, kind=PrincipalKind.SERVICE)),
        USUAL._replace(principal=replace(ALICE, kind=PrincipalKind.WORKLOAD)),
        USUAL._replace(principal=replace(ALICE, domain="elsewhere")),
        USUAL._replace(roles=("finance", "admin")),
        USUAL._replace(roles=()),
        USUAL._replace(target=READ_INVOICE._replace(service="ledger")),
        USUAL._replace(target=READ_INVOICE._replace(tenant="globex")),
        USUAL._replace(principal=ANONYMOUS, roles=("anonymous",)),
    ]
    signers = Signers()
    forwarder = Forwarder(assertions=Assertions("mesh", signers))
    tokens = [asserted(forwarder, verdict) for verdict in others]
    assert len(set(tokens)) == len(others)
    # What it does not say makes none: resource, action, request, decision.
    same = USUAL._replace(decision_id="other", target=READ_INVOICE._replace(resource="x", action="y"))
    assert asserted(forwarder, same) == tokens[0]
    assert [asserted(forwarder, verdict) for verdict in others] == tokens
    assert signers.asked == len(others)


def test_it_is_used_again_for_half_a_minute_and_not_under_an_earlier_clock() -> None:
    signers = Signers()
    forwarder = Forwarder(assertions=Assertions("mesh", signers))
    first = asserted(forwarder, USUAL)
    assert asserted(forwarder, USUAL, NOW + 29.4) == first
    renewed = asserted(forwarder, USUAL, NOW + 29.5)
    assert said(renewed)["exp"] == int(NOW + 29.5) + 60
    # The clock is put back: an assertion from the future is not given.
    assert said(asserted(forwarder, USUAL, NOW - 3600))["iat"] == int(NOW - 3600)


@pytest.mark.parametrize("of", ["provider", "resource", "no service", "no key"])
def test_it_is_left_out_and_the_header_removed(of: str) -> None:
    without = Forwarding(assertion=False)
    verdict = USUAL
    match of:
        case "provider":
            verdict = USUAL._replace(principal=replace(ALICE, forwarding=without))
        case "resource":
            verdict = USUAL._replace(target=READ_INVOICE._replace(forwarding=without))
        case "no service":
            verdict = USUAL._replace(target=READ_INVOICE._replace(service=None))
    signers = Signers(has_key=of != "no key")
    forwarder = Forwarder(assertions=Assertions("mesh", signers))
    assert asserted(forwarder, verdict) is None
    assert asserted(forwarder, verdict) is None
    if of == "no key":
        signers.key = Signers().key
        assert asserted(forwarder, verdict) is not None


def test_it_comes_together_with_headers_from_claims() -> None:
    forwarder = Forwarder(["x-user-id"], assertions=Assertions("mesh", Signers()))
    mapped = READ_INVOICE._replace(forwarding=Forwarding((("x-user-id", "user.id"),)))
    for verdict in (USUAL._replace(target=mapped), USUAL):
        answer = read_answer(envoy_response.write(verdict, forwarder, NOW))
        assert "x-auth-assertion" in answer.headers
        assert ("x-user-id" in answer.headers) is (verdict is not USUAL)
        assert ("x-user-id" in answer.removed) is (verdict is USUAL)


def test_too_many_roles_are_left_out() -> None:
    verdict = USUAL._replace(roles=tuple(f"role-{number:04}" for number in range(500)))
    found = said(asserted(Forwarder(assertions=Assertions("mesh", Signers())), verdict))
    assert found["roles_truncated"] is True
    assert "roles" not in found
