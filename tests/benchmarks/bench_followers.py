"""What followers of signed policies cost one control plane, and how soon the last of them has a change.

Real parts: the embedded PostgreSQL with 100,000 rules, `extauthz control-plane`, HTTP on loopback. Followers
are connections of this process that wait for the next head, as sidecars do; one more is a real sidecar that
applies the change. Times include this process' own work for all connections, on the same machine. Goals: with
1,000 followers the last has a change within 1 s (p99); a waiting follower takes at most 40 KiB and no CPU.

Then the same through Debian's nginx with the configuration of deploy/nginx, where it is installed. `--most N`
measures no more than N followers.
"""

import argparse
import asyncio
import base64
import json
import random
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.demo.processes import free_port
from extauthz.settings import public_key_text
from extauthz.signed.http_source import head_path
from tests.benchmarks.database import add_rules, address_of, started_postgres
from tests.benchmarks.measuring import MachineLoad, cpu_us, keep, percentile
from tests.integration import nginx
from tests.integration.serving import ANONYMOUS_READS, Serving, database_environment, serving
from tests.waiting import await_true

RULES = 100_000
FOLLOWERS = (100, 1_000, 5_000, 10_000)
THROUGH_NGINX = (1_000, 10_000)
WAITING_S = 5.0
CHANGES = 6
_AT_ONCE = 50
_MEASURED_BY = 2_000
_RULES = "/api/v1/resources/policies"
_OTHER_DESCRIPTORS = 500


class Followers:
    """Connections that each ask for a newer head again as soon as they have one."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        path = f"{head_path('default')}?after=%d&wait=25"
        self._request = f"GET {path} HTTP/1.1\r\nhost: x\r\nx-service-api-key: {key}\r\n\r\n"
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting = 0
        self.at: list[float] = []
        self.refused = 0

    async def grow(self, count: int) -> None:
        """Start followers until there are `count` that wait for a newer head than the one of now."""
        while len(self._tasks) < count:
            missing = min(count - len(self._tasks), _AT_ONCE)
            self._tasks += [asyncio.create_task(self._follow()) for _ in range(missing)]
            await self._until(lambda: self._waiting == len(self._tasks))

    async def news(self) -> None:
        """Wait until every follower has had an answer since `at` was emptied."""
        await self._until(lambda: len(self.at) >= len(self._tasks))

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.01)

    async def _follow(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            serial = -1
            while True:
                writer.write((self._request % max(serial, 0)).encode())
                self._waiting += serial >= 0
                found = await self._answer(reader)
                self._waiting -= serial >= 0
                if found is None:
                    # As a sidecar does.
                    self.refused += 1
                    await asyncio.sleep(0.2 + random.random())
                    continue
                assert found >= serial, "heads go forward"
                if found > serial >= 0:
                    self.at.append(time.perf_counter())
                serial = found
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> int | None:
        """Return the serial of the head; None if the server was too busy to answer."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        octets = await reader.readexactly(length)
        # nginx says 500 where the control plane said 503 about the key.
        if head.startswith((b"http/1.1 500 ", b"http/1.1 503 ")):
            return None
        assert head.startswith(b"http/1.1 200 "), head
        envelope = json.loads(octets)
        return int(json.loads(base64.b64decode(envelope["payload"]))["serial"])

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


class Costs:
    """The CPU of the control plane, and of nginx if it is between."""

    def __init__(self, control: Serving, proxy: nginx.Nginx | None) -> None:
        self._pids = {"": [control.process.pid]}
        if proxy is not None:
            self._pids["nginx_"] = proxy.child.family()
        self._since = self._now()

    def _now(self) -> dict[str, float]:
        return {name: cpu_us(pids) / 1e6 for name, pids in self._pids.items()}

    def begin(self) -> None:
        self._since = self._now()

    def taken(self) -> dict[str, float]:
        """Return the seconds of CPU since `begin`."""
        return {name: now - self._since[name] for name, now in self._now().items()}


