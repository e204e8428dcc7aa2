"""A failover that leaves the old primary up: only a server that takes writes confirms policies.

The endpoint is a TCP proxy: after the failover new connections lead to the promoted standby, while those that
are open go on to the old primary, which was fenced by `default_transaction_read_only`.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.command_line import run_extauthz
from tests.faults.database_lookups import database_check, events, metric
from tests.faults.postgres_faults import ask
from tests.faults.standby_postgres import standby_of
from tests.faults.tcp_gate import TcpGate
from tests.faults.worker_processes import readiness
from tests.folder_postgres import postgres_in_folder
from tests.integration.serving import ANONYMOUS_READS, Serving, serving
from tests.waiting import await_true

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from extauthz.demo.postgres import EmbeddedPostgres

POLL_S = 0.5
MAX_STALENESS_S = 4
ENFORCED_WITHIN_S = 5.0 + POLL_S
RULES = "/api/v1/resources/policies"
DENY = {**ANONYMOUS_READS, "sub": "*", "effect": "deny"}


@pytest.fixture(scope="module")
def primary() -> Iterator[EmbeddedPostgres]:
    with postgres_in_folder() as server:
        server.start()
        yield server


@pytest.fixture(scope="module")
def standby(primary: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    with standby_of(primary) as server:
        yield server


def in_recovery(server: EmbeddedPostgres) -> bool:
    (row,) = ask(server, "SELECT pg_is_in_recovery()")
    return bool(row[0])


def reason(found: Serving) -> tuple[bool, object]:
    answer = found.check()
    assert answer is not None
    return answer.allowed, answer.metadata.get("reason")


def doctor(server: EmbeddedPostgres) -> tuple[int, list[str]]:
    environ = {**server.environment, "POSTGRES_SSLMODE": "disable", "OIDC_ENABLED": "false"}
    done = run_extauthz("doctor", "--json", environ=environ)
    return done.returncode, [found["code"] for found in json.loads(done.stdout)["findings"]]


def test_an_old_primary_that_is_left_up_confirms_nothing(
    primary: EmbeddedPostgres, standby: EmbeddedPostgres, tmp_path: Path
) -> None:
    leads_to = [primary.port]
    folders = [tmp_path / name for name in ("all", "old", "new")]
    for folder in folders:
        folder.mkdir()
    settings = {
        "POLICY_POLL_INTERVAL": str(POLL_S),
        "POLICY_MAX_STALENESS": str(MAX_STALENESS_S),
        "MIGRATE_ON_START": "true",
    }
    with (
        TcpGate(lambda: leads_to[0]) as gate,
        serving(folders[0], primary.environment | settings | {"POSTGRES_PORT": str(gate.port)}) as everything,
        serving(folders[1], primary.environment | settings) as pinned,
        serving(folders[2], standby.environment | settings) as early,
    ):
        everything.start()
        everything.allow_anonymous_reads()
        pinned.start("sidecar")
        for each in (everything, pinned):
            await_true(each.allowed, within=ENFORCED_WITHIN_S, what="the allow")

        # A sidecar that only reaches a standby confirms nothing, and reports it.
        early.start("sidecar", ready=False)
        await_true(
            lambda: events(folders[2] / "extauthz.log", "database_lost"),
            within=20,
            what="the standby noticed",
        )
        (line,) = events(folders[2] / "extauthz.log", "database_lost")
        assert line["kind"] == "database_read_only"
        assert database_check(early.sidecar_port) == "unavailable"
        assert readiness(early.sidecar_port)[0] == 503
        exit_code, codes = doctor(standby)
        assert exit_code == 1
        assert "database-read-only" in codes

        # The failover: fenced, promoted, endpoint moved. Every connection stays open.
        ask(primary, "ALTER SYSTEM SET default_transaction_read_only = on")
        ask(primary, "SELECT pg_reload_conf()")
        ask(standby, "SELECT pg_promote(true)")
        await_true(lambda: not in_recovery(standby), within=20, what="the promotion")
        leads_to[0] = standby.port
        began = time.monotonic()

        await_true(
            lambda: everything.rest.ask("POST", RULES, DENY).status == 201,
            within=ENFORCED_WITHIN_S,
            what="the first write to the new primary",
        )
        wrote_s = time.monotonic() - began
        await_true(lambda: not everything.allowed(), within=ENFORCED_WITHIN_S, what="the deny")
        denied_s = time.monotonic() - began
        assert reason(everything) == (False, "rule_matched")
        for index in range(12):
            rule = {**ANONYMOUS_READS, "sub": f"role-{index}", "sub_kind": "role"}
            assert everything.rest.ask("POST", RULES, rule).status == 201

        # A worker that reaches only the old primary denies once its policies are too old, and reports it.
        await_true(lambda: not pinned.allowed(), within=MAX_STALENESS_S + 2, what="the old policies refused")
        stale_s = time.monotonic() - began
        assert reason(pinned) == (False, "policy_stale")
        await_true(lambda: readiness(pinned.sidecar_port)[0] == 503, within=3, what="the sidecar not ready")
        assert database_check(pinned.sidecar_port) == "unavailable"
        assert metric(pinned.sidecar_port, "extauthz_policy_refresh_failures_total") > 0
        assert metric(pinned.sidecar_port, "extauthz_policy_age_seconds") > MAX_STALENESS_S
        (line,) = events(folders[1] / "extauthz.log", "database_lost")
        assert line["kind"] == "database_read_only"
        exit_code, codes = doctor(primary)
        assert exit_code == 1
        assert "database-read-only" in codes

        # The sidecar that followed the standby is ready now that it is the primary, with what it has.
        await_true(
            lambda: readiness(early.sidecar_port)[0] == 200,
            within=ENFORCED_WITHIN_S + 5,
            what="the new primary",
        )
        assert reason(early) == (False, "rule_matched")
        assert [line["event"] for line in events(folders[2] / "extauthz.log", "database_back")]
        # Shown with -s.
        print(f"first write {wrote_s:.2f} s, deny {denied_s:.2f} s, stale {stale_s:.2f} s after the failover")
