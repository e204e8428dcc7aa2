"""Look-ups of the tests of database faults in a running stack."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from extauthz.demo.calls import send
from tests.faults.worker_processes import metrics, readiness
from tests.waiting import await_true

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from extauthz.demo.stack import Stack

INVOICE = "/demo/invoices/17"
RULES = "/api/v1/resources/policies"
DENY: Mapping[str, str] = {
    "sub": "finance", "sub_kind": "role", "dom": "*", "obj": "invoice:read", "act": "read", "effect": "deny",
}  # fmt: skip
ANSWERS_IN_A_ROW = 10
"""More than there are workers: every one of them answered."""


def database_check(port: int) -> object:
    """Return the database part of `/healthz/ready` of a port."""
    return readiness(port)[1].get("checks", {}).get("database")


def database_is(port: int, state: str) -> bool:
    """Return whether `/healthz/ready` of a port has this database part."""
    return database_check(port) == state


def metric(port: int, name: str) -> float:
    """Return the sum of a metric's samples."""
    text = metrics(port)
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def await_invoice(stack: Stack, token: str, status: int, *, within: float) -> float:
    """Wait until the invoice is answered with this status by every worker; return the seconds it took."""

    def everywhere() -> bool:
        answers = (send(stack.envoy_port, INVOICE, token=token).status for _ in range(ANSWERS_IN_A_ROW))
        return all(answer == status for answer in answers)

    return await_true(everywhere, within=within, what=f"{status} for {INVOICE}")


def events(log: Path, *names: str) -> list[dict[str, Any]]:
    """Return the lines of an application log with one of these events."""
    lines = (json.loads(line) for line in log.read_text("utf-8", "replace").splitlines() if line[:1] == "{")
    return [line for line in lines if line.get("event") in names]
