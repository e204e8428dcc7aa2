"""The kind of a database failure is distinguished in the REST answer, in the log (once), and in readiness."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from tests.faults.database_lookups import RULES, database_check, events
from tests.faults.postgres_faults import fill_connections, read_only_database, wrong_password
from tests.folder_postgres import postgres_in_folder
from tests.integration.serving import Serving, serving
from tests.waiting import await_true

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from extauthz.demo.postgres import EmbeddedPostgres
    from tests.faults.mesh import FaultyStack

SEEN_WITHIN_S = 6.0
RECOVERS_S = 12.0
PROCESSES = 2
"""One worker and the control plane: each reports that it lost its database."""
RULE = {"sub": "finance", "dom": "*", "obj": "invoice:read", "act": "read", "effect": "allow"}


class Running:
    """What the faults need of a stack."""

    def __init__(self, postgres: EmbeddedPostgres, found: Serving) -> None:
        self.postgres = postgres
        self.found = found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("kinds")
    with postgres_in_folder() as postgres:
        postgres.start()
        with serving(folder, postgres.environment, MIGRATE_ON_START="true") as found:
            found.start()
            yield Running(postgres, found)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (wrong_password, "database_refused"),
        (fill_connections, "database_full"),
        (read_only_database, "database_read_only"),
    ],
    ids=["wrong password", "no connection left", "read-only"],
)
def test_the_log_names_the_kind_of_a_lost_database(
    running: Running, fault: Callable[[FaultyStack], AbstractContextManager[None]], kind: str
) -> None:
    found = running.found
    log = found.folder / "extauthz.log"
    known = len(events(log, "database_lost", "database_back"))

    def told() -> list[tuple[str, object]]:
        return [
            (line["event"], line.get("kind"))
            for line in events(log, "database_lost", "database_back")[known:]
        ]

    with fault(cast("FaultyStack", running)):
        await_true(
            lambda: database_check(found.rest_port) == database_check(found.sidecar_port) == "unavailable",
            within=SEEN_WITHIN_S,
            what="the loss in readiness",
        )
        for method, body in (("GET", None), ("POST", RULE)):
            reply = found.rest.ask(method, RULES, body)
            assert (reply.status, reply.document["reason"]) == (503, kind)
            assert running.postgres.environment["POSTGRES_PASSWORD"] not in str(reply.document)
        await_true(
            lambda: len([line for line in told() if line == ("database_lost", kind)]) == PROCESSES,
            within=SEEN_WITHIN_S,
            what="the loss in the log",
        )
    await_true(
        lambda: database_check(found.rest_port) == database_check(found.sidecar_port) == "ok",
        within=RECOVERS_S,
        what="the recovery",
    )
    assert found.rest.ask("GET", RULES).status == 200
    await_true(
        lambda: [event for event, _ in told()].count("database_back") >= PROCESSES,
        within=SEEN_WITHIN_S,
        what="the recovery in the log",
    )
    # A session that was ended is one cause, the login that is refused after it another; each is logged once.
    lost = [told_kind for event, told_kind in told() if event == "database_lost"]
    assert set(lost) <= {kind, "database_shutting_down", "database_lost"}
    assert all(lost.count(each) <= PROCESSES for each in lost), told()
    text = log.read_text("utf-8", "replace")
    assert running.postgres.environment["POSTGRES_PASSWORD"] not in text
