"""A decision log of one writer for tests, and the check that its file is whole."""

import json
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from extauthz.decisionlog.log import DecisionLog
from extauthz.decisionlog.reading import read_lines
from extauthz.decisionlog.report import LogReport
from extauthz.decisionlog.verify import verify
from extauthz.domain.ids import uuid7
from extauthz.domain.verdict import Allowed, Verdict
from tests.builders import allowed

ROOT = Path(__file__).parents[3]
INSTANCE = uuid.UUID("019ab1a8-7afb-7cd9-9139-63808e15452c")


def an_allow(number: int = 0, attributes: Mapping[str, object] = MappingProxyType({})) -> Allowed:
    return allowed()._replace(decision_id=uuid7(number, bytes(10)), attributes_used=attributes)


def put(log: DecisionLog, one: Verdict) -> bool:
    if not log.reserve():
        log.lost()
        return False
    log.write(one, ts=1_763_917_200.0, entrance="grpc", duration_us=33)
    return True


@contextmanager
def running(target: Path | str, **options: object) -> Iterator[DecisionLog]:
    defaults: dict[str, Any] = {"worker": 0, "instance": INSTANCE, "heartbeat_s": 3600.0}
    log = DecisionLog(str(target), **(defaults | options))
    log.start()
    try:
        yield log
    finally:
        assert log.close(10)


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def report_of(*paths: Path, **options: Any) -> LogReport:
    return verify(read_lines(list(paths)), **options)


def assert_sound(path: Path, **options: Any) -> None:
    report = report_of(path, **options)
    assert report.ok, report
    assert not report.unfinished_lines


def run_python(script: str, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
    prelude = "import os, sys, uuid\nfrom tests.decision_logs import *\n"
    prelude += "from extauthz.settings import OverflowAction\n"
    return subprocess.Popen(
        [sys.executable, "-c", prelude + textwrap.dedent(script), *arguments], cwd=ROOT, **options
    )


def problem_of(log: DecisionLog) -> str | None:
    return log.problem


def is_full(log: DecisionLog) -> bool:
    return log.full
