"""Reads which attributes are recorded in addition to those that rules read (`RECORD_ATTRIBUTES`)."""

from typing import Final

from extauthz.settings.values import InvalidValueError, names

MAX_ATTRIBUTES: Final = 100
HEADERS: Final = "request.headers."
_BODY: Final = "request.body."


def attribute_names(value: str) -> frozenset[str]:
    """Return names of attributes. That a header is one of CONDITION_HEADERS is checked with that variable."""
    found = frozenset(names(value))
    if not found:
        return found
    # The attributes take a part of a start that a process without this variable does not pay.
    from extauthz.compile.conditions.attribute_names import attribute_problem

    for name in sorted(found):
        if problem := attribute_problem(name, frozenset({name.removeprefix(HEADERS)})):
            raise InvalidValueError(f"without {name!r}: the name {problem}")
        if name.startswith(_BODY):
            raise InvalidValueError(f"without {name!r}: bodies are not recorded")
    if len(found) > MAX_ATTRIBUTES:
        raise InvalidValueError(f"at most {MAX_ATTRIBUTES} names")
    return found


def not_kept(attributes: frozenset[str], condition_headers: frozenset[str]) -> list[str]:
    """Return the attributes that are headers which a check does not keep."""
    return sorted(
        name
        for name in attributes
        if name.startswith(HEADERS) and name.removeprefix(HEADERS) not in condition_headers
    )
