"""Casbin's matching functions, undecided where Casbin's libraries disagree.

The same pattern means different things to Casbin's libraries: pycasbin's `regexMatch` is a prefix match and
Go's a search, both read `.` in a `keyMatch2` path as any character, and Python's `$` passes a trailing
newline. So each function has a strict reading, in which everything counts that its documentation shows and
the whole text must match, and a lenient one, in which whatever any library would take is taken. Where the two
differ the answer is `Undecided`: an allow line does not match then, a deny line does.

Every regular expression runs in RE2, so that no pattern costs more than the length of the text.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Final

import re2

from extauthz.casbin_enforce.glob_match import GlobInvalidError, glob_matches

MAX_PATTERN: Final = 4096
_OPTIONS: Final = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 1 << 20

_TIME_FORMAT: Final = "%Y-%m-%d %H:%M:%S"
_ALWAYS: Final = "_"


class Undecided(Exception):  # noqa: N818  # caught by the matcher, which takes the safe side
    """A function whose answer differs between libraries; the text says how to write it unambiguously."""


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Any:
    if len(pattern) > MAX_PATTERN:
        raise Undecided(f"a pattern is longer than {MAX_PATTERN} characters")
    try:
        return re2.compile(pattern, options=_OPTIONS)
    except re2.error:
        return None


def _readable(pattern: str) -> Any:
    compiled = _compiled(pattern)
    if compiled is None:
        raise Undecided(f"RE2 cannot read the pattern {pattern[:64]!r}")
    return compiled


def _agreed(function: str, pattern: str, *, strict: bool, lenient: bool, advice: str) -> bool:
    if strict != lenient:
        raise Undecided(f"{function} with {pattern[:64]!r} matches for some readers only; {advice}")
    return strict


def _found(pattern: str, text: str) -> bool:
    """Search as Go does, and past a trailing newline as Python's `$` does."""
    compiled = _readable(pattern)
    return compiled.search(text) is not None or (
        text.endswith("\n") and compiled.search(text.removesuffix("\n")) is not None
    )


def regex_match(text: str, pattern: str) -> bool:
    """`regexMatch`: decided where the whole text matches, or no part of it."""
    strict = _readable(pattern).fullmatch(text) is not None
    lenient = strict or _found(pattern, text)
    return _agreed(
        "regexMatch", pattern, strict=strict, lenient=lenient, advice="write '.*' where more may stand"
    )


def key_match(text: str, pattern: str) -> bool:
    """`keyMatch`: everything before the first `*`, then anything."""
    prefix, star, _ = pattern.partition("*")
    return text.startswith(prefix) if star else text == pattern


_PLACEHOLDERS: Final = {
    "keyMatch2": re.compile(r"/\*|(:[^/]+)"),
    "keyMatch3": re.compile(r"/\*|(\{[^/]+?\})"),
    "keyMatch4": re.compile(r"/\*|(\{[^/]+\})"),
    "keyMatch5": re.compile(r"/\*|(\{[^/]+\})"),
}


@lru_cache(maxsize=1024)
def _template(function: str, pattern: str) -> tuple[str, str, tuple[str, ...]]:
    """Return the strict and the lenient expression of a path pattern, and the names of its parts."""
    if function == "keyMatch2" and pattern == "*":
        return ".*", ".*", ()
    strict, lenient, names, at = "", "", [], 0
    for found in _PLACEHOLDERS[function].finditer(pattern):
        literal = pattern[at : found.start()]
        strict += re2.escape(literal) + ("/.*" if found[1] is None else r"([^/\r\n]+)")
        lenient += literal + ("/.*" if found[1] is None else "([^/]+)")
        if found[1] is not None:
            names.append(found[1])
        at = found.end()
    return strict + re2.escape(pattern[at:]), f"^{lenient}{pattern[at:]}$", tuple(names)


def _path_match(function: str, text: str, pattern: str) -> bool:
    strict, lenient, _ = _template(function, pattern)
    return _agreed(
        function,
        pattern,
        strict=_readable(strict).fullmatch(text) is not None,
        lenient=_found(lenient, text),
        advice="its other signs are read literally",
    )


def key_match2(text: str, pattern: str) -> bool:
    """`keyMatch2`: `:name` is one segment, `/*` everything below."""
    return _path_match("keyMatch2", text, pattern)


def key_match3(text: str, pattern: str) -> bool:
    """`keyMatch3`: `{name}` is one segment, `/*` everything below."""
    return _path_match("keyMatch3", text, pattern)


def key_match4(text: str, pattern: str) -> bool:
    """`keyMatch4`: as `keyMatch3`, and parts of the same name are equal."""
    strict, _, names = _template("keyMatch4", pattern)
    if not _path_match("keyMatch4", text, pattern):
        return False
    values = _readable(strict).fullmatch(text).groups()
    return len(set(zip(names, values, strict=True))) == len(set(names))


def key_match5(text: str, pattern: str) -> bool:
    """`keyMatch5`: as `keyMatch3`, without the query of the text."""
    return _path_match("keyMatch5", text.partition("?")[0], pattern)


def ip_match(address: str, network: str) -> bool:
    """`ipMatch`: the address is in the network, or is the address.

    Raises:
        ValueError: the first argument is not an address.
    """
    ours = ip_address(address)
    try:
        return ours in ip_network(network, strict=False)
    except ValueError:
        raise Undecided(f"ipMatch: {network[:64]!r} is neither an address nor a network") from None


def glob_match(text: str, pattern: str) -> bool:
    """`globMatch`: `*` and `?` within a segment, `**` over segments, `[...]`, `{...,...}`."""
    try:
        strict, lenient = (glob_matches(text, pattern, lenient=lenient) for lenient in (False, True))
    except GlobInvalidError as unreadable:
        raise Undecided(f"globMatch: {unreadable}") from None
    return _agreed(
        "globMatch",
        pattern,
        strict=strict,
        lenient=lenient,
        advice="leading dots and final slashes are literal",
    )


def time_match(start: str, end: str, *, now: datetime) -> bool:
    """`timeMatch`: `now` is after `start` and before `end`, `_` being no bound; local times without zone.

    Raises:
        ValueError: a bound that is not a time like `2026-01-31 08:00:00`.
    """
    begun = start == _ALWAYS or now > datetime.strptime(start, _TIME_FORMAT)  # noqa: DTZ007  # Casbin's has none
    ended = end != _ALWAYS and now >= datetime.strptime(end, _TIME_FORMAT)  # noqa: DTZ007
    return begun and not ended


def _of_two_strings(function: Callable[[str, str], bool]) -> Callable[[object, object], bool]:
    def checked(first: object, second: object) -> bool:
        if not isinstance(first, str) or not isinstance(second, str):
            raise TypeError("a matching function needs two strings")
        return function(first, second)

    return checked


PATTERN_FUNCTIONS: Final[Mapping[str, Callable[[object, object], bool]]] = {
    name: _of_two_strings(function)
    for name, function in {
        "keyMatch": key_match,
        "keyMatch2": key_match2,
        "keyMatch3": key_match3,
        "keyMatch4": key_match4,
        "keyMatch5": key_match5,
        "regexMatch": regex_match,
        "ipMatch": ip_match,
        "globMatch": glob_match,
    }.items()
}
