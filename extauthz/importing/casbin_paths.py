"""The paths and methods that a Casbin policy line names, as exact sets.

Input: the text of a field and the function that compares it. Output: the set, or why it has no equal here.
pycasbin's functions are the meaning: `keyMatch` ignores what follows the `*`, `keyMatch2` and `keyMatch3` are
regular expressions in which `.` is a wildcard, `regexMatch` matches from the beginning and not to the end.
"""

import re
from dataclasses import dataclass
from typing import Final

from extauthz.compile.documents.resource_documents import method_problem
from extauthz.compile.routes.route_index import Template
from extauthz.domain.path import CanonicalPath
from extauthz.importing.casbin_shape import How
from extauthz.importing.path_shapes import PathShape

_PARAMETERS: Final = {
    How.KEY_MATCH2: re.compile(r":([^/:]+)"),
    How.KEY_MATCH3: re.compile(r"\{([^/{}]+)\}"),
}
_PARAMETER_NAME: Final = re.compile("[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# Literal in a regular expression and in a path.
_PLAIN_SEGMENT: Final = re.compile("[A-Za-z0-9_~!@&=,'-]*", re.ASCII)
_ONE_METHOD: Final = re.compile(r"\(?([A-Z]+)\)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Paths:
    """A set of paths, with the names that its parameters have in the source."""

    shape: PathShape
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Methods:
    """A set of methods, None for all; `open` is whether longer methods match in the source as well."""

    names: tuple[str, ...] | None
    open: bool = False


EVERY_PATH: Final = Paths(PathShape((), below=True))
EVERY_METHOD: Final = Methods(None)


def read_paths(text: str, how: How) -> Paths | str:
    """Return the paths of a field, or why they are not a set of routes."""
    if how is How.EQUAL:
        return _literal(text)
    if how is How.KEY_MATCH:
        return _key_match(text)
    if text == "*":
        return EVERY_PATH if how is How.KEY_MATCH2 else "'*' alone is not an expression for keyMatch3"
    return _expression(text, how)


def _literal(text: str) -> Paths | str:
    path = CanonicalPath.parse(text)
    if not isinstance(path, CanonicalPath) or path.text != text or "%" in text:
        return "it is not a path as requests have it: from '/', canonical, without escapes"
    return _checked(Paths(PathShape(path.segments)))


def _checked(found: Paths) -> Paths | str:
    template = found.shape.template(found.names)
    read = Template.parse(template)
    if isinstance(read, str):
        return read
    if read.segments != found.shape.segments or read.covers_below is not found.shape.below:
        return f"the template {template!r} would mean something else"
    return found


def _key_match(text: str) -> Paths | str:
    prefix, star, rest = text.partition("*")
    if not star:
        return _literal(text)
    if rest.strip("*"):
        return "keyMatch ignores what follows the first '*', so it covers more than it seems to"
    if not prefix:
        return EVERY_PATH
    if not prefix.endswith("/"):
        return f"it covers every path that begins with {prefix!r}, and routes have whole segments only"
    if prefix == "/":
        return EVERY_PATH
    body = _literal(prefix[:-1])
    return body if isinstance(body, str) else _checked(Paths(PathShape(body.shape.segments, below=True)))


def _expression(text: str, how: How) -> Paths | str:
    if not text.startswith("/"):
        return "it is not a path from '/'"
    segments: list[str | None] = []
    names: list[str] = []
    *pieces, last = text[1:].split("/")
    below = last == "*"
    for piece in pieces if below else [*pieces, last]:
        parameter = _PARAMETERS[how].fullmatch(piece)
        if parameter is not None:
            segments.append(None)
            name = parameter[1]
            usable = _PARAMETER_NAME.fullmatch(name) is not None and name not in names
            names.append(name if usable else f"p{len(segments)}")
        elif _PLAIN_SEGMENT.fullmatch(piece):
            segments.append(piece)
        else:
            return f"the segment {piece!r} is a regular expression for {how}, not a literal"
    if below and not segments:
        return EVERY_PATH
    if "" in (segments if below else segments[:-1]):
        return "it has an empty segment, which no request has"
    return _checked(Paths(PathShape(tuple(segments), below), tuple(names)))


def read_methods(text: str, how: How) -> Methods | str:
    """Return the methods of a field, or why they are not a set of methods."""
    if how is How.KEY_MATCH and "*" in text:
        return EVERY_METHOD if text == "*" else "keyMatch with a '*' in an action has no equal here"
    if how is not How.REGEX:
        problem = None if text == "HEAD" else method_problem(text)
        return Methods((text,)) if problem is None else problem
    body = text.removeprefix("^")
    if body in {".*", ".*$", "(.*)", "(.*)$", ".+", "(.+)"}:
        return EVERY_METHOD
    ends = body.endswith("$")
    body = body.removesuffix("$")
    whole = re.fullmatch(r"\(([A-Z|]+)\)", body, re.ASCII)
    alternatives = (whole[1] if whole else body).split("|")
    if (text.startswith("^") or ends) and whole is None and len(alternatives) > 1:
        return "'^' and '$' belong to one alternative only; write ^(GET|POST)$"
    found = [_ONE_METHOD.fullmatch(each) for each in alternatives]
    if not all(found):
        return "it is not a list of methods such as ^(GET|POST)$"
    names = tuple(dict.fromkeys(each[1] for each in found if each is not None))
    problem = next((why for name in names if name != "HEAD" and (why := method_problem(name))), None)
    return problem or Methods(names, open=not ends)
