"""SQL conditions that select rows: SQL with at most one `{}` for a parameter, and that parameter's value."""

from collections.abc import Collection, Mapping
from enum import Enum


class EveryDomain(Enum):
    """A set of domains that cannot be listed."""

    NAMED = "every domain by name, so not the wildcard"


def equal(**columns: object) -> dict[str, object]:
    """Return the conditions of `Table.page` that select rows with these values; None: any value."""
    return {f"{column} = {{}}": value for column, value in columns.items() if value is not None}


def in_domains(column: str, domains: Collection[str] | EveryDomain | None) -> dict[str, object]:
    """Return the condition of `Table.page` that selects rows of the domains; None: of every domain."""
    match domains:
        case None:
            return {}
        case EveryDomain.NAMED:
            return {f"{column} <> '*'": None}
        case _:
            return {f"{column} = ANY({{}}::text[])": list(domains)}


def conditions_of(where: Mapping[str, object], values: list[object]) -> list[str]:
    """Return SQL conditions; the value of each with a `{}` is appended to `values` as the next parameter."""
    conditions = []
    for condition, value in where.items():
        if "{}" in condition:
            values.append(value)
        conditions.append(condition.format(f"${len(values)}"))
    return conditions
