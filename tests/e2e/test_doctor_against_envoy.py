"""`extauthz doctor` against real Envoy: what lets a request pass while no check is answered is an error.

One Envoy has the listeners of all mutants; nothing listens where its checks go.
"""

import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.demo import envoy
from extauthz.demo.processes import LOOPBACK, Child, ReservedPorts, spawn
from extauthz.proxyconfig.files import examine_files
from extauthz.proxyconfig.findings import Severity
from tests.proxy_changes import TYPES, Json, base, written
from tests.proxy_mutants import RUNTIME, Mutant, combinations, mutants, overridden

pytestmark = pytest.mark.timeout(300)

READY_S = 60.0
SEED = 10
COMBINATIONS = 60
MARK = "x-reached"
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "x" * 16}
SCOPE = {"x-scope": "a"}
PROBES: tuple[tuple[str, dict[str, str]], ...] = (
    ("/", SCOPE),
    ("/public", SCOPE),
    ("/", SCOPE | {"x-skip": "yes"}),
    ("/", SCOPE | {"Host": "other.example.com"}),
    ("/", SCOPE | UPGRADE),
)
ROUNDS = 4


class Upstream(BaseHTTPRequestHandler):
    """Answers 200 to everything, with a mark that Envoy's own answers do not have."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header(MARK, "yes")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@dataclass(frozen=True)
class Result:
    """What Envoy did with the probes, and the codes that doctor reported as errors and otherwise."""

    mutant: Mutant
    opened: bool
    errors: frozenset[str]
    others: frozenset[str]

    def __str__(self) -> str:
        return f"{self.mutant.name}: {'open' if self.opened else 'closed'}, {sorted(self.errors)}"


class Proxies:
    """Envoys in front of one upstream, whose checks go to a port where nothing listens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = ReservedPorts()
        self.nothing_listens = self.ports.take()[0]
        self.server = ThreadingHTTPServer((LOOPBACK, 0), Upstream)
        self._serving = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._serving.start()
        self._children: list[Child] = []
        self.admins: dict[str, int] = {}

    def close(self) -> None:
        for child in self._children:
            child.kill()
        self.server.shutdown()
        self.server.server_close()
        self._serving.join()
        self.ports.release()

    def start(self, name: str, listeners: list[Json], **more: Any) -> None:
        """Start an Envoy with these listeners, and wait until it has taken or refused each of them."""
        discovered = self.folder / f"{name}-listeners.yaml"
        discovered.write_text(written({"resources": listeners}, self.folder))
        (admin,) = self.ports.take()
        socket = {"address": LOOPBACK, "port_value": admin}
        bootstrap = {
            "node": {"id": name, "cluster": name},
            "admin": {"address": {"socket_address": socket}},
            "dynamic_resources": {
                "lds_config": {
                    "path_config_source": {"path": str(discovered)},
                    "resource_api_version": "V3",
                }
            },
            "static_resources": {"clusters": self._clusters()},
            **more,
        }
        file = self.folder / f"{name}.yaml"
        file.write_text(written(bootstrap, self.folder))
        child = spawn(name, envoy.command(file), output=self.folder / f"{name}.log")
        self._children.append(child)
        child.wait_ready(lambda: _is_live(admin), timeout_s=READY_S)
        self.admins[name] = admin

    def dump(self, name: str) -> Path:
        """Save what an Envoy answers to /config_dump."""
        connection = http.client.HTTPConnection(LOOPBACK, self.admins[name], timeout=60)
        connection.request("GET", "/config_dump")
        file = self.folder / f"{name}-dump.json"
        file.write_bytes(connection.getresponse().read())
        connection.close()
        return file

    def _clusters(self) -> list[Json]:
        found: list[Json] = base()["static_resources"]["clusters"]
        for cluster in found:
            is_asked = cluster["name"] == "extauthz"
            (locality,) = cluster["load_assignment"]["endpoints"]
            for endpoint in locality["lb_endpoints"]:
                address = endpoint["endpoint"]["address"]["socket_address"]
                address["port_value"] = self.nothing_listens if is_asked else self.server.server_port
        return found

    def listeners(self, name: str, document: Json) -> tuple[list[Json], list[int]]:
        """Return the listeners of a document on ports of their own."""
        resources = document.get("static_resources") or document["staticResources"]
        listeners: list[Json] = []
        ports: list[int] = []
        for place, listener in enumerate(resources["listeners"]):
            (port,) = self.ports.take()
            address = {"socket_address": {"address": LOOPBACK, "port_value": port}}
            ports.append(port)
            kind = TYPES + "envoy.config.listener.v3.Listener"
            listeners.append({"@type": kind, **listener, "name": f"{name}-{place}", "address": address})
        return listeners, ports


