"""Which literals an operator takes: why one does not fit, None where it does.

Each function takes the operator's name, the attribute, and the literal: a scalar, or a tuple of scalars. Its
answer says what is needed, to be read after "found 3, ".
"""

from typing import Any, Final

import re2

from extauthz.compile.conditions.attributes import Attribute
from extauthz.compile.conditions.values import Kind, kind_of, parse_network
from extauthz.compile.fields import shown
from extauthz.domain.time_text import parse_time

MAX_PATTERN: Final = 512

_PATTERN_OPTIONS: Final = re2.Options()
_PATTERN_OPTIONS.log_errors = False
_PATTERN_OPTIONS.max_mem = 1 << 20


def unusable(found: object) -> str | None:
    """Return why no operator takes the literal: null, an object, nested lists, a lone surrogate."""
    if isinstance(found, tuple):
        kinds = {kind_of(entry) for entry in found}
        if None in kinds or Kind.LIST in kinds:
            return "a list of strings, numbers or booleans is needed"
        return None if found else "a list of one or more entries is needed"
    if kind_of(found) is None:
        return "a string, number, boolean, list or {'attribute': name} is needed"
    if isinstance(found, str) and any("\ud800" <= character <= "\udfff" for character in found):
        return "text without lone surrogates is needed"
    return None


def same_type(_: str, attribute: Attribute, found: object) -> str | None:
    """Any scalar or list; text must be of the kind that the attribute has."""
    return _unreadable_text(attribute, (found,))


def one(name: str, _: Attribute, found: object) -> str | None:
    """One scalar."""
    return f"the operator {name} needs a single value" if isinstance(found, tuple) else None


def one_text(name: str, attribute: Attribute, found: object) -> str | None:
    """One string."""
    return one(name, attribute, found) or (
        None if isinstance(found, str) else f"the operator {name} needs a string"
    )


def one_pattern(name: str, attribute: Attribute, found: object) -> str | None:
    """One RE2 pattern."""
    problem = one_text(name, attribute, found)
    if problem is not None:
        return problem
    pattern = str(found)
    if len(pattern) > MAX_PATTERN:
        return f"a pattern of at most {MAX_PATTERN} characters is needed"
    try:
        compile_pattern(pattern)
    except re2.error as error:
        return f"RE2 refuses the pattern: {_detail(error)}"
    return None


def one_flag(name: str, attribute: Attribute, found: object) -> str | None:
    """True or false."""
    return one(name, attribute, found) or (
        None if isinstance(found, bool) else f"the operator {name} needs true or false"
    )


def one_ordered(name: str, attribute: Attribute, found: object) -> str | None:
    """One number or time."""
    problem = one(name, attribute, found)
    if problem is not None:
        return problem
    fits = parse_time(found) is not None if isinstance(found, str) else kind_of(found) is Kind.NUMBER
    return None if fits else f"the operator {name} needs a number or an RFC 3339 time"


def list_of_one_type(name: str, _: Attribute, found: object) -> str | None:
    """A list whose entries are of one kind."""
    if not isinstance(found, tuple):
        return f"the operator {name} needs a list"
    return "a list of one type is needed" if len({kind_of(entry) for entry in found}) > 1 else None


def list_of_same_type(name: str, attribute: Attribute, found: object) -> str | None:
    """A list of one kind; text must be of the kind that the attribute has."""
    problem = list_of_one_type(name, attribute, found)
    if problem is not None or not isinstance(found, tuple):
        return problem
    return _unreadable_text(attribute, found)


def networks(_: str, __: Attribute, found: object) -> str | None:
    """One network, or a list of networks."""
    for entry in found if isinstance(found, tuple) else (found,):
        if not isinstance(entry, str) or parse_network(entry) is None:
            return f"{shown(entry)} is not a network such as '10.0.0.0/8' (without host bits)"
    return None


def _unreadable_text(attribute: Attribute, entries: tuple[object, ...]) -> str | None:
    read = attribute.read_text
    if read is None or all(read(entry) is not None for entry in entries if isinstance(entry, str)):
        return None
    return attribute.text_needed


def compile_pattern(pattern: str) -> Any:
    """Compile a pattern with RE2: linear time whatever the pattern, within bounded memory."""
    return re2.compile(pattern, options=_PATTERN_OPTIONS)


def _detail(error: Exception) -> str:
    detail = error.args[0] if error.args else "unknown error"
    return detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
