"""Django's patterns as segments of a path: routes of `path()`, and regular expressions that are templates."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from extauthz_client.paths import ANY_REST, ANY_SEGMENT, Parameter

_ROUTE_PARAMETER: Final = re.compile(r"<(?:(?P<convertor>[^>:]+):)?(?P<name>[^>:]+)>")
# A character of a segment: any but "/", or a class without "/"; of known length or not.
_ONE: Final = r"(?:\[\^/\]|\\[dw]|\[(?:\\[dw.-]|[A-Za-z0-9_.~@-])+\])"
_TIMES: Final = r"(?:\+|\{[1-9][0-9]*(?:,[0-9]*)?\})"
_TOKEN: Final = re.compile(
    r"\((?:\?P<(?P<name>[A-Za-z_][A-Za-z0-9_]*)>)?(?P<inside>" + _ONE + _TIMES + r"|\.[+*])\)"
    r"|\\(?P<escaped>[^A-Za-z0-9])"
    r"|(?P<plain>[^\\.^$*+?{}\[\]()|])"
)
_REST: Final = (".+", ".*")


class Unexpressed(Exception):  # noqa: N818  # reads as what it is
    """A pattern that no path template expresses; the text says why and what to do."""


def segments_of_route(route: str, converters: Mapping[str, Any]) -> list[str | Parameter | None]:
    """Return the segments of a route of `path()`, with its converters by the names of their parameters."""
    tokens: list[str | Parameter] = []
    end = 0
    for found in _ROUTE_PARAMETER.finditer(route):
        tokens += [
            route[end : found.start()],
            _converted(found["name"].strip(), found["convertor"], converters),
        ]
        end = found.end()
    return _segments([*tokens, route[end:]])


def _converted(name: str, convertor: str | None, converters: Mapping[str, Any]) -> Parameter:
    regex = str(converters[name].regex)
    if regex in _REST:
        return Parameter(name, ANY_REST)
    if _may_match_a_slash(regex):
        raise Unexpressed(
            f"its converter {convertor!r} may match '/': use one parameter a segment, or the converter "
            "'path' at the end"
        )
    return Parameter(name, convertor or ANY_SEGMENT, _matches(regex))


def _may_match_a_slash(regex: str) -> bool:
    others = regex.replace("[^/]", "").replace(r"\.", "")
    return any(each in others for each in ("/", ".", "[^", r"\S", r"\D", r"\W"))


def _matches(regex: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(regex, text) is not None


def segments_of_regex(regex: str, *, is_end: bool) -> list[str | Parameter | None]:
    """Return the segments of a regular expression of `re_path()`; `is_end`: a view follows, not an include.

    Raises:
        Unexpressed: it is not a template.
    """
    if not regex.startswith("^"):
        raise Unexpressed("its regular expression matches inside of a path: begin it with '^', or use path()")
    text = regex[1:]
    if is_end:
        if not text.endswith(("$", r"\Z")):
            raise Unexpressed("its regular expression matches any end: end it with '$', or use path()")
        text = text.removesuffix("$") if text.endswith("$") else text.removesuffix(r"\Z")
    tokens: list[str | Parameter] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise Unexpressed(
                f"no template expresses {text[position:]!r} of its regular expression: use path(), with one "
                "parameter a segment"
            )
        inside = found["inside"]
        if inside is None:
            tokens.append(found["escaped"] or found["plain"])
        else:
            name = found["name"] or f"p{sum(isinstance(each, Parameter) for each in tokens) + 1}"
            convertor = ANY_REST if inside in _REST else ANY_SEGMENT if inside == "[^/]+" else inside
            tokens.append(Parameter(name, convertor, _matches(inside)))
        position = found.end()
    return _segments(tokens)


def _segments(tokens: list[str | Parameter]) -> list[str | Parameter | None]:
    segments: list[str | Parameter | None] = []
    literal, parameters = "", list[Parameter]()
    for token in tokens:
        if isinstance(token, Parameter):
            parameters.append(token)
            continue
        first, *others = token.split("/")
        literal += first
        for each in others:
            segments.append(_segment(literal, parameters))
            literal, parameters = each, []
    segments.append(_segment(literal, parameters))
    return segments


def _segment(literal: str, parameters: list[Parameter]) -> str | Parameter | None:
    if not parameters:
        return literal
    return parameters[0] if len(parameters) == 1 and not literal else None
