"""`globMatch` patterns in bounded time: braces expanded, segments matched by RE2, `**` by a table.

The strict reading is what Casbin's libraries agree on. The lenient one also lets a wildcard match a leading
dot (Go does) and ignores a final slash of the text (pycasbin does).
"""

import re
from functools import lru_cache
from typing import Any, Final

import re2

MAX_GLOB: Final = 1024
MAX_TEXT: Final = 16 * 1024
_MAX_ALTERNATIVES: Final = 64
_MAX_STEPS: Final = 100_000
_OPTIONS: Final = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.dot_nl = True
_OPTIONS.max_mem = 1 << 20

_BRACES: Final = re.compile(r"\{([^{}]*)\}")
_STARS: Final = re.compile(r"\*{2,}")
_SLASHES: Final = re.compile("/{2,}")
_ANY_SEGMENTS: Final = "**"


class GlobInvalidError(ValueError):
    """A pattern (or text) that is too long, or that libraries read differently as a whole."""


def glob_matches(text: str, pattern: str, *, lenient: bool) -> bool:
    """Tell whether the text matches in the given reading.

    Raises:
        GlobInvalidError: the pattern has no reading that is both agreed on and bounded.
    """
    if len(text) > MAX_TEXT:
        raise GlobInvalidError(f"the text is longer than {MAX_TEXT} characters")
    if not text:
        raise GlobInvalidError("the text is empty")
    alternatives = _alternatives(pattern, lenient)
    names = _SLASHES.sub("/", text).split("/") if lenient else text.split("/")
    if len(names) * sum(map(len, alternatives)) > _MAX_STEPS:
        raise GlobInvalidError(f"{pattern[:64]!r} takes more than {_MAX_STEPS} steps for this text")
    if lenient and len(names) > 1 and not names[-1]:
        return any(
            _walk(names[:-1], each, lenient=True) or _walk(names, each, lenient=True) for each in alternatives
        )
    return any(_walk(names, segments, lenient=lenient) for segments in alternatives)


@lru_cache(maxsize=1024)
def _alternatives(pattern: str, lenient: bool) -> tuple[tuple[str, ...], ...]:
    """Return the segments of every pattern that the braces stand for."""
    if len(pattern) > MAX_GLOB:
        raise GlobInvalidError(f"the pattern is longer than {MAX_GLOB} characters")
    # Casbin: "*/x" is "/x", and of several stars that are not a segment one counts.
    rooted = pattern[1:] if pattern.startswith("*/") else pattern
    if lenient:
        rooted = _SLASHES.sub("/", rooted)
    parts = [part if part == _ANY_SEGMENTS else _STARS.sub("*", part) for part in rooted.split("/")]
    waiting, flat = ["/".join(parts)], []
    while waiting:
        candidate = waiting.pop()
        braces = _BRACES.search(candidate)
        if braces is None:
            flat.append(candidate)
        else:
            before, after = candidate[: braces.start()], candidate[braces.end() :]
            waiting += [before + each + after for each in _choices(braces, before, after)]
        if len(flat) + len(waiting) > _MAX_ALTERNATIVES:
            raise GlobInvalidError(f"{pattern[:64]!r} stands for more than {_MAX_ALTERNATIVES} patterns")
    return tuple(tuple(each) for one in flat for each in _split(one))


def _choices(braces: "re.Match[str]", before: str, after: str) -> list[str]:
    choices = braces[1].split(",")
    odd = len(choices) < 2 or "\\" in braces[1] or ".." in braces[1] or before.endswith("\\")
    grown = any("**" in f"{before[-1:]}{each}{after[:1]}" for each in choices)
    if odd or grown:
        raise GlobInvalidError(f"the braces {braces[0][:64]!r} are not a list of alternatives")
    return choices


def _split(pattern: str) -> list[list[str]]:
    if "{" in pattern or "}" in pattern:
        raise GlobInvalidError(f"a brace in {pattern[:64]!r} has no counterpart")
    segments = pattern.split("/")
    for segment in segments:
        _segment(segment)
    if len(segments) > 1 and segments[-1] == _ANY_SEGMENTS:
        return [segments, segments[:-1]]
    return [segments]


@lru_cache(maxsize=1024)
def _segment(segment: str) -> Any:
    """Compile one segment to RE2."""
    expression, at = "", 0
    while at < len(segment):
        sign = segment[at]
        at += 1
        if sign == "*":
            expression += ".*"
        elif sign == "?":
            expression += "."
        elif sign == "[":
            members, at = _members(segment, at)
            expression += members
        elif sign == "\\":
            if at == len(segment):
                raise GlobInvalidError(f"a backslash ends {segment[:64]!r}")
            expression += re2.escape(segment[at])
            at += 1
        else:
            expression += re2.escape(sign)
    try:
        return re2.compile(expression, options=_OPTIONS)
    except re2.error:
        raise GlobInvalidError(f"{segment[:64]!r} is not a pattern") from None


def _members(segment: str, at: int) -> tuple[str, int]:
    """Compile `[...]` from behind its bracket; only plain members and ranges are agreed on."""
    negated = segment[at : at + 1] in {"!", "^"}
    start = at + negated
    end = segment.find("]", start + 1)
    members = segment[start:end]
    if end < 0 or not re.fullmatch(r"[\w.@~+=,: -]+", members, re.ASCII):
        raise GlobInvalidError(f"the brackets in {segment[:64]!r} are not a plain set of characters")
    return f"[{'^' if negated else ''}{members}]", end + 1


def _walk(names: list[str], segments: tuple[str, ...], *, lenient: bool) -> bool:
    """Match segment by segment; `reached` are the numbers of names that the pattern so far can cover."""
    reached = {0}
    for number, segment in enumerate(segments, start=1):
        if segment == _ANY_SEGMENTS:
            # What "a/**" covers of "a" itself is an alternative of its own.
            first = min(reached) + (number == len(segments) and not lenient)
            reached = {at for at in _run(names, min(reached), lenient=lenient) if at >= first}
        else:
            reached = {
                at + 1 for at in reached if at < len(names) and _is_match(segment, names[at], lenient=lenient)
            }
        if not reached:
            return False
    return len(names) in reached


def _run(names: list[str], start: int, *, lenient: bool) -> set[int]:
    reached = {start}
    for at in range(start, len(names)):
        if names[at].startswith(".") and not lenient:
            break
        reached.add(at + 1)
    return reached


def _is_match(segment: str, name: str, *, lenient: bool) -> bool:
    if not name and segment:
        # `*` is one character or more where it is the whole segment.
        return False
    if name.startswith(".") and not segment.startswith((".", "\\.")) and not lenient:
        return False
    return _segment(segment).fullmatch(name) is not None
