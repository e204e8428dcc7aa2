"""Replays over REST: jobs on recorded requests, run in a process of their own, seen by permitted callers."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from extauthz.decide.record import rfc3339
from extauthz.publish.replaying import Replay
from extauthz.publish.tenant import Compiler
from extauthz.recording.documents import Counted
from extauthz.recording.shape import FOLDED, Shape
from extauthz.runtime import replays
from extauthz.runtime.replays import Replays
from extauthz.storage import replay_jobs
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.recording_senders import BatchPart
from extauthz.storage.recordings import RecordingStore
from extauthz.storage.replay_jobs import MAX_ATTEMPTS, MAX_UNFINISHED, Queued
from tests.integration.rest_harness import READING, Api, rest, role_model
from tests.integration.rest_saas import firms
from tests.integration.serving import database_environment
from tests.light_processes import LIGHT
from tests.recorded_requests import order, without_credential

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
V1 = "/api/v1"
DRAFTS, RULES, POLICIES = f"{V1}/drafts", f"{V1}/resources/policies", f"{V1}/abac/policies"
BINDINGS, RESOURCES = f"{V1}/role-bindings", f"{V1}/resources"
NO_ID = "01900000-0000-7000-8000-000000000000"
HOUR = int(time.time() // 86_400 - 1) * 24 + 10
"""10:00 UTC of yesterday, in hours since 1970: what is recorded is of the last days."""
WITHIN_S = 30


def resource(**route: object) -> dict[str, object]:
    return {
        "name": "shop:orders", "serviceName": "shop",
        "routes": [{"methods": ["GET"], "path": "/orders/{id}", "action": "read"} | route],
    }  # fmt: skip


def rule(**members: object) -> dict[str, object]:
    return {
        "sub": "clerk", "sub_kind": "role", "dom": "*", "obj": "shop:orders", "act": "*", "effect": "allow",
    } | members  # fmt: skip


@asynccontextmanager
async def shop(database: "Database", **changes: Any) -> AsyncIterator[Api]:
    """Serve the API with a resource and a rule, and no runner of replays."""
    async with rest(database, **changes) as api:
        (await api.post(RESOURCES, resource())).succeeded(201)
        (await api.post(RULES, rule())).succeeded(201)
        yield api


def runner(api: Api, database: "Database") -> Replays:
    environ = {"PATH": os.environ["PATH"], **LIGHT, **database_environment(database.address)}
    return Replays(api.services.pool, environ)


@asynccontextmanager
async def running(api: Api, database: "Database") -> AsyncIterator[Replays]:
    found = runner(api, database)
    task = asyncio.create_task(found.run())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def record(
    api: Api,
    shapes: Iterable[tuple[Shape, int]],
    *,
    hour: int = HOUR,
    number: int = 1,
    tenant: str = "default",
) -> None:
    counted = [
        Counted(shape._replace(tenant=tenant), hour, requests, 99, 99, ()) for shape, requests in shapes
    ]
    store = RecordingStore(api.services.pool, lambda _tenant: frozenset())
    await store.add(tenant, BatchPart(str(UUID(int=number)), number, counted))


async def a_draft(api: Api, caller: str = "key") -> str:
    return str((await api.post(DRAFTS, {}, caller=caller)).succeeded(201).body["id"])


async def asked(api: Api, draft: str, document: object = None, caller: str = "key") -> str:
    answer = (await api.post(f"{DRAFTS}/{draft}/replay", document, caller=caller)).succeeded(202)
    assert answer.body["status"] == "queued"
    assert answer.headers["Location"] == f"{DRAFTS}/{draft}/replay/{answer.body['id']}"
    return str(answer.headers["Location"])


async def left(api: Api, location: str, *states: str, caller: str = "key") -> Any:
    """Wait until a job is in none of these states."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            body = (await api.get(location, caller=caller)).succeeded(200).body
            if body["status"] not in states:
                return body
            await asyncio.sleep(0.02)


def at(hours: float) -> str:
    """Return the time of that number of hours after 10:00."""
    return rfc3339((HOUR + hours) * 3600)