def _is_live(admin: int) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, admin, timeout=5)
    try:
        connection.request("GET", "/server_info")
        return bool(json.load(connection.getresponse())["state"] == "LIVE")
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()


def reached(port: int) -> bool | None:
    """Whether the upstream answered one of the probes; None: Envoy refused the listener."""
    for path, headers in PROBES * ROUNDS:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
        try:
            connection.request("GET", path, headers=headers)
            if connection.getresponse().getheader(MARK) is not None:
                return True
        except ConnectionRefusedError:
            return None
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()
    return False


def saved(mutant: Mutant, folder: Path) -> Path:
    """Write a mutant and its files into a folder of its own."""
    folder.mkdir()
    (folder / "envoy.yaml").write_text(mutant.text(folder))
    for name, document in mutant.files.items():
        (folder / name).write_text(written(document, folder))
    return folder


def judged(mutant: Mutant, folder: Path, *, opened: bool) -> Result:
    found = examine_files([folder], frozenset())
    assert isinstance(found, list)
    errors = {one.code for one in found if one.severity is Severity.ERROR}
    return Result(mutant, opened, frozenset(errors), frozenset(one.code for one in found) - errors)


def results_of(
    proxies: Proxies, name: str, every: Sequence[Mutant], **more: Any
) -> tuple[list[Result], list[str]]:
    """Run mutants that differ in their listeners only in one Envoy; return also those that it refused."""
    tried = {f"{name}-{number}": mutant for number, mutant in enumerate(every)}
    listeners: list[Json] = []
    ports: dict[str, list[int]] = {}
    for label, mutant in tried.items():
        folder = saved(mutant, proxies.folder / label)
        document = yaml.load(mutant.text(folder), Loader=yaml.CSafeLoader)
        own, ports[label] = proxies.listeners(label, document)
        listeners += own
    proxies.start(name, listeners, **more)
    results, refused = [], []
    for label, mutant in tried.items():
        answers = [reached(port) for port in ports[label]]
        if None in answers:
            refused.append(mutant.name)
        else:
            results.append(judged(mutant, proxies.folder / label, opened=any(answers)))
    return results, refused


@pytest.fixture(scope="module")
def proxies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxies]:
    made = Proxies(tmp_path_factory.mktemp("doctor"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def ran(proxies: Proxies) -> tuple[list[Result], list[str]]:
    return results_of(
        proxies, "mutants", [*(made() for made in mutants().values()), *combinations(COMBINATIONS, SEED)]
    )


def test_envoy_accepts_every_mutant_and_behaves_as_the_table_states(
    ran: tuple[list[Result], list[str]],
) -> None:
    results, refused = ran

    # Of the random pairs a few are refused, such as a filter chain inside of another one.
    assert [name for name in refused if name[:1].isalpha()] == []
    assert len(refused) < COMBINATIONS / 6
    assert [str(one) for one in results if one.opened != one.mutant.opens] == []


def test_every_configuration_that_lets_a_request_pass_is_an_error(
    ran: tuple[list[Result], list[str]],
) -> None:
    results, _ = ran

    assert [str(one) for one in results if one.opened and not one.errors] == []
    assert sum(one.opened for one in results) > 100


def test_a_configuration_that_checks_every_request_has_no_error(ran: tuple[list[Result], list[str]]) -> None:
    results, _ = ran

    assert [str(one) for one in results if not one.opened and one.errors] == []


def test_overrides_by_the_runtime_of_envoy_count(proxies: Proxies) -> None:
    results, refused = results_of(proxies, "runtime", list(overridden()), layered_runtime=RUNTIME)

    assert refused == []
    assert [str(one) for one in results if one.opened != one.mutant.opens] == []
    assert [str(one) for one in results if one.opened != bool(one.errors)] == []


CHECKED = ("unchanged (plain)", "disabled, enabled on the route (plain)", "composite for all (plain)")


def test_a_dump_of_a_running_envoy_is_judged_like_its_files(proxies: Proxies) -> None:
    every = mutants()
    results_of(proxies, "checked", [every[name]() for name in CHECKED])
    results_of(proxies, "open", [every[name]() for name in (*CHECKED, "FilterConfig at the route (plain)")])

    checked = examine_files([proxies.dump("checked")], frozenset())
    opened = examine_files([proxies.dump("open")], frozenset())

    assert isinstance(checked, list)
    assert isinstance(opened, list)
    assert [one for one in checked if one.severity is Severity.ERROR] == []
    assert [one.code for one in opened if one.severity is Severity.ERROR] == ["check-off"]
