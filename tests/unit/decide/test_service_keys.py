"""A service key is judged against the published keys and the time, nothing else."""

from typing import Any

import pytest

from extauthz.decide.service_keys import bearer_of
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.service_key import IdentityKey, key_text, secret_digest

ID = "sak_01931f3c-8d5a-7c3e-9a51-0f6f2f5b7c11"
SECRET = bytes(range(32))
KEY = key_text(ID, SECRET)
NOW = 1_800_000_000.0


def published(**members: Any) -> dict[str, IdentityKey]:
    usual: dict[str, Any] = {"id": ID, "tenant": "acme", "digest": secret_digest(SECRET)}
    return {ID: IdentityKey(**(usual | members))}


def test_the_bearer_of_a_key_is_a_service_named_by_its_id() -> None:
    assert bearer_of(KEY, published(domain="finance"), NOW) == Principal(
        kind=PrincipalKind.SERVICE,
        id=ID,
        tenant="acme",
        domain="finance",
        roles=(),
        authentication=Authentication.API_KEY,
    )


@pytest.mark.parametrize(("now", "good"), [(NOW - 0.001, True), (NOW, False), (NOW + 1, False)])
def test_a_key_ends_at_its_time_with_no_change_published(now: float, good: bool) -> None:
    assert (bearer_of(KEY, published(expires_at=NOW), now) is not None) is good


@pytest.mark.parametrize(
    "presented",
    [
        "",
        "x",
        ID,
        KEY[:-1],
        KEY + "0",
        KEY.upper(),
        f" {KEY}",
        key_text(ID, bytes(32)),
        "sak_live_" + "0" * 97,
    ],
)
def test_any_other_text_than_the_key_proves_no_principal(presented: str) -> None:
    assert bearer_of(presented, published(), NOW) is None


def test_an_unpublished_key_proves_no_principal() -> None:
    assert bearer_of(KEY, {}, NOW) is None
