"""Reports of a worker: what it says that it has, and answers of every kind."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from extauthz.check.used_keys import UsedKeys
from extauthz.compile.directory import Directory
from extauthz.compile.roles.role_model import ModelInvalid, compile_model
from extauthz.compile.snapshot import Snapshot
from extauthz.compile.snapshot_building import build
from extauthz.domain.policy import PolicySet
from extauthz.domain.tenancy import TenancyMode
from extauthz.publish.current import CurrentPolicies
from extauthz.runtime.control_channel import ControlPlaneChannel
from extauthz.runtime.revision_reports import Reporter, RevisionReports
from extauthz.shipped import shipped
from extauthz.signed.server_address import ServerAddress
from extauthz.telemetry.counts import Counts

KEY = "sak_a-key-that-no-log-may-show"


def ok(body: bytes, headers: bytes = b"") -> list[bytes]:
    return [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n%scontent-length: %d\r\n\r\n%s" % (headers, len(body), body)
    ]


NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
GOOD = ok(b'{"interval": 3.0}')


@dataclass
class ControlPlane:
    """A real server that answers with chosen octets, in several segments."""

    answer: list[bytes] = field(default_factory=lambda: GOOD)
    reports: list[Any] = field(default_factory=list)
    port: int = 0
    serving: list["asyncio.Task[Any]"] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.append(task)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        self.reports.append(json.loads(await reader.readexactly(length)))
        for segment in self.answer:
            writer.write(segment)
            await writer.drain()
            # The other side reads this segment before the next one is sent.
            for _ in range(50):
                await asyncio.sleep(0)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def reporting(plane: ControlPlane) -> AsyncIterator[tuple[RevisionReports, CurrentPolicies]]:
    server = await asyncio.start_server(plane.serve, "127.0.0.1", 0)
    plane.port = server.sockets[0].getsockname()[1]
    current = CurrentPolicies()
    address = ServerAddress(f"http://127.0.0.1:{plane.port}", None, KEY)
    async with ControlPlaneChannel(address) as channel:
        reporter = Reporter("instance", ("default",), Counts("instance"))
        yield RevisionReports(channel, reporter, current, UsedKeys()), current
    server.close()
    # A client that refuses the answer resets the connection.
    await asyncio.gather(*plane.serving, return_exceptions=True)


def directory(epoch: str, revision: int, **more: Any) -> Directory:
    model = compile_model(shipped("policies/model.conf").read_text("utf-8"))
    assert not isinstance(model, ModelInvalid)
    found = build("default", revision, PolicySet(), model)
    assert isinstance(found, Snapshot)
    return Directory(mode=TenancyMode.SELFHOST, snapshots={"default": found}, epoch=epoch, **more)


def told(plane: ControlPlane) -> tuple[Any, Any]:
    (tenant,) = plane.reports[-1]["tenants"]
    return tenant["epoch"], tenant["revision"]


def test_a_revision_that_is_not_in_force_completely_is_not_reported() -> None:
    async def scenario() -> None:
        plane = ControlPlane()
        async with reporting(plane) as (reports, current):
            await reports.first()
            assert told(plane) == (None, None)
            current.swap(directory("a", 7, lagging={"default": 0.0}))
            await reports.first()
            assert told(plane) == ("a", None)
            current.swap(directory("a", 7))
            await reports.first()
            assert told(plane) == ("a", 7)
            current.swap(directory("a", 8, lagging={"default": 0.0}))
            await reports.first()
            assert told(plane) == ("a", 7)
            # The policies of the epoch before stay in force while those of the new one cannot be read.
            current.swap(directory("b", 8, lagging={"default": 0.0}))
            await reports.first()
            assert told(plane) == ("b", None)
            current.swap(directory("b", 3))
            await reports.first()
            assert told(plane) == ("b", 3)

    asyncio.run(scenario())


def test_an_answer_in_several_segments_is_read() -> None:
    async def scenario() -> None:
        (whole,) = GOOD
        plane = ControlPlane([whole[:-9], whole[-9:-4], whole[-4:]])
        async with reporting(plane) as (reports, _):
            await reports.first()
            assert reports.longest_pause() == 0.0

    asyncio.run(scenario())


OK = b"HTTP/1.1 200 OK\r\n"
ECHO = KEY.encode()


@pytest.mark.parametrize(
    "answer",
    [
        ok(b"{}"), ok(b"[]"), ok(b'{"interval": null}'), ok(b'{"interval": true}'), ok(b'{"interval": "3"}'),
        ok(b'{"interval": NaN}'), ok(b'{"interval": 1e999}'), ok(b"[" * 100_000), ok(b"\xff"), [b""],
        ok(b'{"interval": 3, "a": "%s"}' % (b"a" * 10_000_000)), [OK, b"x: %s\r\n\r\n" % (b"a" * 99_999)],
        [b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"],
        [b"HTTP/1.1 %s \r\n\r\n" % ECHO], [OK, b"content-length: 99999999\r\n\r\n{}"],
        [OK, b"content-length: %s\r\n\r\n" % ECHO], ok(b'{"interval": 3}', b"x: \x00%s\r\n" % ECHO),
        [OK, b"transfer-encoding: chunked\r\n\r\n%s\r\n" % ECHO],
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_a_failure_and_shows_no_key(
    answer: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario() -> None:
        async with reporting(ControlPlane(answer)) as (reports, _):
            await reports.first()
            assert reports.longest_pause() > 0

    asyncio.run(scenario())
    shown = capsys.readouterr()
    assert KEY not in shown.out + shown.err
    assert "Traceback" not in shown.out + shown.err


@pytest.mark.parametrize("interval", [b"-5", b"0", b"3", b"1e300", b"9999999999999999999999"])
def test_an_interval_out_of_bounds_is_the_nearest_within(interval: bytes) -> None:
    async def scenario() -> None:
        async with reporting(ControlPlane(ok(b'{"interval": %s}' % interval))) as (reports, _):
            await reports.first()
            assert 3.0 <= reports.interval <= 300.0

    asyncio.run(scenario())


def test_a_control_plane_that_was_there_is_asked_again_at_each_interval() -> None:
    async def scenario() -> None:
        plane = ControlPlane()
        async with reporting(plane) as (reports, _):
            await reports.first()
            plane.answer = [NOT_FOUND]
            for _ in range(1100):
                await reports.first()
            assert reports.longest_pause() == 3.0

    asyncio.run(scenario())


def test_a_server_that_never_took_reports_is_asked_seldom() -> None:
    async def scenario() -> None:
        async with reporting(ControlPlane([b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"])) as (
            it,
            _,
        ):
            await it.first()
            assert it.longest_pause() == 30.0

    asyncio.run(scenario())
