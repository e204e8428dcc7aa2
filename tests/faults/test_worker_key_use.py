"""The control plane of `extauthz serve` knows the last use of a service key in the mesh."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.folder_postgres import postgres_in_folder
from tests.integration.serving import Serving, serving
from tests.waiting import await_true

if TYPE_CHECKING:
    from pathlib import Path

KEYS = "/api/v1/service-api-keys"
WRITTEN_WITHIN_S = 60.0


def last_used(found: Serving, key_id: str) -> datetime | None:
    reply = found.rest.ask("GET", KEYS)
    (text,) = (item["last_used_at"] for item in reply.document["items"] if item["id"] == key_id)
    return None if text is None else datetime.fromisoformat(text)


def is_accepted(found: Serving, headers: dict[str, str]) -> bool:
    answer = found.check(headers=headers)
    assert answer is not None
    return answer.status != 401


def test_serve_writes_when_a_key_was_used_in_the_mesh(tmp_path: Path) -> None:
    with postgres_in_folder() as server:
        server.start()
        with serving(tmp_path, server.environment | {"MIGRATE_ON_START": "true"}) as found:
            found.start()
            found.allow_anonymous_reads()
            created = [
                found.rest.create(KEYS, {"name": name, "scopes": ["identity"]}).document
                for name in ("used", "never used")
            ]
            used, unused = (str(each["id"]) for each in created)
            before = datetime.now(UTC)
            headers = {"x-service-api-key": str(created[0]["key"])}

            # Not allowed by any rule: used all the same.
            await_true(lambda: is_accepted(found, headers), within=5, what="the key at the sidecar")
            key = str(created[1]["key"])
            wrong = {"x-service-api-key": key[:-1] + ("1" if key.endswith("0") else "0")}
            refused = found.check(headers=wrong)
            assert refused is not None
            assert refused.status == 401

            await_true(lambda: last_used(found, used), within=WRITTEN_WITHIN_S, what="the use")
            at = last_used(found, used)
            assert at is not None
            assert before <= at <= datetime.now(UTC)
            assert last_used(found, unused) is None


def test_the_end_of_a_process_loses_no_use(tmp_path: Path) -> None:
    with postgres_in_folder() as server:
        server.start()
        with serving(tmp_path, server.environment | {"MIGRATE_ON_START": "true"}) as found:
            found.start()
            found.allow_anonymous_reads()
            key = found.rest.create(KEYS, {"name": "used", "scopes": ["identity"]}).document
            headers = {"x-service-api-key": str(key["key"])}
            await_true(lambda: is_accepted(found, headers), within=5, what="the key at the sidecar")
            before = datetime.now(UTC)
            # Told a moment ago, so that this use waits for a later report.
            assert is_accepted(found, headers)

            found.process.stop(grace_s=9)
            found.start()

            at = last_used(found, str(key["id"]))
            assert at is not None
            assert before <= at <= datetime.now(UTC)