async def ended(api: Api, location: str, caller: str = "key") -> Any:
    return await left(api, location, "queued", "running", caller=caller)


async def run_here(api: Api) -> None:
    """Run every job that waits, in this process."""
    pool = api.services.pool
    for queued in await replay_jobs.waiting(pool):
        job = await replay_jobs.claim(pool, queued)
        assert job is not None
        await Replay(pool, Compiler(READING, role_model()), queued.tenant, job).run()


async def replayed(api: Api, draft: str, document: object = None) -> Any:
    location = await asked(api, draft, document)
    await run_here(api)
    return (await api.get(location)).succeeded(200).body


async def test_a_replay_names_the_requests_that_would_be_newly_allowed(database: "Database") -> None:
    async with shop(database) as api:
        await record(api, [(order('"17"', "seller"), 5), (order('"17"', "clerk"), 40), (order(), 2)])
        draft = await a_draft(api)
        made = (await api.post(f"{RULES}?draft={draft}", rule(sub="seller"))).succeeded(201).body

        location = await asked(api, draft)
        async with running(api, database):
            job = await ended(api, location)

        assert job["status"] == "done", job
        assert job["progress"] == {"judged": 3, "total": 3}
        result = job["result"]
        assert (result["requests"], result["shapes"], result["unchanged"]["requests"]) == (47, 3, 42)
        allowed = result["newly_allowed"]
        assert (allowed["requests"], allowed["subjects"]) == (5, 1)
        assert allowed["groups"]["rule"][0]["rule"] == {"id": made["id"], "kind": "role"}
        example = allowed["examples"][0]
        assert (example["path"], example["subject"]) == ("/orders/17", "alice")
        assert made["id"] in example["draft"]["because"]
        assert result["newly_denied"]["requests"] == result["cannot_say"]["requests"] == 0
        [listed] = (await api.get(f"{DRAFTS}/{draft}/replay")).succeeded(200).body["items"]
        assert listed == job | {"result": None}


async def test_public_routes_removed_rules_and_unrecorded_attributes(database: "Database") -> None:
    async with shop(database) as api:
        shapes = [
            (without_credential(order()), 7),
            (order('"17"', "clerk"), 3),
            (order(FOLDED, "clerk", subject=FOLDED), 11),
        ]
        await record(api, shapes)
        [stored] = (await api.get(RESOURCES)).body["items"]
        [clerks] = (await api.get(RULES)).body["items"]
        public = await a_draft(api)
        q = f"?draft={public}"
        routes = resource(authentication="none")["routes"]
        (await api.patch(f"{RESOURCES}/{stored['id']}{q}", {"routes": routes})).succeeded(200)
        (await api.post(RULES + q, rule(sub="anonymous"))).succeeded(201)
        removed, unknown = await a_draft(api), await a_draft(api)
        (await api.delete(f"{RULES}/{clerks['id']}?draft={removed}")).succeeded(204)
        condition = {"type": "CONDITION", "attribute": "user.level", "operator": "lt", "value": 3}
        document = {"name": "n", "resource": "shop:orders", "effect": "deny", "rule_data": condition}
        (await api.post(f"{POLICIES}?draft={unknown}", document)).succeeded(201)

        locations = [await asked(api, draft) for draft in (public, removed, unknown)]
        await run_here(api)
        opened, closed, unsure = [(await api.get(each)).body["result"] for each in locations]

        assert opened["newly_allowed"]["requests"] == 7
        assert opened["newly_denied"]["requests"] == 0
        assert closed["newly_denied"]["requests"] == 14
        assert closed["newly_denied"]["subjects_complete"] is False
        assert unsure["cannot_say"]["requests"] == 14
        assert unsure["cannot_say"]["because"] == [
            {"slot": "user.level", "state": "not recorded", "requests": 14}
        ]


