"""`?wait=all` never says that sidecars have a write which one of them does not have."""

import asyncio
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from extauthz.storage.sidecar_reports import SidecarReports
from tests.integration.rest_harness import rest
from tests.integration.rest_saas import firms
from tests.integration.storage_documents import connected
from tests.integration.test_sidecar_reports import (
    ONE,
    OTHER,
    RULES,
    SIDECARS,
    epoch_of,
    follower,
    report,
    reporting,
    revision_of,
    rule,
    state,
)

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]


async def fill(database: "Database", sidecars: int, *, live: bool) -> None:
    """Store sidecars of the tenant that report no more."""
    async with connected(database.superuser) as connection:
        while sidecars > 0:
            await connection.execute(
                "INSERT INTO sidecars (tenant_id, instance, version, last_seen, live_until)"
                " SELECT 'default', gen_random_uuid(), '0.2.0', now() - interval '1 minute',"
                " now() + make_interval(secs => $2) FROM generate_series(1, $1)",
                min(sidecars, 5000),
                600 if live else -60,
            )
            sidecars -= 5000


async def age_reports(database: "Database", seconds: int) -> None:
    """Make the stored reports as old as if none had come for some time."""
    async with connected(database.superuser) as connection:
        await connection.execute(
            "UPDATE sidecars SET last_seen = last_seen - make_interval(secs => $1),"
            " live_until = live_until - make_interval(secs => $1)",
            seconds,
        )


async def test_a_revision_that_the_tenant_does_not_have_yet_does_not_count(database: "Database") -> None:
    async with reporting(database) as (api, epoch):
        revision = await revision_of(api)
        (await report(api, ONE, state(epoch, revision + 2))).succeeded(200)
        (shown,) = (await api.get(SIDECARS)).succeeded(200).body["items"]
        assert (shown["revision"], shown["behind_by"]) == (None, revision)
        late = (await api.post(f"{RULES}?wait=all&within=1", rule(sub="after"))).succeeded(202)
        assert [each["instance"] for each in late.body["missing"]] == [ONE]


async def test_sidecars_that_ended_do_not_keep_others_from_being_stored(database: "Database") -> None:
    async with reporting(database) as (api, epoch):
        revision = await revision_of(api)
        await fill(database, 50_000, live=False)
        both = [report(api, each, state(epoch, revision)) for each in (ONE, OTHER)]
        assert {each.status for each in await asyncio.gather(*both)} == {200}
        late = (await api.post(f"{RULES}?wait=all&within=1", rule(sub="late"))).succeeded(202)
        assert [each["instance"] for each in late.body["missing"]] == [ONE, OTHER]


async def test_more_sidecars_than_are_stored_are_told_so_and_no_write_is_said_to_be_everywhere(
    database: "Database",
) -> None:
    async with reporting(database) as (api, epoch):
        revision = await revision_of(api)
        (await report(api, ONE, state(epoch, revision))).succeeded(200)
        await fill(database, 49_999, live=True)
        (await report(api, ONE, state(epoch, revision))).succeeded(200)
        refused = (await report(api, OTHER, state(epoch, 0))).problem(409)
        assert "50000" in refused["detail"]
        late = (await api.post(f"{RULES}?wait=1%25&within=1", rule(sub="late"))).succeeded(202)
        assert late.body["missing_count"] is None


async def test_a_control_plane_that_starts_waits_for_sidecars_that_could_not_report(
    database: "Database",
) -> None:
    async with reporting(database) as (api, epoch):
        revision = await revision_of(api)
        (await report(api, ONE, state(epoch, revision))).succeeded(200)
        await age_reports(database, 60)
        (await report(api, OTHER, state(epoch, revision))).succeeded(200)
        await age_reports(database, 30)
    async with rest(database) as api:
        await follower(api)
        late = (await api.post(f"{RULES}?wait=all&within=1", rule(sub="late"))).succeeded(202)
        assert [each["instance"] for each in late.body["missing"]] == [OTHER]
        # Also one that reports meanwhile leaves the other to be waited for.
        third = str(uuid.uuid4())
        (await report(api, third, state(epoch, revision + 1))).succeeded(200)
        late = (await api.post(f"{RULES}?wait=all&within=1", rule(sub="later"))).succeeded(202)
        assert {each["instance"] for each in late.body["missing"]} == {OTHER, third}
        (await report(api, OTHER, state(epoch, revision + 2))).succeeded(200)
        (await report(api, third, state(epoch, revision + 2))).succeeded(200)
        (await api.delete(f"{RULES}/{late.body['id']}?wait=1%25&within=1")).succeeded(202)


async def test_a_sidecar_that_serves_a_deleted_tenant_is_waited_for(database: "Database") -> None:
    async with firms(database, "acme", "globex") as found:
        api = found.api
        made = (await api.post("/admin/sidecar-keys", {"name": "west"}, caller="operator")).succeeded(201)
        api.callers["sidecar"] = {"X-Service-Api-Key": made.body["key"]}
        epoch = await epoch_of(database)
        (await report(api, ONE, state(epoch, 0, tenant="acme"))).succeeded(200)
        gone = await api.delete("/admin/tenants/acme?wait=all&within=1", caller="operator")
        assert [each["instance"] for each in gone.succeeded(202).body["missing"]] == [ONE]
        async with connected(database.superuser) as connection:
            before = await connection.fetchval("SELECT last_seen FROM sidecars")
            (await report(api, ONE, state(epoch, 0, tenant="acme"))).succeeded(200)
            assert await connection.fetchval("SELECT last_seen FROM sidecars") > before
            (await report(api, OTHER, state(epoch, 0, tenant="acme"))).succeeded(200)
            assert await connection.fetchval("SELECT count(*) FROM sidecars") == 1
            (await report(api, ONE, gone=["acme"])).succeeded(200)
            assert await connection.fetchval("SELECT count(*) FROM sidecars") == 0


async def test_a_write_is_answered_in_time_while_the_database_hangs(database: "Database") -> None:
    async with reporting(database) as (api, epoch), connected(database.superuser) as connection:
        revision = await revision_of(api)
        (await report(api, ONE, state(epoch, revision))).succeeded(200)
        waiting = asyncio.create_task(api.post(f"{RULES}?wait=all&within=2", rule(sub="waits")))
        while not (await api.get(SIDECARS)).succeeded(200).body["items"][0]["behind_by"]:
            pass
        async with connection.transaction():
            await connection.execute("LOCK TABLE sidecars IN ACCESS EXCLUSIVE MODE")
            began = time.monotonic()
            late = (await waiting).succeeded(202)
            assert time.monotonic() - began < 3.5
        assert (late.body["missing"], late.body["missing_count"]) == ([], None)


def test_many_sidecars_of_one_tenant_lengthen_the_interval_of_no_other() -> None:
    reports = SidecarReports()
    for number in range(120_000):
        reports.hear("acme", str(number))
    reports.hear("globex", "one")
    assert reports.interval("globex") == 3.0
    assert 100.0 <= reports.interval("acme") <= 101.0


def test_many_tenants_share_what_the_control_plane_receives() -> None:
    reports = SidecarReports()
    for number in range(10_000):
        reports.hear(f"tenant-{number % 1000}", str(number))
    assert reports.interval("tenant-7") == 20.0
