"""AuthZEN's searches: known subjects and actions, what is permitted of them, pages, and whose they are."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.domain.reasons import Reason
from extauthz.recording.documents import Counted
from extauthz.recording.shape import HOST, METHOD, PATH, PEER, SUBJECT, Shape
from extauthz.storage.recording_senders import BatchPart
from extauthz.storage.recordings import RecordingStore
from tests.integration.authzen_scenario import write_scenario
from tests.integration.rest_harness import Api, rest, rule
from tests.integration.rest_saas import firms
from tests.integration.test_authzen_callers import key
from tests.user_shapes import user_shape

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
SUBJECTS = "/access/v1/search/subject"
ACTIONS = "/access/v1/search/action"
ONE = "/access/v1/evaluation"
RECORD = {"type": "record", "id": "record-1"}


def subjects(action: str = "read", **more: Any) -> dict[str, Any]:
    return {"subject": {"type": "user"}, "action": {"name": action}, "resource": RECORD} | more


def actions(subject: str, **more: Any) -> dict[str, Any]:
    return {"subject": {"type": "user", "id": subject}, "resource": RECORD} | more


async def found(api: Api, path: str, asked: object, caller: str = "key") -> list[Any]:
    body = (await api.post(path, asked, caller=caller)).succeeded(200).body
    assert list(body) == ["page", "results"]
    assert body["page"]["count"] == len(body["results"])
    results: list[Any] = body["results"]
    return results


async def every_page(
    api: Api, path: str, asked: dict[str, Any], limit: int, caller: str = "key"
) -> list[Any]:
    results: list[Any] = []
    page: dict[str, Any] = {"limit": limit}
    while True:
        body = (await api.post(path, asked | {"page": page}, caller=caller)).succeeded(200).body
        assert len(body["results"]) <= limit
        results += body["results"]
        if not body["page"]["next_token"]:
            return results
        page = {"token": body["page"]["next_token"]}


async def bound(api: Api, *members: tuple[str, str, str], kind: str = "user", caller: str = "key") -> None:
    revision = 0
    for user, role, domain in members:
        binding = {"user": user, "user_kind": kind, "role": role, "dom": domain}
        revision = (await api.post("/api/v1/role-bindings", binding, caller=caller)).succeeded(201).revision
    assert await api.services.wait_for("default", revision, 10)


async def test_subjects_of_bindings_that_may(database: "Database") -> None:
    async with rest(database) as api:
        await write_scenario(api)
        await bound(api, ("carol", "guest", "*"), ("dave", "reader", "emea"), ("dave", "reader", "apac"))
        await bound(api, ("svc", "reader", "*"), kind="service")
        alice, bob = ({"type": "user", "id": name} for name in ("alice", "bob"))
        daves = [{"type": "user", "id": "dave", "properties": {"domain": each}} for each in ("apac", "emea")]
        assert await found(api, SUBJECTS, subjects()) == [alice, bob, *daves]
        assert await found(api, SUBJECTS, subjects("write")) == [alice]
        assert await found(api, SUBJECTS, subjects("burn")) == []
        assert await found(api, SUBJECTS, subjects(subject={"type": "spaceship"})) == []
        assert await found(api, SUBJECTS, subjects(subject={"type": "user", "id": 5})) == [alice, bob, *daves]
        assert await found(api, SUBJECTS, subjects(subject={"type": "service"})) == [
            {"type": "service", "id": "svc"}
        ]
        archived = RECORD | {"properties": {"status": "archived"}}
        assert await found(api, SUBJECTS, subjects("write", resource=archived)) == []
        admins = {"type": "user", "properties": {"role": "admin"}}
        asked = subjects("write", resource=archived, subject=admins, context={"x": 1})
        assert {each["id"] for each in await found(api, SUBJECTS, asked)} == {"alice", "bob", "carol", "dave"}
        in_emea = {"type": "user", "properties": {"domain": "emea"}}
        assert [each["id"] for each in await found(api, SUBJECTS, subjects(subject=in_emea))] == [
            "alice",
            "bob",
            "dave",
        ]
        for result in await found(api, SUBJECTS, subjects()):
            asked = {"subject": result, "action": {"name": "read"}, "resource": RECORD}
            assert (await api.post(ONE, asked)).succeeded(200).body["decision"] is True


async def test_actions_that_a_subject_may_do(database: "Database") -> None:
    async with rest(database) as api:
        revision = await write_scenario(api)
        for obj, act in (("invoice:read", "read"), ("invoice:pay", "pay"), ("invoicex:no", "no")):
            document = rule(sub="reader", dom="*", obj=obj, act=act)
            revision = (await api.post("/api/v1/resources/policies", document)).succeeded(201).revision
        assert await api.services.wait_for("default", revision, 10)
        assert await found(api, ACTIONS, actions("alice")) == [{"name": "read"}, {"name": "write"}]
        assert await found(api, ACTIONS, actions("bob")) == [{"name": "read"}]
        assert await found(api, ACTIONS, actions("bob", action={"name": 5}, context={})) == [{"name": "read"}]
        assert await found(api, ACTIONS, actions("nonexistent-user")) == []
        invoice = {"resource": {"type": "invoice", "id": "1"}}
        assert await found(api, ACTIONS, actions("bob", **invoice)) == [{"name": "pay"}, {"name": "read"}]
        assert await found(api, ACTIONS, actions("alice", **invoice)) == []
        assert await found(api, ACTIONS, actions("bob", resource={"type": "nothing", "id": "1"})) == []
        assert await every_page(api, ACTIONS, actions("bob", **invoice), 1) == [
            {"name": "pay"},
            {"name": "read"},
        ]
        subject = {"type": "user", "id": "bob", "properties": {"role": "admin"}}
        archived = RECORD | {"properties": {"status": "archived"}}
        asked = {"subject": subject, "resource": archived}
        assert await found(api, ACTIONS, asked) == [{"name": "read"}, {"name": "write"}]
        lines = api.log.read_text()
        assert '"entrance":"authzen"' not in lines


async def test_recorded_principals_are_known(database: "Database") -> None:
    async with rest(database) as api:
        await write_scenario(api)
        await recorded(
            api, "default", [("rita", "emea", ["reader"]), ("rolf", "emea", []), ("ruth", None, ["reader"])]
        )
        ids = [
            (each["id"], each.get("properties", {}).get("domain"))
            for each in await found(api, SUBJECTS, subjects())
        ]
        assert ids == [("alice", None), ("bob", None), ("rita", "emea"), ("ruth", None)]
        api.callers["emea"] = await key(api, "check", "policies:read", domain="emea")
        assert [each["id"] for each in await found(api, SUBJECTS, subjects(), "emea")] == ["rita"]
        assert "reader" not in (await api.post(SUBJECTS, subjects(), caller="emea")).raw.decode()
        erased = await api.post("/api/v1/recordings/erasures", {"subject": "rita"})
        assert erased.succeeded(200).body == {"shapes": 1}
        assert await found(api, SUBJECTS, subjects(), "emea") == []


def shape_of(tenant: str, subject: str, domain: str | None, roles: tuple[str, ...]) -> Shape:
    slots = {SUBJECT: f'"{subject}"', HOST: '"app.example"', METHOD: '"GET"', PEER: "absent", PATH: '"/"'}
    return user_shape(
        slots,
        tenant=tenant,
        token_tenant=tenant,
        domain=domain,
        own_roles=roles,
        reason=Reason.UNMAPPED_ROUTE,
    )


async def recorded(api: Api, tenant: str, principals: list[tuple[str, str | None, list[str]]]) -> None:
    """Record a request of each principal, as a sidecar does."""
    hour = int(datetime.now(UTC).timestamp()) // 3600
    counted = [
        Counted(shape_of(tenant, name, domain, tuple(roles)), hour, 1, 1, 1, ())
        for name, domain, roles in principals
    ]
    store = RecordingStore(api.services.pool, lambda _: frozenset())
    await store.add(tenant, BatchPart("00000000-0000-4000-8000-000000000001", 1, counted))


async def test_pages_are_of_one_question(database: "Database") -> None:
    async with rest(database) as api:
        await write_scenario(api)
        await bound(api, *((f"u{number:02}", "reader", "*") for number in range(7)))
        everyone = await found(api, SUBJECTS, subjects())
        assert len(everyone) == 9
        for limit in (1, 2, 3, 8, 9, 10):
            assert await every_page(api, SUBJECTS, subjects(), limit) == everyone
        first = (await api.post(SUBJECTS, subjects(page={"limit": 2, "x": 1, "properties": {}}))).body
        token = first["page"]["next_token"]
        again = subjects(page={"token": token, "limit": 2})
        assert (await api.post(SUBJECTS, again)).succeeded(200).body["results"] == everyone[2:4]
        for page in (
            {"token": ""},
            {"token": 1},
            {"token": None},
            {"token": token[:-4] + "AAAA"},
            {"token": token + "="},
            {"token": "x" * 10_000},
            {"token": token, "limit": 3},
            {"limit": -1},
            {"limit": True},
            {"limit": "1"},
            {"limit": 1.5},
            {"properties": 1},
            {"token": "\u00e9"},
        ):
            (await api.post(SUBJECTS, subjects(page=page))).problem(400)
        (await api.post(SUBJECTS, subjects(page=[]))).problem(400)
        for other in (
            subjects("write"),
            subjects(resource={"type": "record", "id": "2"}),
            subjects(context={}),
            subjects(subject={"type": "service"}),
        ):
            (await api.post(SUBJECTS, other | {"page": {"token": token}})).problem(400)
        (await api.post(ACTIONS, actions("bob", page={"token": token}))).problem(400)
        nothing = (await api.post(SUBJECTS, subjects(page={"limit": 0}))).succeeded(200).body
        assert nothing["results"] == []
        assert nothing["page"]["next_token"]
        for wrong, pointer in (
            ({"subject": {"type": "user"}, "resource": RECORD}, "/action"),
            ({"action": {"name": "read"}, "resource": RECORD}, "/subject"),
            (subjects(resource={"type": "record"}), "/resource/id"),
            (subjects(subject={}), "/subject/type"),
        ):
            answer = await api.post(SUBJECTS, wrong)
            answer.problem(400)
            assert pointer in answer.pointers
        bad: tuple[tuple[Any, str], ...] = (
            ({"subject": {"type": "user", "id": "bob"}}, "/resource"),
            ({"subject": {"type": "user"}, "resource": RECORD}, "/subject/id"),
            ([], ""),
        )
        for wrong, pointer in bad:
            answer = await api.post(ACTIONS, wrong)
            answer.problem(400)
            assert pointer in answer.pointers


async def test_callers_of_searches_and_the_subjects_they_see(database: "Database") -> None:
    async with rest(database) as api:
        await write_scenario(api)
        await bound(api, ("erik", "reader", "emea"), ("anna", "reader", "apac"))
        for name, scopes, more in (
            ("check", ("check",), {}),
            ("read", ("policies:read",), {}),
            ("both", ("check", "policies:read"), {}),
            ("emea both", ("check", "policies:read"), {"domain": "emea"}),
        ):
            api.callers[name] = await key(api, *scopes, **more)
        for caller in ("alice", "tenant", "emea", "check", "read", "nobody"):
            (await api.post(SUBJECTS, subjects(), caller=caller)).problem(401 if caller == "nobody" else 403)
        for caller in ("alice", "tenant", "read", "nobody"):
            (await api.post(ACTIONS, actions("alice"), caller=caller)).problem(
                401 if caller == "nobody" else 403
            )
        for caller in ("check", "both", "key"):
            assert await found(api, ACTIONS, actions("bob"), caller) == [{"name": "read"}]
        for caller in ("both", "key"):
            assert {each["id"] for each in await found(api, SUBJECTS, subjects(), caller)} == {
                "alice",
                "bob",
                "erik",
                "anna",
            }
        assert [each["id"] for each in await found(api, SUBJECTS, subjects(), "emea both")] == ["erik"]
        other = {"type": "user", "properties": {"domain": "apac"}}
        assert await found(api, SUBJECTS, subjects(subject=other), "emea both") == []
        # A page token of a caller that sees more opens nothing.
        token = (await api.post(SUBJECTS, subjects(page={"limit": 1}), caller="both")).body["page"][
            "next_token"
        ]
        asked = subjects(page={"token": token})
        assert [each["id"] for each in await found(api, SUBJECTS, asked, "emea both")] == ["erik"]


async def test_a_search_stays_in_its_tenant(database: "Database") -> None:
    async with firms(database, "acme", "globex") as firm:
        api = firm.api
        for tenant in ("acme", "globex"):
            await write_scenario(api, f"{tenant}/key")
            binding = {"user": f"{tenant}-user", "user_kind": "user", "role": "reader", "dom": "*"}
            made = await api.post("/api/v1/role-bindings", binding, caller=f"{tenant}/key")
            await firm.published(tenant, made.succeeded(201).revision)
        ids = [each["id"] for each in await found(api, SUBJECTS, subjects(), "acme/key")]
        assert ids == ["acme-user", "alice", "bob"]
        asked = subjects(page={"limit": 1})
        token = (await api.post(SUBJECTS, asked, caller="globex/key")).body["page"]["next_token"]
        (await api.post(SUBJECTS, subjects(page={"token": token}), caller="acme/key")).problem(400)
        (await api.post(f"/globex{SUBJECTS}", subjects(), caller="acme/key")).problem(403)
        assert len(await found(api, f"/acme{SUBJECTS}", subjects(), "acme/key")) == 3
        (await api.post(SUBJECTS, subjects(), caller="acme/admin")).problem(403)


async def test_every_number_of_json_can_be_searched_with(database: "Database") -> None:
    async with rest(database) as api:
        assert await api.services.wait_for("default", await write_scenario(api), 10)
        for number in ("9" * 300, "1e300", "-0.5e-300", "0.1", "-0", "18446744073709551617"):
            for path in (SUBJECTS, ACTIONS, ONE):
                data = (
                    '{"subject": {"type": "user", "id": "bob"}, "action": {"name": "read"},'
                    ' "resource": {"type": "record", "id": "1", "properties": {"n": %s}},'
                    ' "context": {"n": [%s, {"n": %s}]}, "page": {"limit": 1}}' % ((number,) * 3)
                )
                answer = await api.ask("POST", path, data=data.encode())
                answer.succeeded(200)
                if path == SUBJECTS:
                    token = answer.body["page"]["next_token"]
                    more = data.replace('"limit": 1', f'"token": "{token}"')
                    (await api.ask("POST", path, data=more.encode())).succeeded(200)