async def test_a_window_takes_whole_hours(database: "Database") -> None:
    async with shop(database) as api:
        for number, requests in enumerate((1, 10, 100)):
            await record(api, [(order('"17"', "seller"), requests)], hour=HOUR + number, number=number + 1)
        await record(api, [(order('"17"', "seller"), 1000)], hour=HOUR + 14, number=9)
        draft = await a_draft(api)
        (await api.post(f"{RULES}?draft={draft}", rule(sub="seller"))).succeeded(201)

        windows = [
            ({}, 1111),
            ({"since": at(1.5)}, 1110),
            ({"until": at(1)}, 1),
            ({"since": at(1), "until": at(1.5)}, 10),
        ]
        for window, requests in windows:
            job = await replayed(api, draft, window)
            assert job["result"]["newly_allowed"]["requests"] == requests
        empty = await replayed(api, draft, {"since": at(48)})
        assert (empty["status"], empty["result"]["requests"]) == ("done", 0)
        assert empty["result"]["recorded"] is None


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"since": "yesterday"}, "/since"),
        ({"until": 5}, "/until"),
        ({"since": "2026-01-05T10:00:00Z", "until": "2026-01-05T10:00:00Z"}, "/until"),
        ({"from": "2026-01-05T10:00:00Z"}, "/from"),
    ],
)
async def test_a_window_that_is_none_is_refused(
    database: "Database", document: dict[str, object], pointer: str
) -> None:
    async with shop(database) as api:
        draft = await a_draft(api)
        answer = await api.post(f"{DRAFTS}/{draft}/replay", document)
        assert answer.status == 422
        assert answer.pointers == [pointer]


async def test_a_tenant_has_a_bound_of_replays_that_are_not_done(database: "Database") -> None:
    async with shop(database) as api:
        draft = await a_draft(api)
        for _ in range(MAX_UNFINISHED):
            await asked(api, draft)
        refused = await api.post(f"{DRAFTS}/{draft}/replay")
        assert refused.status == 409
        await run_here(api)
        await asked(api, draft)


async def test_another_tenants_draft_and_replay_are_not_found(database: "Database") -> None:
    async with firms(database, "acme", "globex") as found:
        api = found.api
        draft = await a_draft(api, caller="acme/admin")
        location = await asked(api, draft, caller="acme/admin")

        (await api.post(f"{DRAFTS}/{draft}/replay", caller="globex/admin")).problem(404)
        (await api.get(location, caller="globex/admin")).problem(404)
        (await api.get(f"{DRAFTS}/{draft}/replay", caller="globex/admin")).problem(404)
        (await api.get(f"{DRAFTS}/{draft}/replay/{NO_ID}", caller="acme/admin")).problem(404)
        (await api.post(f"{DRAFTS}/{NO_ID}/replay", caller="acme/admin")).problem(404)
        (await api.post(f"{DRAFTS}/draft/replay", caller="acme/admin")).problem(404)


async def test_domain_admins_replay_the_requests_of_their_domains(database: "Database") -> None:
    async with shop(database) as api:
        shapes = [
            (order('"17"', "seller")._replace(domain=domain), requests)
            for domain, requests in (("emea", 1), ("apac", 10), (None, 100))
        ]
        await record(api, shapes)
        draft = await a_draft(api)
        (await api.post(f"{RULES}?draft={draft}", rule(sub="seller"))).succeeded(201)

        locations = {caller: await asked(api, draft, caller=caller) for caller in ("emea", "both", "tenant")}
        await run_here(api)
        found = {caller: (await api.get(at, caller=caller)).body for caller, at in locations.items()}

        counts = {caller: job["result"]["newly_allowed"]["requests"] for caller, job in found.items()}
        assert counts == {"emea": 1, "both": 11, "tenant": 111}
        assert found["both"]["domains"] == ["apac", "emea"]
        # The rule is of every domain, which a domain admin does not administer: it is named, and not shown.
        says = {
            caller: job["result"]["newly_allowed"]["examples"][0]["draft"]["because"]
            for caller, job in found.items()
        }
        assert ["seller" in each for each in says.values()] == [False, False, True]
        assert (await api.get(locations["tenant"], caller="emea")).status == 404
        assert (await api.get(locations["both"], caller="emea")).status == 404
        assert (await api.get(locations["emea"], caller="both")).status == 200
        assert len((await api.get(f"{DRAFTS}/{draft}/replay", caller="emea")).body["items"]) == 1
        assert (await api.post(f"{DRAFTS}/{draft}/replay", caller="alice")).status == 403


