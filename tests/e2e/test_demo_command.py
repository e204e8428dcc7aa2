"""`extauthz demo` as a process, which leaves nothing behind."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from extauthz.demo.calls import send
from extauthz.demo.process_tree import alive
from extauthz.demo.rest import RestApi
from tests.integration.serving import serving
from tests.light_processes import LIGHT
from tests.waiting import await_true

# What is left behind is found by the environment in /proc, which an exec sets.
pytestmark = pytest.mark.executed

DEMO = [sys.executable, "-m", "extauthz", "demo"]


@contextmanager
def made_scratch() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="extauthz-e2e-"))
    path.chmod(0o777)
    yield path
    # A server that is ending may still remove files.
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Where a demo keeps its files; also how to find its processes, which inherit TMPDIR."""
    with made_scratch() as path:
        yield path


def environment(scratch: Path, **extra: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return kept | LIGHT | {"TMPDIR": str(scratch)} | extra


def left_of(scratch: Path) -> set[str]:
    """Files that are left, and processes that still run."""
    left = {str(path) for path in scratch.iterdir()}
    marker = f"TMPDIR={scratch}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ours = marker in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if ours and alive(int(process.name)):
            left.add((process / "cmdline").read_text().replace("\0", " "))
    return left


def await_file(path: Path, process: "subprocess.Popen[str]", within_s: float = 45) -> dict[str, object]:
    def is_there() -> bool:
        assert path.exists() or process.poll() is None, "the demo ended"
        return path.exists()

    await_true(is_there, within=within_s, what=f"{path}")
    document: dict[str, object] = json.loads(path.read_text())
    return document


def followed_by(facts: dict[str, object], folder: Path) -> dict[str, bool]:
    """Start a sidecar by what the ready file has; return which tokens it allows to read an invoice."""
    folder.mkdir()
    rest = RestApi(port_of(facts["rest_url"]), str(facts["admin_api_key"]))
    made = rest.create("/api/v1/service-api-keys", {"name": "follower", "scopes": ["policies:follow"]})
    tokens = facts["tokens"]
    assert isinstance(tokens, dict)
    with serving(
        folder,
        {},
        OIDC_ENABLED="true",
        POLICY_SOURCE=str(facts["rest_url"]),
        POLICY_PUBLIC_KEYS=str(facts["policy_public_keys"]),
        POLICY_API_KEY=made.document["key"],
        POLICY_CACHE_DIR=str(folder / "cache"),
    ) as sidecar:
        sidecar.start("sidecar", ready=False)

        def allowed(person: str) -> bool:
            token = {"authorization": f"Bearer {tokens[person]}"}
            answer = sidecar.check(path="/demo/invoices/17", headers=token)
            return answer is not None and answer.allowed

        people = ("alice", "bob", "forged")
        await_true(lambda: allowed("alice"), within=20, what="an allow of the follower")
        found = {person: allowed(person) for person in people}
        # Started again from its cache, with no control plane and no provider to ask.
        await_true(lambda: list(folder.rglob("head.json")), within=10, what="the cached head")
        sidecar.process.stop(grace_s=8)
        sidecar.environ["POLICY_SOURCE"] = "http://127.0.0.1:9"
        sidecar.start("sidecar", ready=False)
        await_true(lambda: allowed("alice"), within=20, what="an allow from the cache")
        assert {person: allowed(person) for person in people} == found
        return found


def port_of(url: object) -> int:
    return int(str(url).rpartition(":")[2])


@dataclass(frozen=True)
class Checked:
    """How two demos with `--check` that ran at once ended, and what they printed and left."""

    statuses: list[int]
    outputs: list[str]
    left: set[str]


@pytest.fixture(scope="module")
def checked() -> Iterator[Checked]:
    """Run a demo of each mode at once; the first as an ordinary user, where root can become one."""
    with made_scratch() as scratch:
        started = [
            subprocess.Popen(
                [*command, "--check", "--mode", mode],
                env=environment(scratch, **more),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for mode, command, more in (
                ("selfhost", [*as_ordinary_user(), *DEMO], {"HOME": "/nonexistent"}),
                ("saas", DEMO, {}),
            )
        ]
        outputs = [demo.communicate(timeout=240)[0] for demo in started]
        yield Checked([demo.returncode for demo in started], outputs, left_of(scratch))


def as_ordinary_user() -> list[str]:
    """Return the start of a command that runs as an ordinary user; it is empty where that is not needed."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or setpriv is None:
        return []
    # The capability reads the interpreter and the checkout, and nothing else.
    return [
        setpriv, "--reuid=65534", "--regid=65534", "--clear-groups",
        "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
    ]  # fmt: skip


def test_two_demos_at_once_pass_their_checks_and_do_not_interfere(checked: Checked) -> None:
    assert checked.statuses == [0, 0], checked.outputs
    for output in checked.outputs:
        lines = [line for line in output.splitlines() if " expected " in line]
        assert len(lines) >= 10
        assert all(", got " in line for line in lines)
        # The story of changes that are tried on recorded requests before they are live.
        recorded = next(number for number, line in enumerate(lines) if "requests are recorded" in line)
        assert len(lines[recorded:]) == 12
    assert checked.left == set()


def test_an_ordinary_user_needs_no_more_rights(checked: Checked) -> None:
    if os.geteuid() == 0 and not as_ordinary_user():
        pytest.skip("root needs setpriv(1) to become an ordinary user here")
    assert checked.statuses[0] == 0, checked.outputs[0]


def test_the_demo_runs_until_it_is_asked_to_end(scratch: Path, tmp_path: Path) -> None:
    ready, log = tmp_path / "ready.json", tmp_path / "decisions.jsonl"
    with (tmp_path / "progress").open("w") as progress:
        demo = subprocess.Popen(
            [*DEMO, "--ready-file", str(ready)],
            env=environment(scratch, DECISION_LOG=str(log)),
            stdout=subprocess.PIPE,
            stderr=progress,
            text=True,
        )
    facts = await_file(ready, demo)
    steps = re.findall(r"^ *[0-9.]+ s  (.*)", (tmp_path / "progress").read_text(), re.MULTILINE)
    assert len(steps) == 4
    assert all(step.startswith("starting ") for step in steps[:-1])
    assert steps[-1] == "started"
    tokens = facts["tokens"]
    assert isinstance(tokens, dict)
    assert {"admin", "alice", "bob", "expired", "forged", "wrong_audience"} <= set(tokens)
    assert ready.stat().st_mode & 0o077 == 0
    host, _, port = str(facts["grpc_target"]).rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5):
        pass
    assert facts["decision_log"] == str(log)
    assert str(facts["issuer"]).startswith("http://127.0.0.1:")
    assert facts["jwks_uri"] == f"{facts['issuer']}/jwks"
    assert facts["token_url"] == f"{facts['issuer']}/token"
    assert str(facts["postgres_dsn"]).startswith("postgresql://extauthz:")
    rest = RestApi(port_of(facts["rest_url"]), str(facts["admin_api_key"]))
    assert rest.ask("GET", "/healthz/ready").status == 200
    assert rest.ask("GET", "/api/v1/resources", token=tokens["admin"]).status == 200
    assert rest.ask("GET", "/api/v1/resources", token=tokens["alice"]).status == 403
    envoy = port_of(facts["envoy_url"])
    for name, status in {"alice": 200, "bob": 403, "expired": 401, "forged": 401}.items():
        assert send(envoy, "/demo/invoices/17", token=tokens[name]).status == status
    assert send(envoy, "/elsewhere", token=tokens["alice"]).status == 403

    # A sidecar that follows the demo has its provider and keys from the control plane, and cannot fetch any.
    assert followed_by(facts, tmp_path / "follower") == {"alice": True, "bob": False, "forged": False}

    rotated = log.rename(tmp_path / "decisions.1.jsonl")
    demo.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 10
    while not log.exists() or "decision" not in log.read_text():
        assert send(envoy, "/demo/invoices/17", token=tokens["alice"]).status == 200
        assert time.monotonic() < deadline, "the decision log was not reopened"
    assert demo.poll() is None

    demo.send_signal(signal.SIGINT)
    started = time.monotonic()
    demo.communicate(timeout=20)

    assert time.monotonic() - started < 10
    assert demo.returncode == 0
    assert left_of(scratch) == set()
    assert not ready.exists()
    lines = rotated.read_text() + log.read_text()
    events = [json.loads(line)["event"] for line in lines.splitlines()]
    assert events[0] == "log_started"
    assert events[-1] == "log_stopped"


def test_the_demo_runs_two_tenants_with_users_host_and_provider_of_their_own(
    scratch: Path, tmp_path: Path
) -> None:
    ready = tmp_path / "ready.json"
    demo = subprocess.Popen(
        [*DEMO, "--mode", "saas", "--ready-file", str(ready)],
        env=environment(scratch),
        stdout=subprocess.PIPE,
        text=True,
    )
    facts = await_file(ready, demo)
    tokens, tenants = facts["tokens"], facts["tenants"]
    assert isinstance(tokens, dict)
    assert isinstance(tenants, dict)
    names = ("admin", "alice", "bob", "expired", "forged", "wrong_audience")
    assert {f"{slug}/{name}" for slug in ("acme", "globex") for name in names} <= set(tokens)
    assert {slug: tenant["host"] for slug, tenant in tenants.items()} == {
        "acme": "acme.local",
        "globex": "globex.local",
    }
    assert len({tenant["issuer"] for tenant in tenants.values()}) == 2
    envoy = port_of(facts["envoy_url"])

    def got(person: str, host: str) -> tuple[int, str | None, str | None]:
        answer = send(envoy, "/demo/invoices/17", host=host, token=tokens[person])
        return answer.status, answer.reason, (answer.received or {}).get("x-auth-tenant")

    assert got("acme/alice", "acme.local") == (200, None, "acme")
    assert got("globex/alice", "globex.local") == (200, None, "globex")
    assert got("acme/alice", "globex.local") == (403, "tenant_mismatch", None)
    assert got("globex/bob", "globex.local") == (403, "no_matching_rule", None)
    assert got("acme/alice", "127.0.0.1") == (403, "unmapped_route", None)
    # A sidecar of one tenant follows the demo: the ready file has all that it needs.
    (tmp_path / "follower").mkdir()
    with serving(
        tmp_path / "follower",
        {},
        MODE="saas",
        TENANTS="acme",
        OIDC_ENABLED="true",
        JWKS_ALLOW_HOSTS=",".join(tenant["issuer"].removeprefix("http://") for tenant in tenants.values()),
        POLICY_SOURCE=str(facts["rest_url"]),
        POLICY_PUBLIC_KEYS=str(facts["policy_public_keys"]),
        POLICY_API_KEY=tenants["acme"]["bootstrap_key"],
    ) as sidecar:
        sidecar.start("sidecar")

        def followed(person: str) -> bool:
            token = {"authorization": f"Bearer {tokens[person]}"}
            answer = sidecar.check(path="/demo/invoices/17", host="acme.local", headers=token)
            return answer is not None and answer.allowed

        await_true(lambda: followed("acme/alice"), within=10, what="an allow of the follower")
        assert not followed("acme/bob")
        assert not followed("globex/alice")
    rest = RestApi(port_of(facts["rest_url"]), str(facts["admin_api_key"]))
    assert rest.ask("GET", "/api/v1/resources").status == 403
    listed = [
        rest.ask("GET", "/api/v1/resources", token=tokens[f"{slug}/admin"]).document for slug in tenants
    ]
    by_key = rest.with_service_key(tenants["acme"]["bootstrap_key"]).ask("GET", "/api/v1/resources")
    assert by_key.document == listed[0]
    assert not {each["id"] for each in listed[0]["items"]} & {each["id"] for each in listed[1]["items"]}

    demo.send_signal(signal.SIGTERM)
    started = time.monotonic()
    demo.communicate(timeout=20)

    assert time.monotonic() - started < 10
    assert demo.returncode == 0
    assert left_of(scratch) == set()


def test_a_signal_during_the_start_ends_the_demo(scratch: Path) -> None:
    demo = subprocess.Popen(DEMO, env=environment(scratch), stdout=subprocess.PIPE, text=True)
    await_true(lambda: list(scratch.glob("*/identity-provider.log")), within=20, what="the first process")

    demo.send_signal(signal.SIGTERM)
    demo.communicate(timeout=10)

    assert demo.returncode == 0
    assert left_of(scratch) == set()


def test_a_killed_demo_leaves_no_process(scratch: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    demo = subprocess.Popen(
        [*DEMO, "--ready-file", str(ready)], env=environment(scratch), stdout=subprocess.DEVNULL, text=True
    )
    await_file(ready, demo)

    demo.kill()
    demo.wait()

    def ended() -> bool:
        return not any(not left.startswith(str(scratch)) for left in left_of(scratch))

    await_true(ended, within=5, what="the end of all processes")


def test_a_busy_port_is_one_readable_message(scratch: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        finished = subprocess.run(
            [*DEMO, "--check"],
            env=environment(scratch, GRPC_PORT=str(busy.getsockname()[1])),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert finished.returncode == 1
    assert str(busy.getsockname()[1] if busy.fileno() >= 0 else "") in finished.stderr
    assert "Traceback" not in finished.stderr
    assert left_of(scratch) == set()


def test_an_unknown_mode_is_wrong_usage(scratch: Path) -> None:
    finished = subprocess.run(
        [*DEMO, "--mode", "magic"],
        env=environment(scratch),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert finished.returncode == 2
    assert "magic" in finished.stderr
