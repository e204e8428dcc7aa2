"""The engine of `extauthz casbin enforce`: one request per line in, one answer per line out.

A model of the shape of `policies/model.conf` runs on our index, every other model that pycasbin can run
through pycasbin's parts, guarded. Strings are plain here: no kinds, no prefixes, and `*` means what the
model says.

What a guard refuses is an input or a row, never a model. A refused row that says that it allows is left out;
any other may be a deny, so a request that only it could deny is answered with an error.

INVARIANT: an answer is `true`, `false` or `error: ...`, and only `true` lets pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Protocol

from extauthz.casbin_enforce.index_enforcer import IndexedEngine
from extauthz.casbin_enforce.model import CasbinModelInvalid, read_model
from extauthz.casbin_enforce.policy_file import PolicyFileInvalid, Row, read_rows
from extauthz.casbin_enforce.row_enforcer import GuardedEngine
from extauthz.compile.roles.role_model import RoleModel, compile_model
from extauthz.domain.one_line import one_line
from extauthz.domain.strict_json import JsonRejected, read_json

MAX_LINE: Final = 1 << 20
_MAX_MESSAGE: Final = 300


class _Decides(Protocol):
    def decide(self, values: Sequence[object], now: datetime) -> bool | str:
        """Return whether the request is allowed, or why that cannot be said."""


@dataclass(frozen=True, slots=True)
class FileInvalid:
    """Why the files cannot be used; `part` is `model` or `policy`."""

    part: str
    message: str


@dataclass(frozen=True, slots=True)
class CasbinEngine:
    """A model and its policy, ready to answer; `complaints` are the rows that were refused."""

    width: int
    decider: _Decides
    complaints: tuple[str, ...]

    def answer(self, line: bytes, now: datetime) -> str:
        """Answer one request, a JSON array; `now` is the local time that `timeMatch` compares with."""
        try:
            values = _values(line, self.width)
            verdict = values if isinstance(values, str) else self.decider.decide(values, now)
        except Exception as error:  # noqa: BLE001  # INVARIANT: whatever goes wrong inside Casbin is a deny
            verdict = f"cannot be evaluated: {error}"
        if isinstance(verdict, str):
            return f"error: {one_line(_cut(verdict))}"
        return "true" if verdict is True else "false"


def load_engine(model: str, policy: bytes) -> CasbinEngine | FileInvalid:
    """Read a model and a policy file."""
    plain = read_model(model)
    if isinstance(plain, CasbinModelInvalid):
        return FileInvalid("model", plain.message)
    rows = read_rows(policy, plain.widths)
    if isinstance(rows, PolicyFileInvalid):
        return FileInvalid("policy", rows.message)
    compiled = compile_model(model)
    decider = (
        IndexedEngine(compiled, plain, rows)
        if isinstance(compiled, RoleModel)
        else GuardedEngine(plain, rows)
    )
    return CasbinEngine(len(plain.request), decider, tuple(row.complaint for row in _refused(rows)))


def _refused(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.problem is not None]


def _values(line: bytes, width: int) -> list[object] | str:
    """Read one request; text says why it is refused."""
    if len(line) > MAX_LINE:
        return f"a request is at most {MAX_LINE} bytes"
    document = read_json(line)
    if isinstance(document, JsonRejected):
        return f"the request is refused: {document.problem}"
    if not isinstance(document, list):
        return "the request is not a JSON array"
    if len(document) != width:
        return f"the request has {len(document)} values, the model has {width}"
    if any(value is None or value == "" for value in document):
        return "a value of the request is empty"
    return [_plain(value) for value in document]


def _plain(value: object) -> object:
    """Return what Python's own reader gives, without members that are null: nothing equals nothing."""
    match value:
        case Decimal():
            return float(value)
        case dict():
            return {name: _plain(member) for name, member in value.items() if member is not None}
        case list():
            return [_plain(entry) for entry in value]
        case _:
            return value


def _cut(message: str) -> str:
    return message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}..."
