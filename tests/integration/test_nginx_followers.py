"""The shipped configuration of nginx before a real control plane: which callers it answers from its cache."""

import base64
import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.demo.processes import ReservedPorts
from extauthz.demo.rest import RestApi
from tests.integration.nginx import Nginx, needs_nginx, nginx
from tests.integration.serving import Serving, database_environment, serving
from tests.integration.test_signed_serving import new_key, public_key
from tests.waiting import await_true

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = needs_nginx

WITHIN_S = 15.0
RULES = "/api/v1/resources/policies"
HEAD = "default/head.json"


@dataclass(frozen=True)
class Found:
    """An answer of the proxy."""

    status: int
    octets: bytes = b""
    cache: str | None = None

    @property
    def head(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(base64.b64decode(json.loads(self.octets)["payload"]))
        return document

    @property
    def serial(self) -> int:
        return int(self.head["serial"])

    def body(self, tenant: str) -> str:
        """Return the path of the whole policies that the head names."""
        return f"{tenant}/{self.head['digests']['whole']['sha256']}.json.gz"


@dataclass
class Fleet:
    """A control plane that signs, with nginx in front of it."""

    control: Serving
    proxy: Nginx
    signing_key: str

    def ask(self, path: str, *keys: str, method: str = "GET") -> Found:
        request = urllib.request.Request(f"{self.proxy.url}/signed-policies/{path}", method=method)
        for key in keys:
            request.add_header("x-service-api-key", key)
        try:
            with urllib.request.urlopen(request, timeout=40) as answer:
                return Found(answer.status, answer.read(), answer.headers.get("x-cache-status"))
        except urllib.error.HTTPError as refused:
            with refused:
                return Found(refused.code, refused.read())

    def first(self, path: str, key: str) -> Found:
        """Return the answer once there is a head."""
        await_true(lambda: self.ask(path, key).status == 200, within=WITHIN_S, what="the head")
        return self.ask(path, key)


@pytest.fixture
def proxied(database: "Database", tmp_path: Path) -> Iterator[Fleet]:
    yield from fleet(database, tmp_path)


@pytest.fixture
def firms(database: "Database", tmp_path: Path) -> Iterator[Fleet]:
    yield from fleet(database, tmp_path, MODE="saas")


def fleet(database: "Database", folder: Path, **more: str) -> Iterator[Fleet]:
    key = new_key()
    for name in ("control", "nginx"):
        (folder / name).mkdir()
    ports = ReservedPorts()
    (port,) = ports.take(1)
    address = database_environment(database.address)
    with serving(folder / "control", address, workers=1, POLICY_SIGNING_KEY=key, **more) as control:
        control.start("control-plane")
        with nginx(folder / "nginx", port, control.rest_port) as proxy:
            yield Fleet(control, proxy, key)
    ports.release()


def last_serial(proxied: Fleet, key: str) -> int:
    """Return the serial of the newest head, once everything that was written is signed."""
    serial = proxied.first(HEAD, key).serial
    while (newer := proxied.ask(f"{HEAD}?after={serial}&wait=1", key).serial) > serial:
        serial = newer
    return serial


def is_refused(proxied: Fleet, path: str, key: str) -> bool:
    return proxied.ask(path, key).status == 401


def service_key(api: RestApi, *scopes: str) -> tuple[str, str]:
    made = api.create("/api/v1/service-api-keys", {"name": f"key {scopes}", "scopes": list(scopes)})
    return made.id, str(made.document["key"])


def test_waiting_followers_with_several_keys_are_one_request(proxied: Fleet) -> None:
    proxied.control.allow_anonymous_reads()
    keys = [service_key(proxied.control.rest, "policies:follow")[1] for _ in range(3)]
    serial = last_serial(proxied, keys[0])
    # Without news each gets the head that it has, from one answer of the control plane.
    for expected, change in ((serial, False), (None, True)):
        query = f"?after={serial}&wait={9 if change else 2}"
        asked = threading.Barrier(25)

        def wait(number: int, query: str = query, asked: threading.Barrier = asked) -> Found:
            asked.wait(timeout=10)
            return proxied.ask(HEAD + query, keys[number % 3])

        with ThreadPoolExecutor(24) as pool:
            waiting = [pool.submit(wait, number) for number in range(24)]
            asked.wait(timeout=10)
            if change:
                proxied.control.rest.create(
                    "/api/v1/resources", {"name": "a", "displayName": "a", "serviceName": "s"}
                )
            found = [each.result(timeout=30) for each in waiting]
        assert {each.status for each in found} == {200}
        assert Counter(each.cache for each in found)["MISS"] == 1
        serials = {each.serial for each in found}
        assert serials == {expected} if expected is not None else min(serials) > serial


def test_the_cache_answers_only_callers_with_a_key_for_the_tenant(firms: Fleet) -> None:
    operator = firms.control.rest
    keys = {}
    for slug in ("acme", "globex"):
        made = operator.ask("POST", "/admin/tenants", {"name": slug, "slug": slug})
        assert made.status == 201, made
        keys[slug] = str(made.document["bootstrapKey"])
    head = firms.first("acme/head.json", keys["acme"])
    firms.first("globex/head.json", keys["globex"])
    paths = ["acme/head.json", "acme/head.json?after=0&wait=0", head.body("acme")]
    for path in paths:
        assert firms.ask(path, keys["acme"]).status == 200
        # Now it is cached.
        assert firms.ask(path).status == 401, path
        assert firms.ask(path, keys["globex"]).status == 403, path
        assert firms.ask(path, "sak_live_" + "0" * 32 + "_" + "1" * 64).status == 401, path
        assert firms.ask(path, keys["globex"], method="HEAD").status == 403, path
    body = head.body("acme").removeprefix("acme/")
    for path in (
        f"globex/{body}",
        f"globex/../acme/{body}",
        f"acme/../globex/{body}",
        f"globex/..%2Facme%2F{body}",
        f"globex%2F..%2Facme/{body}",
        f"globex/./{body}",
        f"ACME/{body}",
        f"acme/{body}/../../acme/{body}",
    ):
        assert firms.ask(path, keys["globex"]).status in {403, 404}, path
    assert firms.ask("globex/head.json", keys["globex"]).head["tenant"] == "globex"
    assert firms.ask("globex/head.json?tenant=acme&after=0", keys["globex"]).head["tenant"] == "globex"
    for key in keys.values():
        secret = key.rpartition("_")[2].encode()
        assert secret not in firms.proxy.stored(), "keys are not written to disk"


def test_a_revoked_key_or_one_of_another_scope_gets_nothing_from_the_cache(proxied: Fleet) -> None:
    api = proxied.control.rest
    _, good = service_key(api, "policies:follow")
    _, reads = service_key(api, "policies:read")
    revoked_id, revoked = service_key(api, "policies:follow")
    body = proxied.first(HEAD, good).body("default")
    for path in (HEAD, body):
        assert proxied.ask(path, revoked).status == 200
        assert proxied.ask(path, reads).status == 403
    assert api.ask("DELETE", f"/api/v1/service-api-keys/{revoked_id}").status == 204
    for path in (HEAD, body):
        await_true(partial(is_refused, proxied, path, revoked), within=WITHIN_S, what="the end of the key")
        assert proxied.ask(path, good).status == 200


def listed(control: Serving) -> object:
    return control.rest.ask("GET", "/api/v1/sidecars").document["items"]


def test_a_sidecar_follows_through_it_and_reports(proxied: Fleet, tmp_path: Path) -> None:
    control = proxied.control
    control.allow_anonymous_reads()
    _, key = service_key(control.rest, "policies:follow")
    (tmp_path / "sidecar").mkdir()
    with serving(
        tmp_path / "sidecar",
        {},
        workers=1,
        POLICY_SOURCE=proxied.proxy.url,
        POLICY_PUBLIC_KEYS=public_key(proxied.signing_key),
        POLICY_API_KEY=key,
    ) as sidecar:
        sidecar.start("sidecar")
        assert sidecar.allowed()
        rule = control.rest.ask("GET", RULES).document["items"][0]
        assert control.rest.ask("DELETE", f"{RULES}/{rule['id']}").status == 204
        await_true(lambda: not sidecar.allowed(), within=WITHIN_S, what="the deleted rule")
        await_true(lambda: listed(control), within=WITHIN_S, what="its report")
        assert "policy_head_refused" not in (sidecar.folder / "extauthz.log").read_text()
    assert key.encode() not in proxied.proxy.stored()
