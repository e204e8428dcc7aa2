"""What a read or write can come to besides its value. Errors of the database are turned into these here."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import asyncpg

from extauthz.domain.problem import Problem
from extauthz.storage.availability import OutcomeUnknownError, Unavailability, cause_of, unavailability_of


@dataclass(frozen=True, slots=True)
class Clash:
    """One of the written documents (by its position) against a row; `id` None: against another of them."""

    index: int
    id: str | None
    message: str

    def __str__(self) -> str:
        """Return the message with the row that it is about."""
        return self.message if self.id is None else f"{self.message}: {self.id}"


@dataclass(frozen=True, slots=True)
class Conflict:
    """The write contradicts what is stored (409)."""

    kind: str
    clashes: tuple[Clash, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the rows in the way, each once."""
        return tuple(dict.fromkeys(clash.id for clash in self.clashes if clash.id is not None))


@dataclass(frozen=True, slots=True)
class NotFound:
    """No such row in this tenant (404)."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Stale:
    """The row has been written since the caller read it (412)."""

    kind: str
    id: str
    expected: int
    current: int


@dataclass(frozen=True, slots=True)
class Invalid:
    """The database, or the caller's own check, refuses a value (422)."""

    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class DatabaseUnavailable:
    """The database cannot be used now; asking again later can succeed (503).

    Nothing was stored, except where `outcome_unknown`: the connection was lost while the transaction was
    committed, which stored it entirely or not at all.
    """

    message: str = field(compare=False)
    kind: Unavailability = field(default=Unavailability.LOST, compare=False)
    outcome_unknown: bool = field(default=False, compare=False)


_Given = ParamSpec("_Given")
_Value = TypeVar("_Value")

Refusal = Conflict | NotFound | Stale | Invalid | DatabaseUnavailable


def refusal_of(error: Exception) -> Refusal | None:
    """Return what an error of the database means to the caller; None: it is a bug of ours."""
    match error:
        case asyncpg.CheckViolationError() | asyncpg.NotNullViolationError():
            rule = error.constraint_name or error.column_name or "a constraint"
            return Invalid((Problem("", f"the database refuses the value: {rule}"),))
        case asyncpg.UniqueViolationError():
            return Conflict(error.table_name or "row", ())
        case asyncpg.DataError() | asyncpg.ProgramLimitExceededError():
            return Invalid((Problem("", f"the database cannot store the value: {cause_of(error)}"),))
        case asyncpg.InterfaceError() if isinstance(error, ValueError):
            # asyncpg's own DataError, hidden by PostgreSQL's of that name: an argument does not fit its type
            return Invalid((Problem("", f"the database cannot store the value: {cause_of(error)}"),))
    kind = unavailability_of(error)
    if kind is None:
        return None
    unknown = isinstance(error, OutcomeUnknownError)
    return DatabaseUnavailable(cause_of(error), kind, outcome_unknown=unknown)


def refusals_returned(
    work: Callable[_Given, Awaitable[_Value]],
) -> Callable[_Given, Coroutine[Any, Any, _Value | Refusal]]:
    """Let a function return what an error of the database means to its caller; other errors are raised."""

    @wraps(work)
    async def returning(*args: _Given.args, **kwargs: _Given.kwargs) -> _Value | Refusal:
        try:
            return await work(*args, **kwargs)
        except Exception as error:  # drivers and sockets raise many kinds; `refusal_of` knows them
            refusal = refusal_of(error)
            if refusal is None:
                raise
            return refusal

    return returning
