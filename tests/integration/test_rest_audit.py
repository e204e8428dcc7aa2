"""The audit trail searched: by actor and by time, in pages."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.integration.publishing import behind_our_back
from tests.integration.rest_harness import Api, rest, rule
from tests.integration.storage_documents import connected

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
AUDIT = "/api/v1/audit"
RULES = "/api/v1/resources/policies"


async def found(api: Api, **filters: str) -> list[dict[str, Any]]:
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in filters.items())
    return list((await api.get(f"{AUDIT}?{query}")).succeeded(200).body["items"])


async def written(api: Api) -> list[dict[str, Any]]:
    """Write as two actors in turn; return all events, oldest first."""
    for number in range(6):
        caller = "tenant" if number % 2 else "emea"
        (await api.post(RULES, rule(sub=f"s{number}"), caller=caller)).succeeded(201)
    events = await found(api, limit="1000")
    return events[::-1]


async def test_events_are_found_by_their_actor(database: "Database") -> None:
    async with rest(database) as api:
        events = await written(api)
        eves = await found(api, actor="eve")
        assert [event["actor"]["id"] for event in eves] == ["eve"] * 3
        assert [event["id"] for event in eves] == [
            event["id"] for event in events[::-1] if event["actor"]["id"] == "eve"
        ]
        assert await found(api, actor="EVE") == []
        assert len(await found(api, actor="root", kind="role_rule")) == 3
        assert await found(api, actor="root", kind="resource") == []


async def test_events_are_found_by_their_time(database: "Database") -> None:
    async with rest(database) as api:
        events = await written(api)
        ids = [event["id"] for event in events]
        third = events[2]["at"]
        assert [event["id"] for event in await found(api, since=third)] == ids[2:][::-1]
        assert [event["id"] for event in await found(api, until=third)] == ids[:2][::-1]
        assert [event["id"] for event in await found(api, since=third, until=events[4]["at"])] == [
            ids[3], ids[2],
        ]  # fmt: skip
        # The same instant, written with an offset.
        offset = datetime.fromisoformat(third) + timedelta(hours=2)
        text = offset.isoformat().replace("+00:00", "+02:00")
        assert [event["id"] for event in await found(api, since=text)] == ids[2:][::-1]
        assert await found(api, since="2999-01-01T00:00:00Z") == []
        assert await found(api, until="0001-01-01T00:00:00Z") == []
        both = await found(api, actor="eve", since=third)
        assert [event["id"] for event in both] == [ids[4], ids[2]]


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("since=yesterday", ["since"]),
        ("since=2026-01-31", ["since"]),
        ("since=2026-01-31T08:00:00", ["since"]),
        ("since=2026-01-31T08:00:00+01:00", ["since"]),  # '+' is a blank here
        ("until=2026-02-30T08:00:00Z", ["until"]),
        ("until=", ["until"]),
        ("since=x&until=y", ["since", "until"]),
        ("since=x&actor=%00", ["actor", "since"]),
        ("actor=", ["actor"]),
        ("actor=a&actor=b", ["actor"]),
        ("since=2026-01-31T08:00:00Z&until=2026-01-31T08:00:00Z", ["until"]),
        ("since=2026-01-31T08:00:00Z&until=2025-01-31T08:00:00Z", ["until"]),
        ("actor_id=eve", ["actor_id"]),
    ],
)
async def test_an_invalid_actor_or_time_is_refused(
    database: "Database", query: str, parameters: list[str]
) -> None:
    async with rest(database) as api:
        problem = (await api.get(f"{AUDIT}?{query}")).problem(422)
        assert [each["parameter"] for each in problem["errors"]] == parameters


async def test_a_cursor_is_of_its_filters(database: "Database") -> None:
    async with rest(database) as api:
        events = await written(api)
        query = f"actor=eve&until={events[-1]['at']}"
        seen = []
        cursor = ""
        while True:
            page = (await api.get(f"{AUDIT}?{query}&limit=1{cursor}")).succeeded(200).body
            seen += [event["id"] for event in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert seen == [event["id"] for event in events[:-1][::-1] if event["actor"]["id"] == "eve"]
        assert cursor
        for other in ("actor=root", "actor=eve", f"until={events[-1]['at']}", ""):
            (await api.get(f"{AUDIT}?{other}&limit=1{cursor}".replace("?&", "?"))).problem(422)


async def test_a_long_trail_is_searched_by_its_indexes(database: "Database") -> None:
    async with rest(database) as api:
        await behind_our_back(
            database.superuser,
            "INSERT INTO audit_events (tenant_id, id, at, actor, action, kind)"
            " SELECT 'default', gen_random_uuid(), now() - n * interval '1 minute',"
            " jsonb_build_object('kind', 'user', 'id', 'u' || n % 1000, 'domain', null, 'request_id', null),"
            " 'create', 'role_rule'"
            " FROM generate_series(1, 20000) AS n",
            "ANALYZE audit_events",
        )
        assert len(await found(api, actor="u7", limit="1000")) == 20
        for condition in ("actor ->> 'id' = 'u7'", "at >= now() - interval '10 minutes'"):
            plan = await explained(database, condition)
            assert "Index" in plan, plan
            assert "Seq Scan" not in plan, plan


async def explained(database: "Database", condition: str) -> str:
    async with connected(database.superuser) as connection:
        lines = await connection.fetch(
            f"EXPLAIN SELECT id FROM audit_events AS t WHERE tenant_id = 'default' AND {condition}"
            " ORDER BY t.id DESC LIMIT 101"
        )
    return "\n".join(line[0] for line in lines)
