"""Processes and their database: several hosts, and a password that is rotated in its file."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from extauthz.demo.processes import LOOPBACK, free_port
from tests.command_line import run_extauthz
from tests.integration.publishing import behind_our_back
from tests.integration.serving import (
    ANONYMOUS_READS,
    Serving,
    database_environment,
    environment,
    serving,
)
from tests.waiting import until

if TYPE_CHECKING:
    from tests.integration.conftest import Database

ROLE = "rotated"
FIRST, SECOND = "the-first-of-two-passwords", "the-second-of-two-passwords"
RULES = "/api/v1/resources/policies"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers, as a server that hangs does."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        yield int(listener.getsockname()[1])


def soon(condition: "object", *, within: float = 20.0, what: str = "") -> None:
    assert callable(condition)
    asyncio.run(until(condition, within=within, what=what))


def test_migrate_answers_in_json(database: "Database") -> None:
    environ = environment(database_environment(database.address))
    status = run_extauthz("migrate", "--status", "--json", environ=environ)
    assert status.returncode == 0, status.stderr
    found = json.loads(status.stdout)
    assert found["ok"] is True
    assert all(each.keys() == {"name", "applied_at"} and each["applied_at"] for each in found["migrations"])
    again = json.loads(run_extauthz("migrate", "--json", environ=environ).stdout)
    assert again == {"ok": True, "applied": [], "epoch": None}
    renewed = json.loads(run_extauthz("migrate", "--new-epoch", "--json", environ=environ).stdout)
    assert (renewed["applied"], len(renewed["epoch"])) == ([], 36)


def test_every_command_finds_the_primary_behind_a_dead_and_a_silent_host(
    database: "Database", silent_port: int, tmp_path: Path
) -> None:
    hosts = f"{LOOPBACK}:{free_port()}, [::1]:{free_port()}, {LOOPBACK}:{silent_port}, {LOOPBACK}"
    told = database_environment(database.address) | {"POSTGRES_HOST": hosts}
    done = run_extauthz("migrate", "--status", environ=environment(told))
    assert done.stdout.count(": applied ") >= 5, done.stderr
    examined = run_extauthz("doctor", "--json", environ=environment(told, MIGRATE_ON_START="true"))
    findings = json.loads(examined.stdout)["findings"]
    assert [each for each in findings if each["subject"] == "database"] == []
    with serving(tmp_path, told) as service:
        service.start("serve")
        service.allow_anonymous_reads()
        soon(service.allowed, what="the rule in force")


def test_hosts_of_which_none_will_do_are_each_named(
    database: "Database", silent_port: int, tmp_path: Path
) -> None:
    dead = free_port()
    hosts = f"{LOOPBACK}:{dead},{LOOPBACK}:{silent_port}"
    told = database_environment(database.address) | {"POSTGRES_HOST": hosts}
    done = run_extauthz("migrate", "--status", environ=environment(told))
    assert done.returncode == 1
    for said in (f"{LOOPBACK}:{dead}: ", f"{LOOPBACK}:{silent_port}: no answer within"):
        assert said in done.stderr


class Rotating:
    """A role whose password changes, and the file that holds it."""

    def __init__(self, database: "Database", file: Path) -> None:
        self._database = database
        self.file = file
        self._execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{FIRST}' IN ROLE extauthz")
        file.write_text(f"{FIRST}\n")

    def _execute(self, *statements: str) -> None:
        asyncio.run(behind_our_back(self._database.superuser, *statements))

    def disconnect(self) -> None:
        self._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'")

    def rotate(self) -> None:
        self._execute(f"ALTER ROLE {ROLE} PASSWORD '{SECOND}'")
        self.disconnect()

    def drop(self) -> None:
        self._execute(f"DROP ROLE {ROLE}")


@pytest.fixture
def rotating(database: "Database", tmp_path: Path) -> "Iterator[Rotating]":
    found = Rotating(database, tmp_path / "password")
    yield found
    found.disconnect()
    found.drop()


def test_a_rotated_password_takes_effect_without_a_restart(
    database: "Database", rotating: Rotating, tmp_path: Path
) -> None:
    told = database_environment(database.address) | {
        "POSTGRES_USER": ROLE, "POSTGRES_PASSWORD_FILE": str(rotating.file),
    }  # fmt: skip
    del told["POSTGRES_PASSWORD"]

    def lists(service: Serving) -> int:
        return service.rest.ask("GET", RULES).status

    with serving(tmp_path, told) as service:
        service.start("serve")
        service.allow_anonymous_reads()
        soon(service.allowed, what="the rule in force")

        rotating.rotate()
        soon(lambda: lists(service) == 503, what="the old password refused")
        assert run_extauthz("migrate", "--status", environ=service.environ).returncode == 2
        rotating.file.write_text(SECOND)
        soon(lambda: lists(service) == 200, what="the new password in use")
        assert run_extauthz("migrate", "--status", environ=service.environ).returncode == 0

        rotating.file.unlink()
        rotating.disconnect()
        answer = service.rest.ask("GET", RULES)
        assert (answer.status, answer.document["reason"]) == (503, "database_file")
        named = f"POSTGRES_PASSWORD_FILE '{rotating.file}' cannot be read: No such file or directory"
        assert named in run_extauthz("migrate", environ=service.environ).stderr
        log = tmp_path / "extauthz.log"
        soon(lambda: named in log.read_text(), what="the file in the log")
        rotating.file.write_text(f"{SECOND}\n")
        soon(lambda: lists(service) == 200, what="the file read again")
        # The worker, too, has a connection again: what is written now reaches it.
        denied = ANONYMOUS_READS | {"effect": "deny"}
        assert service.rest.ask("POST", RULES, denied).status == 201
        soon(lambda: not service.allowed(), what="the deny in force")
        for password in (FIRST, SECOND):
            assert password not in (tmp_path / "extauthz.log").read_text()
            assert password not in service.log.read_text()
