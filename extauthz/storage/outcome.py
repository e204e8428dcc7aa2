"""The results of a read or write other than its value, and their translation from errors of the database.

Input: an exception. Output: a `Refusal`; None for a bug.
"""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import asyncpg

from extauthz.domain.problem import Problem
from extauthz.storage.availability import OutcomeUnknownError, Unavailability, cause_of, unavailability_of


@dataclass(frozen=True, slots=True)
class Clash:
    """A conflict of a written document (`index`) with a stored row (`id`; None: with another document)."""

    index: int
    id: str | None
    message: str

    def __str__(self) -> str:
        """Return the message with the id of the row."""
        return self.message if self.id is None else f"{self.message}: {self.id}"


@dataclass(frozen=True, slots=True)
class Conflict:
    """The write conflicts with stored rows (409)."""

    kind: str
    clashes: tuple[Clash, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the conflicting rows, without repetitions."""
        return tuple(dict.fromkeys(clash.id for clash in self.clashes if clash.id is not None))


@dataclass(frozen=True, slots=True)
class NotFound:
    """The row does not exist in this tenant (404)."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Withheld:
    """The change may not become live as it is (409).

    `reason` is a stable word, `clashes` name what stops it.
    """

    reason: str
    detail: str
    clashes: tuple[Clash, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of what stops the change, without repetitions."""
        return tuple(dict.fromkeys(clash.id for clash in self.clashes if clash.id is not None))


@dataclass(frozen=True, slots=True)
class Invalid:
    """A value violates a constraint of the database, or a check of the caller (422)."""

    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class DatabaseUnavailable:
    """The database is unavailable; a later attempt may succeed (503).

    Nothing was stored, unless `outcome_unknown`: then the connection was lost during COMMIT, and the
    transaction was stored completely or not at all.
    """

    message: str = field(compare=False)
    kind: Unavailability = field(default=Unavailability.LOST, compare=False)
    outcome_unknown: bool = field(default=False, compare=False)


_Given = ParamSpec("_Given")
_Value = TypeVar("_Value")

Refusal = Conflict | NotFound | Invalid | Withheld | DatabaseUnavailable


class RefusedError(Exception):
    """Ends a transaction with a refusal, so that nothing of it is stored; see `refusals_returned`."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__("refused")
        self.refusal = refusal


def refusal_of(error: Exception) -> Refusal | None:
    """Return the refusal for an error of the database; None if the error is a bug of extauthz."""
    match error:
        case asyncpg.CheckViolationError() | asyncpg.NotNullViolationError():
            rule = error.constraint_name or error.column_name or "a constraint"
            return Invalid((Problem("", f"the database refuses the value: {rule}"),))
        case asyncpg.UniqueViolationError():
            return Conflict(error.table_name or "row", ())
        case asyncpg.DataError() | asyncpg.ProgramLimitExceededError():
            return Invalid((Problem("", f"the database cannot store the value: {cause_of(error)}"),))
        case asyncpg.InterfaceError() if isinstance(error, ValueError):
            # asyncpg's own DataError (the name is PostgreSQL's): an argument does not match its type.
            return Invalid((Problem("", f"the database cannot store the value: {cause_of(error)}"),))
    kind = unavailability_of(error)
    if kind is None:
        return None
    unknown = isinstance(error, OutcomeUnknownError)
    return DatabaseUnavailable(cause_of(error), kind, outcome_unknown=unknown)


def refusals_returned(
    work: Callable[_Given, Awaitable[_Value]],
) -> Callable[_Given, Coroutine[Any, Any, _Value | Refusal]]:
    """Return a function that returns the refusal for an error of the database; other errors are raised."""

    @wraps(work)
    async def returning(*args: _Given.args, **kwargs: _Given.kwargs) -> _Value | Refusal:
        try:
            return await work(*args, **kwargs)
        except RefusedError as refused:
            return refused.refusal
        except Exception as error:  # drivers and sockets raise many types; `refusal_of` classifies them
            refusal = refusal_of(error)
            if refusal is None:
                raise
            return refusal

    return returning
