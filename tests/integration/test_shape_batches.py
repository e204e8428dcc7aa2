"""A worker's batches over real HTTP: sent until acknowledged, bounded meanwhile, losses are counted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from extauthz.compile.directory import Directory
from extauthz.domain.tenancy import TenancyMode, TenantBinding, UnmappedPolicy
from extauthz.recording.counter import ShapeCounter
from extauthz.recording.shape import ABSENT
from extauthz.runtime import shape_batches
from extauthz.runtime.control_channel import ControlPlaneChannel
from extauthz.runtime.shape_batches import ShapeBatches
from extauthz.signed.server_address import ServerAddress
from extauthz.telemetry.counts import Counts
from tests.recorded_requests import snapshot_of
from tests.recording_parts import INSTANCE
from tests.unit.recording.test_counter import NOW, allowed

pytestmark = pytest.mark.anyio


@dataclass
class ControlPlane:
    """A server that answers as it is told to, and keeps what it acknowledged."""

    status: int = 200
    answer: object = field(default_factory=lambda: {"attributes": {"default": ["user.team"]}})
    asked: list[dict[str, Any]] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    async def take(self, request: web.Request) -> web.Response:
        document = await request.json()
        self.asked.append(document)
        if self.status == 200:
            self.taken.append(document)
        return web.json_response(self.answer, status=self.status)

    def requests(self) -> int:
        """Return the requests that were recorded; as the real one does, of each batch once."""
        batches = {batch["number"]: batch for batch in self.taken}
        return sum(shape["requests"] for batch in batches.values() for shape in batch["shapes"])


@dataclass
class Worker:
    """The parts of a worker that record."""

    counter: ShapeCounter
    batches: ShapeBatches
    counts: Counts

    def count(self, first: int, last: int) -> None:
        for number in range(first, last):
            self.counter.count(allowed(number, f"/invoices/{number}"), NOW, "grpc")
        self.counter.close()

    def lost(self) -> int:
        return self.counts.snapshot()["recordings_lost"]


@asynccontextmanager
async def recording(max_shapes: int = 5_000) -> AsyncIterator[tuple[Worker, ControlPlane]]:
    """Serve a control plane, and have a worker for it that does not send yet."""
    plane, counts = ControlPlane(), Counts("worker")
    application = web.Application(client_max_size=1 << 22)
    application.router.add_post("/sidecar-recordings", plane.take)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    plane.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    snapshot = snapshot_of()
    counter = ShapeCounter(
        lambda: Directory(TenancyMode.SELFHOST, {"default": snapshot}),
        unmapped=UnmappedPolicy.DENY,
        binding=TenantBinding.HOST,
        attributes=(),
        max_shapes=10_000,
        max_octets=16 << 20,
        on_loss=counts.not_recorded,
    )
    try:
        async with ControlPlaneChannel(ServerAddress(plane.url, None, "key")) as channel:
            batches = ShapeBatches(
                channel,
                counter,
                counts,
                instance=INSTANCE,
                max_shapes=max_shapes,
            )
            yield Worker(counter, batches, counts), plane
    finally:
        await runner.cleanup()


@asynccontextmanager
async def sending(worker: Worker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.batches.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the server is in this loop
            await asyncio.sleep(0.01)


async def test_batches_are_sent_and_the_answer_says_what_to_record() -> None:
    async with recording() as (worker, plane), sending(worker):
        worker.count(0, 2_500)
        await until(lambda: plane.requests() == 2_500)
        assert [batch["number"] for batch in plane.taken] == [1, 2]
        worker.count(0, 1)
        await until(lambda: plane.requests() == 2_501)

        slots = plane.taken[-1]["contexts"][0]["slots"]
        assert "user.team" in slots
        assert plane.taken[-1]["shapes"][0]["slots"][slots.index("user.team")] == ABSENT
        assert worker.lost() == 0


async def test_a_batch_is_sent_again_with_its_number_until_it_is_acknowledged() -> None:
    async with recording() as (worker, plane):
        plane.status = 503
        async with sending(worker):
            worker.count(0, 3)
            await until(lambda: len(plane.asked) >= 2)
            plane.status = 200
            await until(lambda: plane.requests() == 3)
        assert {batch["number"] for batch in plane.asked} == {1}
        assert worker.lost() == 0


async def test_what_waits_is_bounded_and_the_oldest_is_lost_and_counted() -> None:
    async with recording(max_shapes=2_000) as (worker, plane):
        plane.status = 503
        async with sending(worker):
            for start in range(0, 4_000, 1_000):
                worker.count(start, start + 1_000)
            await until(lambda: worker.lost() >= 2_000)
        plane.status = 200
        async with worker.batches.ending():
            pass
        assert plane.requests() + worker.lost() == 4_000
        assert plane.requests() == 2_000


async def test_a_server_that_takes_no_recordings_gets_no_more_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with recording() as (worker, plane):
        plane.status = 404
        async with sending(worker):
            worker.count(0, 5)
            await until(lambda: worker.lost() == 5)
        assert len(plane.asked) == 1


@pytest.mark.parametrize("answer", [[], {"attributes": 7}, {"attributes": {"default": [7, None]}}, {}])
async def test_an_answer_that_names_nothing_records_nothing_more(answer: object) -> None:
    async with recording() as (worker, plane), sending(worker):
        plane.answer = answer
        worker.count(0, 1)
        await until(lambda: bool(plane.taken))
        worker.count(0, 1)
        await until(lambda: len(plane.taken) == 2)
        assert [batch["contexts"][0]["slots"] for batch in plane.taken] == [["user.id", "{id}"]] * 2


async def test_what_a_cancelled_task_had_begun_is_sent_at_the_end() -> None:
    async with recording() as (worker, plane):
        worker.count(0, 1_500)
        task = asyncio.create_task(worker.batches.run())
        await asyncio.sleep(0.005)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        async with worker.batches.ending():
            worker.count(2_000, 2_010)
        assert plane.requests() == 1_510
        assert worker.lost() == 0


async def test_a_control_plane_that_never_answers_delays_the_end_by_a_second() -> None:
    silent = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    async with silent, recording() as (worker, _):
        port = silent.sockets[0].getsockname()[1]
        async with ControlPlaneChannel(ServerAddress(f"http://127.0.0.1:{port}", None, "key")) as channel:
            batches = ShapeBatches(
                channel,
                worker.counter,
                worker.counts,
                instance=INSTANCE,
                max_shapes=99,
            )
            began = asyncio.get_running_loop().time()
            async with batches.ending():
                worker.count(0, 3)
            assert asyncio.get_running_loop().time() - began < shape_batches.LAST_S + 2
        assert worker.lost() == 3
