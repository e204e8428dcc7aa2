"""The GitHub Action of policy reviews: its steps as the runner calls them, and an API that keeps comments."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from tests.docs.samples import ROOT
from tests.unit.commands.test_policy_review import BASE, HEAD, folder

ACTION: Final = ROOT / ".github/actions/policy"
DEFINITION: Final = yaml.safe_load((ACTION / "action.yml").read_text("utf-8"))
STEPS: Final = DEFINITION["runs"]["steps"]


class Comments(BaseHTTPRequestHandler):
    """The part of GitHub's API that keeps the comments of an issue, ten of other accounts before."""

    server: "Api"

    def log_message(self, *_: object) -> None:
        """Write nothing."""

    def do_GET(self) -> None:
        query = {name: int(values[0]) for name, values in parse_qs(urlsplit(self.path).query).items()}
        begin = (query["page"] - 1) * query["per_page"]
        self._answer(200, self.server.comments[begin : begin + query["per_page"]])

    def do_POST(self) -> None:
        if self._may_write():
            made = {"id": len(self.server.comments) + 1, "user": {"type": "Bot"}, **self._document()}
            self.server.comments.append(made)
            self._answer(201, made)

    def do_PATCH(self) -> None:
        if self._may_write():
            comment = self.server.comments[int(self.path.rpartition("/")[2]) - 1]
            comment.update(self._document())
            self._answer(200, comment)

    def _may_write(self) -> bool:
        may = self.headers["authorization"] == "Bearer may-write"
        if not may:
            self._answer(403, {"message": "Resource not accessible by integration"})
        return may

    def _document(self) -> Any:
        self.server.written.append(urlsplit(self.path).path)
        return json.loads(self.rfile.read(int(self.headers["content-length"])))

    def _answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Api(ThreadingHTTPServer):
    """The API, with what was written to it."""

    def __init__(self, comments: list[dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), Comments)
        self.comments = comments
        self.written: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def api(comments: list[dict[str, Any]] | None = None) -> Iterator[Api]:
    with Api([] if comments is None else comments) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def comment(
    server: Api, review: Path, *, token: str = "may-write", number: str = "7"
) -> "subprocess.CompletedProcess[str]":
    environ = {
        "GITHUB_API_URL": server.url,
        "GITHUB_REPOSITORY": "owner/shop",
        "GITHUB_TOKEN": token,
        "PULL_REQUEST": number,
    }
    return subprocess.run(
        [sys.executable, str(ACTION / "comment.py"), str(review)],
        capture_output=True, text=True, env=environ, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def review(tmp_path: Path) -> Path:
    file = tmp_path / "extauthz-review.md"
    file.write_text("<!-- extauthz-policy-review shop -->\n### Policy review\n")
    return file


def test_a_review_is_one_comment_that_later_runs_change(review: Path) -> None:
    others = [{"id": at + 1, "body": f"a word {at}", "user": {"type": "User"}} for at in range(230)]
    others[3]["body"] = review.read_text()
    with api(others) as server:
        assert comment(server, review).returncode == 0
        review.write_text(review.read_text() + "another\n")
        done = comment(server, review)
        assert (done.returncode, done.stdout) == (0, "")
    assert server.written == [
        "/repos/owner/shop/issues/7/comments", "/repos/owner/shop/issues/comments/231"
    ]  # fmt: skip
    assert server.comments[230]["body"] == review.read_text()
    assert "another" not in server.comments[3]["body"]


def test_reviews_of_two_folders_are_two_comments(review: Path) -> None:
    with api() as server:
        comment(server, review)
        review.write_text(review.read_text().replace("shop", "billing"))
        comment(server, review)
    assert len(server.comments) == 2


def test_a_token_that_may_not_write_is_a_notice(review: Path) -> None:
    with api() as server:
        done = comment(server, review, token="of-a-fork")
    assert (done.returncode, server.comments) == (0, [])
    assert done.stdout.startswith("::notice::The token may not comment (403)")
    assert "of-a-fork" not in done.stdout + done.stderr


def test_what_is_not_a_review_is_not_commented(tmp_path: Path, review: Path) -> None:
    with api() as server:
        assert comment(server, tmp_path / "absent").stdout.startswith("::notice::")
        assert comment(server, review, number="7/../../8").returncode == 1
        review.write_text("anything")
        assert comment(server, review).returncode == 1
    assert server.written == []


def test_an_api_that_does_not_answer_is_one_line(review: Path) -> None:
    with api() as server:
        pass
    done = comment(server, review)
    assert done.returncode == 1
    assert re.fullmatch(r"::error::GitHub does not answer: .*\n", done.stdout)
    assert done.stderr == ""


def step(script: str, tmp_path: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    told = {
        "PATH": os.environ["PATH"],
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_ACTION_PATH": str(ACTION),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
    }
    return subprocess.run(
        ["bash", str(ACTION / script)],
        capture_output=True, text=True, env=told | environ, cwd=tmp_path, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The place that install.sh installs into, with the command of this environment."""
    place = tmp_path / "extauthz/bin"
    place.mkdir(parents=True)
    found = shutil.which("extauthz", path=str(Path(sys.executable).parent))
    assert found is not None
    (place / "extauthz").symlink_to(found)
    return tmp_path


def test_the_review_is_the_summary_and_its_status_is_the_step_s(installed: Path) -> None:
    folder(installed, "base", BASE)
    folder(installed, "policies", HEAD)
    given = {"POLICY_BASE": "base", "POLICY_HEAD": "policies", "POLICY_NAME": "of the shop; $(id)"}
    good = step("review.sh", installed, **given)
    assert (good.returncode, good.stderr) == (0, "")
    written = (installed / "extauthz-review.md").read_text()
    assert written == good.stdout == (installed / "summary").read_text()
    assert written.startswith("<!-- extauthz-policy-review of_the_shop____id_ -->\n")
    assert "+ role rule role:seller" in written
    folder(installed, "policies", {"role_rules": [{}]})
    bad = step("review.sh", installed, **given)
    assert bad.returncode == 1
    assert "not valid" in (installed / "extauthz-review.md").read_text()
    absent = step("review.sh", installed, POLICY_BASE="base", POLICY_HEAD="absent")
    assert absent.returncode == 2
    assert not (installed / "extauthz-review.md").exists()


def test_a_job_that_has_secrets_is_refused(tmp_path: Path) -> None:
    done = step("install.sh", tmp_path, GITHUB_EVENT_NAME="pull_request_target")
    assert done.returncode == 1
    assert done.stdout.startswith("::error::Use the event pull_request.")
    assert list(tmp_path.iterdir()) == []


def test_no_input_is_a_part_of_a_script() -> None:
    """An expression in `run` is text of the script before the shell reads it."""
    assert [step["run"] for step in STEPS if "${{" in step["run"]] == []
    scripts = [
        ACTION / found for step in STEPS for found in re.findall(r"PATH/([a-z]+\.(?:sh|py))", step["run"])
    ]
    assert len(scripts) == 3
    assert all(script.is_file() for script in scripts)


def test_the_page_lists_every_input() -> None:
    page = (ROOT / "docs/pull-requests.md").read_text("utf-8")
    rows = page.partition("| input | meaning |")[2].partition("\n\n")[0]
    listed = {
        name for row in rows.splitlines()[2:] for name in re.findall(r"`([a-z-]+)`", row.split(" | ")[0])
    }
    assert listed == set(DEFINITION["inputs"])
    workflow = yaml.safe_load(
        page.partition("```text\nname: Policies")[2].partition("```")[0].join(["name: x", ""])
    )
    job = workflow["jobs"]["review"]
    assert workflow["permissions"] == {}
    assert job["permissions"] == {"contents": "read", "pull-requests": "write"}
    used = job["steps"][-1]
    assert set(used["with"]) == {name for name, each in DEFINITION["inputs"].items() if each.get("required")}


@pytest.mark.installs
def test_the_action_installs_the_command_of_its_own_version(tmp_path: Path) -> None:
    done = step("install.sh", tmp_path, GITHUB_EVENT_NAME="pull_request", HOME=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    folder(tmp_path, "base", BASE)
    folder(tmp_path, "policies", HEAD)
    reviewed = step("review.sh", tmp_path, POLICY_BASE="base", POLICY_HEAD="policies")
    assert (reviewed.returncode, reviewed.stderr) == (0, "")