async def test_a_replay_whose_process_was_killed_is_run_again_and_then_says_so(
    database: "Database", monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(database) as api:
        draft = await a_draft(api)
        location = await asked(api, draft)
        # A module that ends at once by a signal stands for a process that the kernel ended.
        monkeypatch.setattr(replays, "_MODULE", "tests.killed_process")
        async with running(api, database):
            job = await ended(api, location)

        assert job["status"] == "failed"
        assert job["result"] is None
        assert f"the last of {MAX_ATTEMPTS} times" in job["problem"]
        assert "SIGKILL" in job["problem"]


async def test_a_replay_survives_the_end_of_its_control_plane(database: "Database") -> None:
    async with shop(database) as api:
        await record(api, [(order('"17"', "seller"), 5)])
        draft = await a_draft(api)
        location = await asked(api, draft)
        [queued] = await replay_jobs.waiting(api.services.pool)
        assert queued == Queued("default", UUID(location.rpartition("/")[2]))
        # A control plane took it, and was killed with its process: the lease ends.
        assert await replay_jobs.claim(api.services.pool, queued) is not None
        assert await replay_jobs.claim(api.services.pool, queued) is None
        assert (await api.get(location)).body["status"] == "running"
        async with tenant_transaction(api.services.pool, "default") as connection:
            await connection.execute(
                "UPDATE replay_jobs SET leased_until = now() - interval '1 s' WHERE tenant_id = 'default'"
            )

        async with running(api, database):
            job = await ended(api, location)

        assert (job["status"], job["result"]["requests"]) == ("done", 5)


async def test_a_replay_is_given_back_when_the_control_plane_stops(database: "Database") -> None:
    async with shop(database) as api:
        draft = await a_draft(api)
        location = await asked(api, draft)
        async with running(api, database):
            await left(api, location, "queued")
        stopped = (await api.get(location)).body
        assert stopped["status"] in {"queued", "done"}
        async with running(api, database):
            assert (await ended(api, location))["status"] == "done"


async def test_a_draft_that_is_deleted_takes_its_replays_with_it(database: "Database") -> None:
    async with shop(database) as api:
        draft = await a_draft(api)
        location = await asked(api, draft)
        (await api.delete(f"{DRAFTS}/{draft}")).succeeded(204)
        assert (await api.get(location)).status == 404
        assert await replay_jobs.waiting(api.services.pool) == []


async def test_the_last_replay_over_everything_tells_what_it_compared(database: "Database") -> None:
    async with shop(database) as api:
        await record(api, [(order('"17"', "seller"), 5), (order('"17"', "clerk"), 2)])
        draft = await a_draft(api)
        (await api.post(f"{RULES}?draft={draft}", rule(sub="seller"))).succeeded(201)
        await replayed(api, draft, {"until": at(1)})

        async def last() -> Any:
            async with tenant_transaction(api.services.pool, "default", read_only=True) as connection:
                return await replay_jobs.last_done(connection, "default", UUID(draft))

        assert await last() is None
        job = await replayed(api, draft)
        found = await last()
        assert (found.newly_allowed, found.newly_denied) == (5, 0)
        assert (str(found.id), found.draft_digest) == (job["id"], job["draft_digest"])
        assert found.live_revision == job["live_revision"]


async def test_finished_replays_beyond_a_number_are_deleted(
    database: "Database", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_jobs, "MAX_KEPT", 2)
    async with shop(database) as api:
        draft = await a_draft(api)
        locations = []
        for _ in range(4):
            locations.append(await asked(api, draft))
            await run_here(api)
        kept = [(await api.get(each)).status for each in locations]
        assert kept == [404, 404, 200, 200]
