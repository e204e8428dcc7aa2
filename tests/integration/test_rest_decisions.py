"""`GET /api/v1/decisions/{id}`: recorded decisions, explained on the policies that made them."""

from typing import TYPE_CHECKING, Any

import pytest

from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.verdict import Rule, RuleKind
from extauthz.recording.shape import FOLDED, Shape
from extauthz.storage.recording_senders import BatchPart
from extauthz.storage.recordings import RecordingStore
from tests.integration.rest_harness import Api, rest, rule
from tests.integration.test_rest_explain import POLICIES, RULES, condition, policy, written
from tests.recording_parts import INSTANCE, counted, decision_id, shape

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
DECISIONS = "/api/v1/decisions"
ORDERS = {
    "name": "shop:orders", "displayName": "orders", "serviceName": "shop",
    "routes": [{"methods": ["GET"], "path": "/orders/{id}", "action": "read"}],
}  # fmt: skip
ON_ORDERS = {"dom": "*", "obj": "shop:orders", "act": "read"}

Document = dict[str, Any]


async def recorded(api: Api, *shapes: Shape, revision: int) -> list[str]:
    """Store one decision of each shape; return their ids."""
    store = RecordingStore(api.services.pool, lambda _tenant: frozenset({"user.level"}))
    counts = [
        counted(each, revision=revision, number=100 + 10 * number) for number, each in enumerate(shapes)
    ]
    await store.add("default", BatchPart(INSTANCE, 1, counts))
    return [decision_id(100 + 10 * number) for number in range(len(shapes))]


async def explained(api: Api, name: str, *, caller: str = "key") -> Document:
    body = (await api.get(f"{DECISIONS}/{name}", caller=caller)).succeeded(200).body
    assert isinstance(body, dict)
    return body


def with_slots(given: Shape, **slots: str) -> Shape:
    texts = dict(given.slots) | {name.replace("__", "."): text for name, text in slots.items()}
    return given._replace(slots=tuple(sorted(texts.items())))


async def test_a_recorded_decision_is_explained_on_its_revision(database: "Database") -> None:
    async with rest(database) as api:
        (await api.post("/api/v1/resources", ORDERS)).succeeded(201)
        rule_id, revision = await written(api, RULES, rule(sub="reader", **ON_ORDERS))
        (name,) = await recorded(api, shape(rule=Rule(rule_id, RuleKind.ROLE)), revision=revision)
        gone = (await api.delete(f"{RULES}/{rule_id}")).succeeded(204)
        assert await api.services.wait_for("default", gone.revision, 5)
        body = await explained(api, name)
        assert (body["decision"], body["matched_rule_id"], body["agrees"], body["certain"]) == (
            "allow", rule_id, True, True,
        )  # fmt: skip
        assert body["recorded"]["decision_id"] == name
        assert (body["policies"]["revision"], body["policies"]["matches"]) == (revision, True)
        assert body["principal"] == {"id": "alice", "kind": "user", "domain": "sales", "roles": ["reader"]}
        assert body["target"] == {
            "resource": "shop:orders", "action": "read", "parameters": {"id": "7"},
        }  # fmt: skip
        assert body["roles"] == [{"role": "reader", "from_credential": True, "bindings": []}]


async def test_what_was_not_recorded_or_folded_is_named(database: "Database") -> None:
    async with rest(database) as api:
        (await api.post("/api/v1/resources", ORDERS)).succeeded(201)
        levels = policy(condition("user.level", "gte", 3), resource="shop:orders")
        policy_id, revision = await written(api, POLICIES, levels)
        denied = shape(effect=Effect.DENY, reason=Reason.NO_MATCHING_RULE, rule=None)
        names = await recorded(
            api,
            denied,
            with_slots(denied, user__level=FOLDED),
            with_slots(denied, user__level="2"),
            with_slots(shape(subject=None), user__id=FOLDED, user__level="2")._replace(
                effect=Effect.DENY, reason=Reason.NO_MATCHING_RULE, rule=None
            ),
            revision=revision,
        )
        for name in names[:2]:
            body = await explained(api, name)
            assert (body["certain"], body["agrees"]) == (False, None)
            (candidate,) = body["candidates"]
            assert candidate["condition"]["conditions"][0]["saw"] == [
                {"attribute": "user.level", "state": "not_recorded"}
            ]
        known = await explained(api, names[2])
        assert (known["certain"], known["agrees"], known["near_miss"]["id"]) == (True, True, policy_id)
        assert known["near_miss"]["failed"][0]["saw"][0]["value"] == 2


async def test_a_refused_credential_has_its_reason(database: "Database") -> None:
    async with rest(database) as api:
        (await api.post("/api/v1/resources", ORDERS)).succeeded(201)
        _, revision = await written(api, RULES, rule(sub="reader", **ON_ORDERS))
        refused = shape(
            subject=None, credential="refused", kind=None, authentication=None, token_tenant=None,
            domain=None, own_roles=(), effect=Effect.DENY, reason=Reason.TOKEN_EXPIRED, rule=None,
        )  # fmt: skip
        (name,) = await recorded(api, refused, revision=revision)
        body = await explained(api, name)
        assert (body["decision"], body["reason"], body["candidates"]) == ("deny", "token_expired", [])
        assert body["agrees"] is True


async def test_other_ids_are_not_recorded(database: "Database") -> None:
    async with rest(database) as api:
        _, revision = await written(api, RULES, rule())
        await recorded(api, shape(), revision=revision)
        for name in (
            decision_id(7),
            "01900000-0000-7000-8000-000000000001",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-7fff-bfff-ffffffffffff",
        ):
            answer = (await api.get(f"{DECISIONS}/{name}")).problem(404)
            assert "post its line to /api/v1/explain" in answer["detail"]
        for name in ("x", "%00", "01900000-0000-7000-8000-00000000000G", decision_id(7).upper()):
            (await api.get(f"{DECISIONS}/{name}")).problem(404)


async def test_domain_admins_find_decisions_of_their_domains_only(database: "Database") -> None:
    async with rest(database) as api:
        (await api.post("/api/v1/resources", ORDERS)).succeeded(201)
        rule_id, revision = await written(api, RULES, rule(sub="reader", **ON_ORDERS))
        by = Rule(rule_id, RuleKind.ROLE)
        here, there, without = await recorded(
            api,
            shape(domain="emea", rule=by),
            shape(domain="apac", rule=by),
            shape(domain=None, rule=by),
            revision=revision,
        )
        body = await explained(api, here, caller="emea")
        assert body["decision"] == "allow"
        (candidate,) = body["candidates"]
        assert "subject" not in candidate
        for name in (there, without):
            (await api.get(f"{DECISIONS}/{name}", caller="emea")).problem(404)
            await explained(api, name, caller="tenant")
        (await api.get(f"{DECISIONS}/{here}", caller="alice")).problem(403)


async def test_a_revision_that_is_not_kept_is_said_to_be_so(database: "Database") -> None:
    async with rest(database) as api:
        _, revision = await written(api, RULES, rule())
        (name,) = await recorded(api, shape(), revision=revision + 7)
        answer = (await api.get(f"{DECISIONS}/{name}")).problem(404)
        assert f"revision {revision + 7}" in answer["detail"]
