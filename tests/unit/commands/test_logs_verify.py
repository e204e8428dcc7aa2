"""`extauthz logs verify`: files, gzip and standard input, keys, heads and earlier reports; exit statuses."""

import gzip
import json
from pathlib import Path

import pytest

from extauthz.decisionlog.chain import Chain
from extauthz.decisionlog.lines import LineForm
from tests.command_line import run_extauthz
from tests.decision_logs import an_allow, put, running

KEY = "k" * 32
ENVIRON = {"DECISION_LOG_CHAIN_KEY": KEY}


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    path = tmp_path_factory.mktemp("chained") / "log"
    with running(path, form=LineForm(chain=Chain(KEY))) as log:
        for number in range(10):
            put(log, an_allow(number))
    return path.read_bytes().splitlines(keepends=True)


def test_rotated_files_and_gzip_are_one_log_in_their_order(tmp_path: Path, lines: list[bytes]) -> None:
    old, new = tmp_path / "old.gz", tmp_path / "new"
    old.write_bytes(gzip.compress(b"".join(lines[:4])) + gzip.compress(lines[4]))
    new.write_bytes(b"".join(lines[5:]))
    assert run_extauthz("logs", "verify", old, new, environ=ENVIRON).returncode == 0
    assert run_extauthz("logs", "verify", new, old, environ=ENVIRON).returncode == 1
    zipped = run_extauthz("logs", "verify", "-", environ=ENVIRON, stdin=gzip.compress(b"".join(lines)))
    assert (zipped.returncode, json.loads(zipped.stdout)["decisions"]) == (0, 10)
    old.write_bytes(old.read_bytes()[:-4])
    cut = run_extauthz("logs", "verify", old, environ=ENVIRON)
    assert (cut.returncode, cut.stdout) == (2, "")
    assert f"'{old}' cannot be read" in cut.stderr


def test_an_error_names_its_file_and_line(tmp_path: Path, lines: list[bytes]) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"".join(lines[:6]))
    second.write_bytes(b"".join([lines[6], lines[7].replace(b'"GET"', b'"PUT"'), *lines[8:]]))
    ended = run_extauthz("logs", "verify", first, second, environ=ENVIRON)
    assert ended.returncode == 1
    [error] = json.loads(ended.stdout)["chain_errors"]
    assert (error["file"], error["line"]) == (str(second), 2)


def test_keys_come_from_the_environment_and_from_files(tmp_path: Path, lines: list[bytes]) -> None:
    log, key, short = tmp_path / "a", tmp_path / "key", tmp_path / "short"
    log.write_bytes(b"".join(lines))
    key.write_text(f"{KEY}\n")
    short.write_text("12345")
    other = {"DECISION_LOG_CHAIN_KEY": "o" * 32}
    assert (
        run_extauthz("logs", "verify", log, environ={"DECISION_LOG_CHAIN_KEY_FILE": str(key)}).returncode == 0
    )
    assert run_extauthz("logs", "verify", log, environ=other).returncode == 1
    assert run_extauthz("logs", "verify", log, "--key-file", key, environ=other).returncode == 0
    assert run_extauthz("logs", "verify", log).returncode == 1
    refused: list[tuple[list[str | Path], dict[str, str], str]] = [
        (["--key-file", short], {}, "must be a secret of 32 bytes or more"),
        ([], {"DECISION_LOG_CHAIN_KEY": "12345"}, "DECISION_LOG_CHAIN_KEY is a value; it must be"),
        ([], ENVIRON | {"DECISION_LOG_CHAIN_KEY_FILE": str(key)}, "are both set; keep one"),
        (["--key-file", tmp_path / "none"], {}, "cannot be read"),
    ]
    for arguments, environ, said in refused:
        ended = run_extauthz("logs", "verify", log, *arguments, environ=environ)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert said in ended.stderr
        assert "12345" not in ended.stderr


def test_heads_and_earlier_reports(tmp_path: Path, lines: list[bytes]) -> None:
    whole, yesterday, today, report = (tmp_path / name for name in ("whole", "yesterday", "today", "report"))
    whole.write_bytes(b"".join(lines))
    yesterday.write_bytes(b"".join(lines[:5]))
    today.write_bytes(b"".join(lines[5:]))
    report.write_text(run_extauthz("logs", "verify", whole, environ=ENVIRON).stdout)
    assert run_extauthz("logs", "verify", whole, "--heads", report, environ=ENVIRON).returncode == 0
    cut = run_extauthz("logs", "verify", yesterday, "--heads", report, environ=ENVIRON)
    assert cut.returncode == 1
    assert "is missing" in json.loads(cut.stdout)["chain_errors"][0]["problem"]
    report.write_text(run_extauthz("logs", "verify", yesterday, environ=ENVIRON).stdout)
    assert run_extauthz("logs", "verify", today, environ=ENVIRON).returncode == 1
    assert run_extauthz("logs", "verify", today, "--after", report, environ=ENVIRON).returncode == 0
    report.write_text("{}")
    ended = run_extauthz("logs", "verify", today, "--after", report, environ=ENVIRON)
    assert ended.returncode == 2
    assert "neither a report of 'extauthz logs verify' nor" in ended.stderr
