"""Lists in pages while others write: each row that stays is listed once, and no row twice.

Ids are drawn from the past and the future here, so that rows come and go before the cursor and behind it.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.integration.rest_harness import Api
from tests.integration.rest_lists import (
    LISTS,
    POLICIES,
    RULES,
    V1,
    Listing,
    name,
    new_policy,
    new_rule,
    scattered,
)

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio


@dataclass
class Others:
    """Clients that insert and delete rows of a list until they are stopped."""

    api: Api
    listing: Listing
    transient: list[str]
    inserted: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)
    over: bool = False

    async def write(self, seed: int) -> None:
        dice = random.Random(seed)
        while not self.over:
            if self.listing.go is not None and self.transient and dice.random() < 0.5:
                row = self.transient.pop(dice.randrange(len(self.transient)))
                await self.listing.remove(self.api, row)
                self.deleted.append(row)
            else:
                row = await self.listing.add(self.api)
                self.inserted.append(row)
                self.transient.append(row)
            async with self.moved:
                self.moved.notify_all()

    async def have_written(self, times: int) -> None:
        """Wait for `number` more writes."""
        until = len(self.inserted) + len(self.deleted) + times
        async with asyncio.timeout(30), self.moved:
            await self.moved.wait_for(lambda: len(self.inserted) + len(self.deleted) >= until)


async def walk(api: Api, listing: Listing, others: Others | None = None, *, limit: int = 4) -> list[str]:
    """Return what is in the list, page after page."""
    seen: list[str] = []
    following: str | None = None
    while True:
        rows, following = await listing.page(api, following, limit)
        assert len(rows) <= limit
        seen += rows
        if following is None:
            return seen
        assert len(rows) == limit
        if others is not None:
            await others.have_written(3)


async def walked_while_others_write(api: Api, listing: Listing) -> None:
    kept: list[str] = []
    transient: list[str] = []
    for number in range(36):
        (transient if number % 3 == 0 else kept).append(await listing.add(api))
    ever = set(await walk(api, listing, limit=1000))
    assert ever.issuperset(kept + transient)
    others = Others(api, listing, transient)
    async with asyncio.TaskGroup() as writing:
        for seed in range(2):
            writing.create_task(others.write(seed))
        counted = Counter(await walk(api, listing, others))
        others.over = True
    assert [row for row in ever if counted[row] != 1 and row not in others.deleted] == []
    assert [row for row, times in counted.items() if times > 1] == []
    assert set(counted) <= ever.union(others.inserted)
    assert len(others.inserted) > 5
    assert listing.go is None or len(others.deleted) > 5


@pytest.mark.parametrize("which", LISTS)
async def test_paging_shows_each_remaining_row_once_while_others_write(
    database: "Database", which: str
) -> None:
    async with scattered(database, "acme") as api:
        await walked_while_others_write(api, LISTS[which])


async def test_the_rules_of_a_resource_are_paged_too(database: "Database") -> None:
    async with scattered(database, "acme") as api:
        made = await api.post(
            f"{V1}/resources", {"name": "invoice:read", "serviceName": "billing"}, caller="acme/admin"
        )
        path = f"{V1}/resources/{made.succeeded(201).body['id']}/policies"
        for caller in ("acme/admin", "acme/emea"):
            listing = Listing(path, new_rule(), create=RULES, caller=caller, writer="acme/admin")
            await walked_while_others_write(api, listing)


async def test_versions_of_a_policy_are_seen_once_while_it_is_written(database: "Database") -> None:
    async with scattered(database, "acme") as api:
        made = (await api.post(POLICIES, new_policy()(), caller="acme/admin")).succeeded(201)
        one = f"{POLICIES}/{made.body['id']}"

        async def patch() -> None:
            answer = await api.patch(one, {"name": name("policy"), "domain": "emea"}, caller="acme/admin")
            answer.succeeded(200)

        for _ in range(20):
            await patch()
        listing = Listing(f"{one}/versions", dict, member="version")
        seen: list[str] = []
        following: str | None = None
        while len(seen) < 40:
            rows, following = await listing.page(api, following, 4)
            seen += rows
            for _ in range(3):
                await patch()
            assert following is not None
        assert seen == [str(number) for number in range(1, len(seen) + 1)]
        # The first is of every domain: no row of a domain admin's.
        own = Listing(f"{one}/versions", dict, member="version", caller="acme/emea")
        everything = await walk(api, listing, limit=1000)
        assert await walk(api, own, limit=7) == everything[1:]
