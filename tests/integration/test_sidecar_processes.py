"""Sidecars as processes report what they have: workers of `serve`, followers over HTTP and of PostgreSQL."""

import json
import os
import signal
import socket
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.demo.process_tree import descendants
from tests.integration.serving import ANONYMOUS_READS, Serving, database_environment, serving
from tests.integration.signed_server import signed_server
from tests.integration.test_signed_serving import WITHIN_S, new_key, public_key
from tests.waiting import await_true

if TYPE_CHECKING:
    from tests.integration.conftest import Database

RULES = "/api/v1/resources/policies"


def listed(control: Serving) -> list[dict[str, Any]]:
    return list(control.rest.ask("GET", "/api/v1/sidecars").document["items"])


def key_of(control: Serving, *scopes: str) -> tuple[str, str]:
    """Make a service key; return its id and the key."""
    made = control.rest.create("/api/v1/service-api-keys", {"name": "a", "scopes": list(scopes)}).document
    return made["id"], made["key"]


def metric(sidecar: Serving, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{sidecar.sidecar_port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def test_a_write_names_the_worker_that_is_stopped(database: "Database", tmp_path: Path) -> None:
    with serving(tmp_path, database_environment(database.address), workers=2) as control:
        control.start()
        found = listed(control)
        assert len(found) == 2
        assert all(each["live"] and each["version"] for each in found)
        control.allow_anonymous_reads()
        both = control.rest.ask("POST", f"{RULES}?wait=all", ANONYMOUS_READS | {"sub": "role:a"})
        assert both.status == 201
        assert {each["behind_by"] for each in listed(control)} == {0}
        workers = [each for each in descendants(control.process.pid) if "worker" in each.cmdline()]
        os.kill(workers[0].pid, signal.SIGSTOP)
        late = control.rest.ask("POST", f"{RULES}?wait=all&within=2", ANONYMOUS_READS | {"sub": "role:b"})
        assert late.status == 202
        assert late.document["sub"] == "role:b"
        assert [each["behind_by"] for each in late.document["missing"]] == [1]
        half = control.rest.ask("POST", f"{RULES}?wait=50%25", ANONYMOUS_READS | {"sub": "role:c"})
        assert half.status == 201


@pytest.fixture
def control(database: "Database", tmp_path: Path) -> Iterator[Serving]:
    """A control plane that signs, without workers."""
    folder = tmp_path / "control"
    folder.mkdir()
    key = new_key()
    with serving(folder, database_environment(database.address), POLICY_SIGNING_KEY=key) as found:
        found.start("control-plane")
        found.allow_anonymous_reads()
        yield found


def follower(control: Serving, folder: Path, key: str) -> Any:
    """Return a sidecar that follows the control plane over HTTP."""
    folder.mkdir()
    return serving(
        folder,
        {},
        POLICY_SOURCE=f"http://127.0.0.1:{control.rest_port}",
        POLICY_PUBLIC_KEYS=public_key(control.environ["POLICY_SIGNING_KEY"]),
        POLICY_API_KEY=key,
    )


def warned_of_bodies(control: Serving) -> str | None:
    """Return the warning that a policy which reads bodies is answered with, about those that arrive."""
    policy = {"name": "a", "resource": "a:use", "effect": "allow", "format": "casbin"}
    reads = {"rule_data": "request.body.amount <= 10"}
    made = control.rest.create("/api/v1/abac/policies", policy | reads).document
    said = [each["message"] for each in made.get("warnings", ()) if each["code"] == "body_not_sent"]
    return said[0] if said else None


def until_bodies(control: Serving, state: str) -> None:
    await_true(
        lambda: [each["request_bodies"] for each in listed(control)] == [state],
        within=WITHIN_S,
        what=f"a report that bodies are {state}",
    )


def test_a_follower_reports_before_its_first_decision_and_until_its_end(
    control: Serving, tmp_path: Path
) -> None:
    identity, secret = key_of(control, "identity")
    with follower(control, tmp_path / "sidecar", key_of(control, "policies:follow")[1]) as sidecar:
        sidecar.start("sidecar", ready=False)
        await_true(lambda: sidecar.check() is not None, within=WITHIN_S, what="its first decision")
        (shown,) = listed(control)
        assert shown["live"]
        await_true(sidecar.allowed, within=WITHIN_S, what="its policies")
        rule = ANONYMOUS_READS | {"sub": "role:a"}
        assert control.rest.ask("POST", f"{RULES}?wait=all&within=15", rule).status == 201
        assert [each["behind_by"] for each in listed(control)] == [0]

        sidecar.check(headers={"x-service-api-key": secret})

        def used() -> object:
            keys = control.rest.ask("GET", "/api/v1/service-api-keys").document["items"]
            return next(each["last_used_at"] for each in keys if each["id"] == identity)

        await_true(used, within=WITHIN_S, what="the use of the key")

        assert metric(sidecar, 'extauthz_control_plane_reports_total{outcome="acknowledged"}') >= 2
        sidecar.process.stop(grace_s=8)
        assert listed(control) == []
        assert control.rest.ask("POST", f"{RULES}?wait=all", rule | {"sub": "role:b"}).status == 201


def test_a_write_that_needs_bodies_warns_of_what_a_sidecar_has_seen(control: Serving, tmp_path: Path) -> None:
    with follower(control, tmp_path / "sidecar", key_of(control, "policies:follow")[1]) as sidecar:
        assert warned_of_bodies(control) is None
        sidecar.environ["CONDITION_BODY_MAX"] = "1000"
        sidecar.start("sidecar", ready=False)
        await_true(lambda: listed(control), within=WITHIN_S, what="its first report")
        (shown,) = listed(control)
        assert (shown["condition_body_max"], shown["request_bodies"]) == (1000, None)
        assert warned_of_bodies(control) is None

        await_true(sidecar.allowed, within=WITHIN_S, what="its policies")
        until_bodies(control, "none")
        assert "no sidecar that reports (1) has seen a request with a body yet" in str(
            warned_of_bodies(control)
        )

        form = {"content-type": "application/json", "content-length": "2"}
        sidecar.check(method="POST", headers=form)
        until_bodies(control, "unreadable")
        assert "came to 1 of the sidecars that report (1)" in str(warned_of_bodies(control))

        sidecar.check(method="POST", headers=form | {"x-envoy-auth-partial-body": "false"}, raw_body=b"{}")
        until_bodies(control, "arrived")
        assert warned_of_bodies(control) is None


def test_a_sidecar_that_reads_no_body_says_so(control: Serving, tmp_path: Path) -> None:
    with follower(control, tmp_path / "sidecar", key_of(control, "policies:follow")[1]) as sidecar:
        sidecar.environ["CONDITION_BODY_MAX"] = "0"
        sidecar.start("sidecar")
        await_true(sidecar.allowed, within=WITHIN_S, what="its policies")
        assert [each["condition_body_max"] for each in listed(control)] == [0]
        assert "the sidecars that report (1) have CONDITION_BODY_MAX=0" in str(warned_of_bodies(control))


def test_a_sidecar_on_postgresql_reports_where_it_is_told_to(
    control: Serving, database: "Database", tmp_path: Path
) -> None:
    made = control.rest.create("/admin/sidecar-keys", {"name": "west"}).document
    folder = tmp_path / "sidecar"
    folder.mkdir()
    with serving(
        folder,
        database_environment(database.address),
        CONTROL_PLANE_URL=f"http://127.0.0.1:{control.rest_port}",
        CONTROL_PLANE_API_KEY=made["key"],
    ) as sidecar:
        sidecar.start("sidecar")
        await_true(
            lambda: [each["behind_by"] for each in listed(control)] == [0],
            within=WITHIN_S,
            what="the report of its policies",
        )
        log = (folder / "extauthz.log").read_text("utf-8")
        assert made["key"] not in log
        assert "control_plane_not_reached" not in log


@pytest.mark.parametrize("source", ["signed", "postgres"])
def test_a_write_that_a_sidecar_cannot_read_is_not_said_to_be_there(
    database: "Database", tmp_path: Path, source: str
) -> None:
    """The control plane knows a header of conditions that the sidecar was not told of."""
    (tmp_path / "control").mkdir()
    with serving(
        tmp_path / "control",
        database_environment(database.address),
        POLICY_SIGNING_KEY=new_key(),
        CONDITION_HEADERS="x-department",
    ) as control:
        control.start("control-plane")
        control.allow_anonymous_reads()
        key = key_of(control, "policies:follow")[1]
        with follower(control, tmp_path / "sidecar", key) as sidecar:
            if source == "postgres":
                del sidecar.environ["POLICY_SOURCE"], sidecar.environ["POLICY_PUBLIC_KEYS"]
                del sidecar.environ["POLICY_API_KEY"]
                sidecar.environ |= database_environment(database.address)
                sidecar.environ["CONTROL_PLANE_URL"] = f"http://127.0.0.1:{control.rest_port}"
                sidecar.environ["CONTROL_PLANE_API_KEY"] = key
            sidecar.start("sidecar")
            await_true(sidecar.allowed, within=WITHIN_S, what="its policies")
            condition = {
                "type": "CONDITION",
                "attribute": "request.headers.x-department",
                "operator": "eq",
                "value": "sales",
            }
            policy: dict[str, Any] = {
                "name": "a",
                "resource": "public:read",
                "actions": ["read"],
                "effect": "deny",
                "rule_data": condition,
            }
            made = control.rest.ask("POST", "/api/v1/abac/policies?wait=all&within=3", policy)
            assert made.status == 202, made.document
            (missing,) = made.document["missing"]
            assert missing["behind_by"] == 1
            # Other rows are followed meanwhile, and once it is gone the sidecar has everything again.
            rule = control.rest.ask("GET", RULES).document["items"][0]["id"]
            control.rest.ask("DELETE", f"{RULES}/{rule}")
            await_true(lambda: not sidecar.allowed(), within=WITHIN_S, what="the rule that was deleted")
            path = f"/api/v1/abac/policies/{made.document['id']}"
            assert control.rest.ask("DELETE", f"{path}?wait=all&within=9").status == 204


def test_a_sidecar_is_known_again_soon_after_its_control_plane_was_away(
    control: Serving, tmp_path: Path
) -> None:
    with follower(control, tmp_path / "sidecar", key_of(control, "policies:follow")[1]) as sidecar:
        sidecar.start("sidecar")
        await_true(sidecar.allowed, within=WITHIN_S, what="its policies")
        failed = 'extauthz_control_plane_reports_total{outcome="failed"}'
        control.process.stop(grace_s=8)
        await_true(lambda: metric(sidecar, failed) >= 3, within=30, what="reports that fail")
        os.kill(sidecar.process.pid, signal.SIGSTOP)
        workers = [each for each in descendants(sidecar.process.pid) if "worker" in each.cmdline()]
        for each in workers:
            os.kill(each.pid, signal.SIGSTOP)
        control.start("control-plane")
        rule = ANONYMOUS_READS | {"sub": "role:a"}
        late = control.rest.ask("POST", f"{RULES}?wait=all&within=1", rule)
        assert late.status == 202, "it decides without the rule, and could not report"
        for pid in (*(each.pid for each in workers), sidecar.process.pid):
            os.kill(pid, signal.SIGCONT)
        await_true(
            lambda: [each["behind_by"] for each in listed(control) if each["live"]] == [0],
            within=WITHIN_S,
            what="its next report",
        )


def test_a_write_that_waits_is_answered_when_its_control_plane_ends(control: Serving, tmp_path: Path) -> None:
    with follower(control, tmp_path / "sidecar", key_of(control, "policies:follow")[1]) as sidecar:
        sidecar.start("sidecar")
        (worker,) = [each for each in descendants(sidecar.process.pid) if "worker" in each.cmdline()]
        os.kill(worker.pid, signal.SIGSTOP)
        path = f"{RULES}?wait=all&within=60"
        with ThreadPoolExecutor() as pool:
            late = pool.submit(control.rest.ask, "POST", path, ANONYMOUS_READS | {"sub": "role:a"})
            await_true(
                lambda: [each["behind_by"] for each in listed(control)] == [1],
                within=WITHIN_S,
                what="the write",
            )
            control.process.stop(grace_s=8)
            answer = late.result()
        assert answer.status == 202
        assert answer.document["sub"] == "role:a"
        assert "Traceback" not in (control.folder / "extauthz.log").read_text("utf-8")


def test_a_server_that_takes_no_reports_keeps_no_sidecar_from_deciding(
    control: Serving, tmp_path: Path
) -> None:
    with (
        follower(control, tmp_path / "sidecar", key_of(control, "policies:follow")[1]) as sidecar,
        signed_server(tmp_path / "none") as silent,
    ):
        sidecar.environ["CONTROL_PLANE_URL"] = silent.url
        sidecar.start("sidecar")
        assert sidecar.allowed()
        (line,) = [
            json.loads(each)
            for each in (sidecar.folder / "extauthz.log").read_text("utf-8").splitlines()
            if "control_plane_not_reached" in each
        ]
        assert line["cause"] == "POST /sidecar-reports: the server answered 501"
        assert metric(sidecar, 'extauthz_control_plane_reports_total{outcome="failed"}') >= 1
        assert listed(control) == []


def test_a_control_plane_that_never_answers_delays_a_start_by_two_seconds(
    control: Serving, tmp_path: Path
) -> None:
    with (
        follower(control, tmp_path / "sidecar", key_of(control, "policies:follow")[1]) as sidecar,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        sidecar.environ["CONTROL_PLANE_URL"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        sidecar.start("sidecar")
        assert sidecar.allowed()
