"""Workers as processes record what is asked: of `serve`, of a sidecar that follows over HTTP, and none."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.integration.serving import ANONYMOUS_READS, Serving, database_environment, serving
from tests.integration.test_sidecar_processes import control, follower, key_of, metric
from tests.waiting import await_true

if TYPE_CHECKING:
    from tests.integration.conftest import Database

__all__ = ["control"]


def recordings(control: Serving) -> dict[str, Any]:
    return dict(control.rest.ask("GET", "/api/v1/recordings").document)


def test_what_workers_of_serve_answer_is_recorded_within_a_minute(
    database: "Database", tmp_path: Path
) -> None:
    with serving(tmp_path, database_environment(database.address), workers=2) as served:
        served.start()
        served.allow_anonymous_reads()
        await_true(served.allowed, within=10, what="the policies")
        for number in range(20):
            served.check(path=f"/not/mapped/{number}")

        await_true(lambda: recordings(served)["requests"] >= 21, within=60, what="the recording")
        found = recordings(served)
        assert found["recording"] is True
        assert found["since"] is not None
        assert (found["lost"], found["kept_days"]) == (0, 90)
        assert found["shapes"] >= 21
        assert metric(served, "extauthz_recordings_lost_total") == 0


def test_what_workers_answered_is_replayed_on_a_draft_within_a_minute(
    database: "Database", tmp_path: Path
) -> None:
    with serving(tmp_path, database_environment(database.address), workers=1) as served:
        served.start()
        served.allow_anonymous_reads()
        await_true(served.allowed, within=10, what="the policies")
        await_true(lambda: recordings(served)["requests"] >= 1, within=60, what="the recording")
        ask = served.rest.ask
        draft_id = ask("POST", "/api/v1/drafts", {}).document["id"]
        draft = f"/api/v1/drafts/{draft_id}"
        denied = ANONYMOUS_READS | {"effect": "deny"}
        made = ask("POST", f"/api/v1/resources/policies?draft={draft_id}", denied).document

        replay = ask("POST", f"{draft}/replay").document
        location = f"{draft}/replay/{replay['id']}"
        await_true(
            lambda: ask("GET", location).document["status"] in {"done", "failed"},
            within=60,
            what="the replay",
        )

        job = ask("GET", location).document
        assert job["status"] == "done", job["problem"]
        groups = job["result"]["newly_denied"]["groups"]
        assert groups["rule"][0]["rule"] == {"id": made["id"], "kind": "role"}
        assert job["result"]["cannot_say"]["requests"] == job["result"]["newly_allowed"]["requests"] == 0
        assert served.allowed()


def test_a_follower_sends_what_it_counted_before_it_ends(control: Serving, tmp_path: Path) -> None:
    with follower(control, tmp_path / "sidecar", key_of(control, "policies:follow")[1]) as sidecar:
        sidecar.start("sidecar")
        await_true(sidecar.allowed, within=20, what="its policies")
        before = recordings(control)["requests"]
        for _ in range(7):
            sidecar.check()
        sidecar.process.stop(grace_s=8)

        assert recordings(control)["requests"] >= before + 7


def test_record_off_records_nothing(control: Serving, tmp_path: Path) -> None:
    with follower(control, tmp_path / "sidecar", key_of(control, "policies:follow")[1]) as sidecar:
        sidecar.environ["RECORD"] = "off"
        sidecar.start("sidecar")
        await_true(sidecar.allowed, within=20, what="its policies")
        sidecar.process.stop(grace_s=8)

        assert recordings(control)["requests"] == 0
