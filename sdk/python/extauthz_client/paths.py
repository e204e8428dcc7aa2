"""Paths of applications as the mesh's path templates, and which of two the application takes.

Starlette and Django take the first route whose pattern matches; the mesh takes the most specific template.
What an earlier route covers completely is therefore not registered: no request reaches it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from urllib.parse import quote

# Starlette's own, with the convertor as it stands in a path.
_PARAMETER: Final = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)(?::([a-zA-Z_][a-zA-Z0-9_]*))?\}")
_PCHAR: Final = "-._~!$&'()*+,=:@"  # RFC 3986 3.3, without ";"
ANY_SEGMENT: Final = "str"
ANY_REST: Final = "path"
_MOST_SEGMENTS: Final = 64
_LONGEST: Final = 2000
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Controls, lone surrogates, path parameters, separators, and what would be decoded twice.
_REFUSED: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff;/\\]|%[0-9A-Fa-f]{2}")
_HOST: Final = re.compile(r"(?:\*\.)?[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|\[[0-9A-Fa-f:.]+\]")
PARTIAL: Final = "a parameter of it is only a part of a segment: make it a whole segment"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A path parameter that is one whole segment; `matches` tells whether a text of the path is one."""

    name: str
    convertor: str
    matches: Callable[[str], bool] = field(default=bool, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class AppPath:
    """A path of an application, by its segments; a text is a literal, decoded. `rest`: whatever follows."""

    segments: tuple[str | Parameter, ...]
    rest: bool

    @classmethod
    def parse(cls, path: str) -> "AppPath | str":
        """Read a path with Starlette's parameters; the answer is a message where the mesh has none for it."""
        segments = [_segment(text) for text in path.removeprefix("/").split("/")]
        return cls.of(segments)

    @classmethod
    def of(cls, segments: Sequence[str | Parameter | None]) -> "AppPath | str":
        """Return the path of these segments (None: one that no template expresses); else a message."""
        found: list[str | Parameter] = []
        for place, segment in enumerate(segments):
            if segment is None:
                return PARTIAL
            is_last = place == len(segments) - 1
            problem = (
                _parameter_problem(segment, found)
                if isinstance(segment, Parameter)
                else (_literal_problem(segment, is_last=is_last))
            )
            if problem is not None:
                return problem
            found.append(segment)
        if len(found) > _MOST_SEGMENTS:
            return f"it has more than {_MOST_SEGMENTS} segments: shorten it"
        rest = bool(found) and isinstance(found[-1], Parameter) and found[-1].convertor == ANY_REST
        own = found[:-1] if rest else found
        if any(isinstance(segment, Parameter) and segment.convertor == ANY_REST for segment in own):
            return "its 'path' parameter is not at its end: move it there, or make it one segment"
        path = cls(tuple(own), rest)
        names = sum(
            len(each.name) for each in found if isinstance(each, Parameter) and each.convertor != ANY_REST
        )
        if len(path.template) - names > _LONGEST:
            return f"it is longer than {_LONGEST} characters: shorten it"
        return path

    @property
    def template(self) -> str:
        """The path template (literals percent-encoded, final `/**` for the rest)."""
        text = "".join(
            f"/{{{segment.name}}}" if isinstance(segment, Parameter) else f"/{quote(segment, safe=_PCHAR)}"
            for segment in self.segments
        )
        return text + ("/**" if self.rest else "")

    @property
    def shape(self) -> tuple[object, ...]:
        """What two paths have in common that are one template to the mesh."""
        plain = tuple(None if isinstance(each, Parameter) else each for each in self.segments)
        return (*plain, "/**") if self.rest else plain

    def covers(self, later: "AppPath") -> bool:
        """Tell whether every path that `later` matches is one of this pattern, too."""
        if later.rest and not self.rest:
            return False
        if len(later.segments) < len(self.segments) or (
            not self.rest and len(later.segments) != len(self.segments)
        ):
            return False
        if self.rest and not later.rest and len(later.segments) == len(self.segments):
            # `/a/{p:path}` wants the slash that `/a` lacks.
            return False
        return all(map(_covers, self.segments, later.segments))


def _literal_problem(segment: str, *, is_last: bool) -> str | None:
    """Return why no request can have a segment: what the mesh refuses before it looks for a route."""
    if segment == "**":
        return "its '**' would mean any path: rename this segment"
    if segment in {".", ".."} or (not segment and not is_last):
        return f"no request has the segment {segment!r} in its path: leave it out"
    if segment != segment.strip():
        return f"no request may have a space at the edge of {segment!r} in its path: rename this segment"
    found = _REFUSED.search(segment)
    if found is not None:
        return f"no request may have {found[0]!r} in its path: rename the segment {segment!r}"
    return None


def _parameter_problem(parameter: Parameter, earlier: Sequence[str | Parameter]) -> str | None:
    if _NAME.fullmatch(parameter.name) is None:
        return f"its parameter {parameter.name!r} is not of ASCII letters, digits and '_': rename it"
    if any(isinstance(each, Parameter) and each.name == parameter.name for each in earlier):
        return f"its parameter {parameter.name!r} appears twice: rename one"
    return None


def _covers(earlier: str | Parameter, later: str | Parameter) -> bool:
    match earlier, later:
        case str(), _:
            return earlier == later
        case Parameter(), str():
            return earlier.matches(later)
        case _:
            assert isinstance(later, Parameter)
            return earlier.convertor in (ANY_SEGMENT, later.convertor)


def _segment(text: str) -> str | Parameter | None:
    found = _PARAMETER.search(text)
    if found is None:
        # Braces that hold no parameter are literals for Starlette, and quoted for the mesh.
        return text
    convertor = found[2] or ANY_SEGMENT
    return Parameter(found[1], convertor, partial(_is_starlettes, convertor)) if found[0] == text else None


def _is_starlettes(convertor: str, text: str) -> bool:
    from starlette.convertors import CONVERTOR_TYPES

    return re.fullmatch(CONVERTOR_TYPES[convertor].regex, text) is not None


def host_pattern(host: str) -> str | None:
    """Return a Starlette host as the mesh's: a name, or `*.suffix`; None where it has none."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    label, _, suffix = name.partition(".")
    wild = _PARAMETER.fullmatch(label)
    if wild is not None and wild[2] in (None, ANY_SEGMENT) and suffix and "{" not in suffix:
        return f"*.{suffix}"
    return None if "{" in name else name


def host_problem(host: str | None) -> str | None:
    """Return why no request can be for a host."""
    if host is None or _HOST.fullmatch(host) is not None:
        return None
    return (
        f"its host {host!r} is not a name of ASCII letters: write it as Envoy gets it, with 'xn--' for others"
    )