async def measured(
    control: Serving, sidecar: Serving, key: str, counts: Sequence[int], proxy: nginx.Nginx | None = None
) -> list[Mapping[str, object]]:
    """Measure each number of followers that this machine's limit of descriptors allows."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - _OTHER_DESCRIPTORS
    cpu = Costs(control, proxy)
    followers = Followers(control.rest_port if proxy is None else proxy.port, key)
    held_before = 0 if proxy is None else held_kib(proxy)
    found: list[Mapping[str, object]] = []
    rule = control.rest.ask("GET", f"{_RULES}?sub=anonymous").document["items"][0]["id"]
    for count in (each for each in counts if each <= most):
        await followers.grow(count)
        delays: list[float] = []
        applied: list[float] = []
        costs: list[dict[str, float]] = []
        idle: dict[str, float] = {}
        for number in range(CHANGES):
            if number == 0:
                await asyncio.sleep(1)
                cpu.begin()
                await asyncio.sleep(WAITING_S)
                idle = cpu.taken()
            effect = ("deny", "allow")[number % 2]
            followers.at = []
            cpu.begin()
            began = time.perf_counter()
            sees = threading.Thread(target=lambda: applied.append(seen(sidecar, effect, began)))  # noqa: B023
            sees.start()
            reply = await asyncio.to_thread(
                control.rest.ask, "PUT", f"{_RULES}/{rule}", ANONYMOUS_READS | {"effect": effect}
            )
            # No answer within ten seconds: the write waits behind all followers, on a machine that is busy.
            assert reply.status in {0, 200}, reply
            await followers.news()
            delays += [at - began for at in followers.at]
            costs.append(cpu.taken())
            await asyncio.to_thread(sees.join)
        found.append(
            {
                "followers": count,
                "refused_once": followers.refused,
                "waited_s": WAITING_S,
                **{f"{name}cpu_s_of_waiting": round(taken, 3) for name, taken in idle.items()},
                "p50_s": round(percentile(delays, 0.5), 3),
                "p99_s": round(percentile(delays, 0.99), 3),
                "last_s": round(max(delays), 3),
                "applied_by_sidecar_s": round(max(applied), 3),
                **{f"{name}cpu_s_a_change": round(max(each[name] for each in costs), 3) for name in idle},
            }
            | ({} if proxy is None else {"nginx_kib_a_follower": (held_kib(proxy) - held_before) // count})
        )
    await followers.close()
    return found


def held_kib(proxy: nginx.Nginx) -> int:
    return sum(resident_kib(pid) for pid in proxy.child.family())


async def memory_kib(control: Serving, key: str) -> float:
    """Return what a waiting follower adds to the memory of a control plane that has hardly any policies."""
    followers = Followers(control.rest_port, key)
    before = resident_kib(control.process.pid)
    await followers.grow(_MEASURED_BY)
    found = (resident_kib(control.process.pid) - before) / _MEASURED_BY
    await followers.close()
    return found


def seen(sidecar: Serving, effect: str, began: float) -> float:
    """Return the seconds until the sidecar decides under the change."""
    await_true(lambda: sidecar.allowed() == (effect == "allow"), within=30, what=effect)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=max(FOLLOWERS))
    most = parser.parse_args().most
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    machine = MachineLoad()
    signing = Ed25519PrivateKey.generate()
    pem = signing.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with started_postgres() as server, tempfile.TemporaryDirectory() as folder:
        environ = database_environment(address_of(server))
        folders = [Path(folder, name) for name in ("control", "sidecar", "nginx")]
        for each in folders:
            each.mkdir()
        public = public_key_text(signing.public_key().public_bytes_raw())
        with (
            serving(folders[0], environ, POLICY_SIGNING_KEY=pem, MIGRATE_ON_START="true") as control,
            serving(folders[1], {}, POLICY_PUBLIC_KEYS=public) as sidecar,
        ):
            control.start("control-plane")
            control.allow_anonymous_reads()
            made = control.rest.create(
                "/api/v1/service-api-keys", {"name": "f", "scopes": ["policies:follow"]}
            )
            key = str(made.document["key"])
            waiting_kib = asyncio.run(memory_kib(control, key))
            asyncio.run(add_rules(address_of(server), 0, RULES))
            sidecar.environ |= {
                "POLICY_SOURCE": f"http://127.0.0.1:{control.rest_port}",
                "POLICY_API_KEY": key,
            }
            sidecar.start("sidecar")
            counts = [each for each in FOLLOWERS if each <= most]
            numbers: dict[str, object] = {"kib_a_follower": round(waiting_kib, 1), "rules": RULES}
            numbers["runs"] = asyncio.run(measured(control, sidecar, key, counts))
            if nginx.PROGRAM is not None:
                sidecar.process.stop()
                with nginx.nginx(
                    folders[2], free_port(), control.rest_port, workers=4, connections=max(FOLLOWERS)
                ) as proxy:
                    sidecar.environ["POLICY_SOURCE"] = proxy.url
                    sidecar.start("sidecar")
                    counts = [each for each in THROUGH_NGINX if each <= most]
                    numbers["through_nginx"] = asyncio.run(measured(control, sidecar, key, counts, proxy))
                    sidecar.process.stop()
    keep("followers", numbers, machine.document())


if __name__ == "__main__":
    main()
