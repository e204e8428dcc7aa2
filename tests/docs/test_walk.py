"""The walk of one request (docs/reference/design.md): a real call passes each stop, in this order."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

from tests.builders import check_request, read_answer
from tests.docs.samples import ROOT
from tests.real_service import RealService, real_service, token
from tests.wire.grpc_servers import KINDS, call, server_of

PAGE: Final = (ROOT / "docs/reference/design.md").read_text("utf-8")
MOST_STOPS: Final = 20
POLICIES: Final = {
    "resources": [
        {
            "name": "invoice:read",
            "serviceName": "billing",
            "routes": [{"methods": ["GET"], "path": "/invoices/{number}"}],
        }
    ],
    "role_rules": [
        {"id": "a", "sub": "*", "dom": "*", "obj": "invoice:read", "act": "read", "effect": "allow"}
    ],
}

Place = tuple[str, str]
"""File below the package, and the qualified name of a function."""


def stops() -> list[list[Place]]:
    """Return the functions of each stop of the table; one of them is called, by one server or the other."""
    (section,) = re.findall(r"^## Walk of one request$(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    found = []
    for number, (stop, functions, files) in enumerate(
        re.findall(r"^\| ([0-9]+) \| (.*?) \| (.*?) \|", section, re.MULTILINE), 1
    ):
        assert int(stop) == number
        names, paths = (re.findall(r"`([^`]+)`", each) for each in (functions, files))
        found.append(list(zip(names, paths * (len(names) // len(paths)), strict=True)))
    return [[(path, name) for name, path in each] for each in found]


@contextmanager
def noted_calls(noted: dict[Place, int]) -> Iterator[None]:
    """Number the functions of the package by their first call, in threads that start meanwhile."""
    package = str(ROOT / "extauthz") + "/"

    def note(frame: FrameType, event: str, _arg: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(package):
            place = (frame.f_code.co_filename.removeprefix(package), frame.f_code.co_qualname)
            noted.setdefault(place, len(noted))

    threading.setprofile(note)
    try:
        yield
    finally:
        threading.setprofile(None)


def answer_of(kind: str, running: RealService) -> Any:
    return running.service.begin if kind == "native" else running.service.answer


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_passes_each_stop_of_the_walk_in_order(kind: str, tmp_path: Path) -> None:
    noted: dict[Place, int] = {}
    bearer = {"authorization": f"Bearer {token()}"}
    with noted_calls(noted), real_service(tmp_path, POLICIES) as running:
        server = server_of(kind, answer_of(kind, running), ["127.0.0.1:0"], refuse=running.service.refuse)
        address = f"127.0.0.1:{server.start()}"
        try:
            # The first call verifies the token; the walk is that of a token that is known.
            assert read_answer(call(address, check_request(path="/invoices/7", headers=bearer))).allowed
            assert running.log.flush(5.0)
            noted.clear()
            assert read_answer(call(address, check_request(path="/invoices/8", headers=bearer))).allowed
        finally:
            server.drain(0.0)
        assert len(running.decisions()) == 2
    places = [min((noted[each] for each in stop if each in noted), default=-1) for stop in stops()]
    missing = [stop for stop, place in zip(stops(), places, strict=True) if place == -1]
    assert missing == []
    assert places == sorted(places)


def test_the_walk_has_at_most_twenty_stops() -> None:
    assert 0 < len(stops()) <= MOST_STOPS


def test_each_function_of_the_walk_is_in_its_file() -> None:
    for stop in stops():
        for path, name in stop:
            text = (ROOT / "extauthz" / path).read_text("utf-8")
            assert re.search(rf"^\s*def {name.rpartition('.')[2]}\(", text, re.MULTILINE), (path, name)
