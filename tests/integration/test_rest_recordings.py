"""`POST /sidecar-recordings`, `GET /api/v1/recordings` and erasures, over REST and PostgreSQL."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.compile.documents.policy_documents import Reading
from extauthz.domain.tenancy import TenancyMode
from extauthz.recording.documents import BatchWriter, Counted
from extauthz.recording.shape import Shape, literal
from extauthz.rest.draft_attributes import DraftAttributes
from extauthz.rest.recording import Recording
from tests.integration.rest_harness import Answer, Api, rest
from tests.integration.rest_saas import firms
from tests.integration.test_sidecar_reports import follower
from tests.recording_parts import HOUR, INSTANCE, counted, shape

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio

BATCHES, RECORDINGS = "/sidecar-recordings", "/api/v1/recordings"
DRAFTS, POLICIES = "/api/v1/drafts", "/api/v1/abac/policies"


def batch(*counts: Counted, number: int = 1) -> dict[str, Any]:
    """Return a batch as a worker writes it, read again as JSON."""
    writer = BatchWriter(INSTANCE)
    for one in counts:
        assert writer.add(one) is None
    document = writer.finish()
    assert document is not None
    return dict(json.loads(json.dumps(document | {"number": number})))


async def send(api: Api, document: object, caller: str = "sidecar") -> Answer:
    return await api.post(BATCHES, document, caller=caller)


async def recordings(api: Api, caller: str = "tenant") -> Any:
    return (await api.get(RECORDINGS, caller=caller)).succeeded(200).body


async def test_a_batch_is_acknowledged_and_counts_once(database: "Database") -> None:
    async with rest(database) as api:
        await follower(api)
        document = batch(counted(shape(), 3), counted(shape("bob"), 2))
        for _ in range(2):
            assert (await send(api, document)).succeeded(200).body == {"attributes": {}}
        (await send(api, batch(counted(shape(), 1), number=2) | {"more": "of a later version"})).succeeded(
            200
        )

        found = await recordings(api)
        assert (found["shapes"], found["requests"], found["lost"]) == (2, 6, 0)
        assert found["recording"] is True
        assert found["since"] is not None
        assert [day["folded"] for day in found["days"]] == [[]]


async def test_the_answer_names_attributes_of_drafts_and_of_the_setting(database: "Database") -> None:
    async with rest(database) as api:
        services = api.services
        drafts = DraftAttributes(services.pool, Reading(), services.clock)
        recording = Recording(always=frozenset({"user.team"}), drafts=drafts)
        object.__setattr__(services, "recording", recording)
        await follower(api)
        draft = (await api.post(DRAFTS, {"title": "stricter"})).succeeded(201).body["id"]
        policy = {
            "name": "level",
            "resource": "invoice:read",
            "actions": ["*"],
            "domain": "*",
            "effect": "deny",
            "rule_data": {"type": "CONDITION", "attribute": "user.level", "operator": "lt", "value": 3},
        }
        (await api.post(f"{POLICIES}?draft={draft}", policy)).succeeded(201)

        answer = (await send(api, batch(counted(shape())))).succeeded(200).body
        assert answer == {"attributes": {"default": ["user.level", "user.team"]}}
        assert (await recordings(api))["attributes"] == ["user.level", "user.team"]


async def test_callers_see_what_they_may(database: "Database") -> None:
    async with rest(database) as api:
        await follower(api)
        (await send(api, batch(counted(shape(domain="emea"), 3), counted(shape(), 4)))).succeeded(200)
        made = (
            await api.post("/api/v1/service-api-keys", {"name": "a", "scopes": ["audit:read"]})
        ).succeeded(201)
        api.callers["auditor"] = {"X-Service-Api-Key": made.body["key"]}

        assert (await recordings(api, "tenant"))["requests"] == 7
        assert (await recordings(api, "auditor"))["requests"] == 7
        assert (await recordings(api, "emea"))["requests"] == 3
        for caller in ("alice", "sidecar"):
            (await api.get(RECORDINGS, caller=caller)).problem(403)


async def test_a_subject_is_erased_and_the_audit_trail_does_not_name_it(database: "Database") -> None:
    async with rest(database) as api:
        await follower(api)
        document = batch(counted(shape("alice@example.com"), 3), counted(shape("bob"), 2))
        (await send(api, document)).succeeded(200)

        erased = await api.post(f"{RECORDINGS}/erasures", {"subject": "alice@example.com"}, caller="tenant")
        assert erased.succeeded(200).body == {"shapes": 1}
        again = await api.post(f"{RECORDINGS}/erasures", {"subject": "alice@example.com"}, caller="tenant")
        assert again.succeeded(200).body == {"shapes": 0}
        (await api.post(f"{RECORDINGS}/erasures", {"subject": "bob"}, caller="emea")).problem(403)
        (await api.post(f"{RECORDINGS}/erasures", {"subject": ""}, caller="tenant")).problem(422)
        assert (await recordings(api))["requests"] == 5
        trail = (await api.get("/api/v1/audit?kind=recordings", caller="tenant")).succeeded(200)
        assert [event["after"] for event in trail.body["items"]] == [{"shapes": 0}, {"shapes": 1}]
        assert "alice@example.com" not in trail.raw.decode()


async def test_a_key_records_for_its_own_tenant(database: "Database") -> None:
    async with firms(database, "acme", "globex") as found:
        api = found.api
        body = {"name": "sidecars", "scopes": ["policies:follow"]}
        made = (await api.post("/api/v1/service-api-keys", body, caller="acme/key")).succeeded(201).body
        api.callers["sidecar"] = {"X-Service-Api-Key": made["key"]}
        of_all = (
            (await api.post("/admin/sidecar-keys", {"name": "all"}, caller="operator")).succeeded(201).body
        )
        api.callers["all"] = {"X-Service-Api-Key": of_all["key"]}
        own, other = counted(shape(tenant="acme")), counted(shape(tenant="globex"), 2)

        (await send(api, batch(own, other))).problem(403)
        (await send(api, batch(own))).succeeded(200)
        nowhere = counted(shape(tenant="no-such-tenant"))
        (await send(api, batch(own, other, nowhere, number=2), caller="all")).succeeded(200)
        assert (await send(api, batch(own), caller="acme/key")).status == 200
        assert (await send(api, batch(own), caller="operator")).status == 401

        assert (await recordings(api, "acme/key"))["requests"] == 2
        assert (await recordings(api, "globex/key"))["requests"] == 2


async def test_hours_that_are_far_away_are_left_out(database: "Database") -> None:
    async with rest(database) as api:
        await follower(api)
        hours = (HOUR, HOUR - 24 * 30, HOUR + 24 * 30, 0)
        (await send(api, batch(*(counted(shape(), 1, hour) for hour in hours)))).succeeded(200)

        assert (await recordings(api))["requests"] == 1


async def test_record_off_takes_no_batches(database: "Database") -> None:
    async with rest(database, recording=Recording(takes_batches=False)) as api:
        await follower(api)
        (await send(api, batch(counted(shape())))).problem(404)
        assert (await recordings(api))["recording"] is False


def changed(change: Callable[[Any], object]) -> dict[str, Any]:
    document = batch(counted(shape()))
    change(document)
    return document


def context(**members: object) -> Callable[[Any], object]:
    return lambda document: document["contexts"][0].update(members)


def row(**members: object) -> Callable[[Any], object]:
    return lambda document: document["shapes"][0].update(members)


BAD: list[tuple[str, Callable[[Any], object]]] = [
    ("/instance", lambda document: document.update(instance="x")),
    ("/number", lambda document: document.update(number=0)),
    ("/number", lambda document: document.update(number=True)),
    ("/contexts", lambda document: document.update(contexts=None)),
    ("/shapes", lambda document: document.update(shapes={})),
    ("/contexts/0/tenant", context(tenant="Not A Slug")),
    ("/contexts/0/entrance", context(entrance="rest")),
    ("/contexts/0/credential", context(credential="stolen")),
    ("/contexts/0/kind", context(kind=None)),
    ("/contexts/0/kind", context(credential="none")),
    ("/contexts/0/template", context(template="/orders/{id")),
    ("/contexts/0/template", context(template="orders")),
    ("/contexts/0/own_roles/0", context(own_roles=["a\nb"])),
    ("/contexts/0/reason", context(reason="because")),
    ("/contexts/0/rule/kind", context(rule={"id": "r", "kind": "none"})),
    ("/contexts/0/slots", context(slots=["user.id"])),
    ("/contexts/0/slots", context(slots=["user.id", "{id}", "user.id"])),
    ("/contexts/0/slots/0", context(slots=["token", "user.id", "{id}"])),
    ("/contexts/0/fixed", context(fixed={})),
    ("/contexts/0/fixed/request.host", context(fixed={"request.host": "no JSON"})),
    ("/shapes/0/context", row(context=1)),
    ("/shapes/0/slots", row(slots=['"alice"'])),
    ("/shapes/0/slots/0", row(slots=["alice", '"7"'])),
    ("/shapes/0/slots/0", row(slots=['"a\nb"', '"7"'])),
    ("/shapes/0/slots/1", row(slots=['"alice"', json.dumps("x" * 2000)])),
    ("/shapes/0/slots/0", row(slots=[7, '"7"'])),
    ("/shapes/0/hour", row(hour="2026-13-01T00")),
    ("/shapes/0/hour", row(hour=None)),
    ("/shapes/0/requests", row(requests=0)),
    ("/shapes/0/requests", row(requests=2**63)),
    ("/shapes/0/last_revision", row(last_revision=0)),
    ("/shapes/0/decisions/0/id", row(decisions=[{"id": "x", "revision": 1}])),
    ("/shapes/0/decisions", row(decisions=[{"id": INSTANCE, "revision": 1}] * 17)),
]


async def test_an_invalid_batch_is_refused_with_the_place(database: "Database") -> None:
    async with rest(database) as api:
        await follower(api)
        for pointer, change in BAD:
            problem = (await send(api, changed(change))).problem(422)
            assert [each["pointer"] for each in problem["errors"]] == [pointer], (pointer, problem)
        documents: tuple[object, ...] = ([], "x", 7)
        for document in documents:
            assert (await send(api, document)).status in {400, 422}
        (await send(api, batch(counted(shape())), caller="alice")).problem(401)
        assert (await recordings(api))["requests"] == 0


async def test_values_of_every_kind_are_stored_as_they_are(database: "Database") -> None:
    async with rest(database, mode=TenancyMode.SELFHOST) as api:
        await follower(api)

        def with_claim(value: object) -> Shape:
            given = shape()
            return given._replace(slots=tuple(sorted((*given.slots, ("user.claim", literal(value))))))

        values = ("a", 'q"\\\n\0', "é漢\u2028", True, 3, 10**30, ("a", 1), {"a": {"b": None}}, None)
        document = batch(*(counted(with_claim(value)) for value in values))
        (await send(api, document)).succeeded(200)

        assert (await recordings(api))["shapes"] == len(values)
