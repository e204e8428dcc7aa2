"""The standing load, and the right answer to each of its requests.

The load is every kind of request that the demo's policies decide: granted ones, denied ones, refused
credentials, unmapped and ambiguous paths. A fault may make extauthz unavailable (503); it never changes what
a request is granted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

UNAVAILABLE = 503
NOT_ANSWERED = 0
"""The connection broke: Envoy did not answer."""


class Verdict(Enum):
    """How an answer compares with the right one."""

    RIGHT = "right"
    UNAVAILABLE = "unavailable"
    """503, or the proxy was not there: the client may try again."""
    WRONG_ALLOW = "wrong allow"
    WRONG_DENY = "wrong deny"
    """Another refusal than the right one: the client takes it for an answer of the policies."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request of the load; `right` is the status of a system without a fault."""

    name: str
    path: str
    right: int
    token: str | None = None
    method: str = "GET"

    def judge(self, status: int) -> Verdict:
        """Compare an answer with the right one."""
        if status == self.right:
            return Verdict.RIGHT
        if status in {UNAVAILABLE, NOT_ANSWERED}:
            return Verdict.UNAVAILABLE
        return Verdict.WRONG_ALLOW if status < 400 else Verdict.WRONG_DENY


def standing_load(tokens: Mapping[str, str]) -> Sequence[Question]:
    """Return the load; `tokens` are those of the demo's ready file."""
    return (
        Question("finance reads an invoice", "/demo/invoices/17", 200, tokens["alice"]),
        Question("bob has no role", "/demo/invoices/17", 403, tokens["bob"]),
        Question("no credential", "/demo/invoices/17", 401),
        Question("a deny above the role", "/demo/invoices/sealed-17", 403, tokens["alice"]),
        Question("the owner reads a record", "/demo/people/bob/records", 200, tokens["bob"]),
        Question("another reads a record", "/demo/people/bob/records", 403, tokens["alice"]),
        Question("an unknown clearance", "/demo/reports/q3", 403, tokens["alice"]),
        Question("a forged token", "/demo/invoices/17", 401, tokens["forged"]),
        Question("an expired token", "/demo/invoices/17", 401, tokens["expired"]),
        Question("another audience", "/demo/invoices/17", 401, tokens["wrong_audience"]),
        Question("not a token", "/demo/invoices/17", 401, "x.y.z"),
        Question("the wrong method", "/demo/invoices/17", 403, tokens["alice"], method="DELETE"),
        Question("an unmapped path", "/demo/ledgers/1", 403, tokens["alice"]),
        Question("an ambiguous path", "/demo/invoices/%252e%252e", 400, tokens["alice"]),
        Question("a public route", "/demo/notices", 200),
        Question("a forged token on a public route", "/demo/notices", 401, tokens["forged"]),
    )
