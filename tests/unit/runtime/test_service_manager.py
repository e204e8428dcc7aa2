"""Messages to systemd: a real datagram socket receives what sd_notify(3) describes."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from extauthz.runtime.announce import announce
from extauthz.runtime.service_manager import ServiceManager
from extauthz.telemetry.readiness import Readiness


class Systemd:
    """The socket of a service manager, and what it received."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)
        self.address = address

    def received(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(100))
            except BlockingIOError:
                return found


@pytest.fixture(params=["file", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(str(tmp_path / "n") if request.param == "file" else f"@extauthz-test-{os.getpid()}")
    yield made
    made.socket.close()


def test_readiness_is_said_once_and_the_end_too(systemd: Systemd) -> None:
    states = [False, True, False, True]

    async def run() -> None:
        listening, stopping = asyncio.Event(), asyncio.Event()
        listening.set()

        def readiness() -> Readiness:
            ready = states.pop(0)
            if not states:
                stopping.set()
            return Readiness(ready=ready, checks={})

        manager = ServiceManager.of({"NOTIFY_SOCKET": systemd.address})
        await announce({}, listening=listening, stopping=stopping, readiness=readiness, manager=manager)

    asyncio.run(run())

    assert systemd.received() == [b"READY=1", b"STOPPING=1"]


def test_the_watchdog_gets_a_message_in_half_of_its_time(systemd: Systemd) -> None:
    manager = ServiceManager.of({
        "NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid()),
    })  # fmt: skip

    for now in (100.0, 104.9, 105.0, 106.0, 110.0):
        manager.alive(now)

    assert systemd.received() == [b"WATCHDOG=1"] * 3


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
    ],
)
def test_the_watchdog_of_another_process_gets_no_message(systemd: Systemd, environ: dict[str, str]) -> None:
    ServiceManager.of({"NOTIFY_SOCKET": systemd.address, **environ}).alive(1.0)

    assert systemd.received() == []


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/notify"}])
def test_without_a_service_manager_nothing_happens(environ: dict[str, str]) -> None:
    manager = ServiceManager.of(environ)

    manager.ready()
    manager.stopping()
    manager.alive(1.0)
