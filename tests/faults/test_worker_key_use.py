"""When a service key was last used in the mesh is known to the control plane of `extauthz serve`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.faults.worker_processes import await_true
from tests.folder_postgres import postgres_in_folder
from tests.integration.serving import Serving, serving

if TYPE_CHECKING:
    from pathlib import Path

KEYS = "/api/v1/service-api-keys"
WRITTEN_WITHIN_S = 60.0


def last_used(found: Serving, key_id: str) -> datetime | None:
    reply = found.rest.ask("GET", KEYS)
    (text,) = (item["last_used_at"] for item in reply.document["items"] if item["id"] == key_id)
    return None if text is None else datetime.fromisoformat(text)


def test_serve_writes_when_a_key_was_used_in_the_mesh(tmp_path: Path) -> None:
    with postgres_in_folder() as server:
        server.start()
        with serving(tmp_path, server.environment | {"MIGRATE_ON_START": "true"}) as found:
            found.start()
            found.let_anybody_read()
            created = [
                found.rest.create(KEYS, {"name": name, "scopes": ["identity"]}).document
                for name in ("used", "never used")
            ]
            used, unused = (str(each["id"]) for each in created)
            before = datetime.now(UTC)
            headers = {"x-service-api-key": str(created[0]["key"])}

            def is_known() -> bool:
                answer = found.check(headers=headers)
                assert answer is not None
                return answer.status != 401

            await_true(is_known, within=5, what="the key at the sidecar")
            # Not allowed by any rule: used all the same.
            assert found.check(headers=headers) is not None
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
            # The end of the process loses no use.
            await_true(lambda: found.check(headers=headers), within=2, what="one more use")
            again = datetime.now(UTC)
            found.process.stop(grace_s=9)
            found.start()
            at_the_end = last_used(found, used)
            assert at_the_end is not None
            assert at < at_the_end <= again
