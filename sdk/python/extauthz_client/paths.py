"""Starlette's paths as the mesh's path templates, and which of two the application takes.

Starlette takes the first route whose pattern matches; the mesh takes the most specific template. What an
earlier route covers completely is therefore not registered: no request reaches it.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from starlette.convertors import CONVERTOR_TYPES

# Starlette's own, with the convertor as it stands in a path.
_PARAMETER: Final = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)(?::([a-zA-Z_][a-zA-Z0-9_]*))?\}")
_PCHAR: Final = "-._~!$&'()*+,=:@"  # RFC 3986 3.3, without ";"
_ANY_SEGMENT: Final = "str"
_ANY_REST: Final = "path"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A path parameter that is one whole segment."""

    name: str
    convertor: str


@dataclass(frozen=True, slots=True)
class AppPath:
    """A path of an application, by its segments; a text is a literal, decoded. `rest`: whatever follows."""

    segments: tuple[str | Parameter, ...]
    rest: bool

    @classmethod
    def parse(cls, path: str) -> "AppPath | str":
        """Read a path with Starlette's parameters; the answer is a message where the mesh has none for it."""
        *segments, last = (_segment(text) for text in path.removeprefix("/").split("/"))
        for segment in (*segments, last):
            if segment is None:
                return "a parameter of it is only a part of a segment"
            if segment == "**":
                return "its '**' would mean any path"
        rest = isinstance(last, Parameter) and last.convertor == _ANY_REST
        own = segments if rest else [*segments, last]
        if any(isinstance(segment, Parameter) and segment.convertor == _ANY_REST for segment in own):
            return "its 'path' parameter is not at its end"
        return cls(tuple(segment for segment in own if segment is not None), rest)

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


def _covers(earlier: str | Parameter, later: str | Parameter) -> bool:
    match earlier, later:
        case str(), _:
            return earlier == later
        case Parameter(), str():
            return re.fullmatch(CONVERTOR_TYPES[earlier.convertor].regex, later) is not None
        case _:
            assert isinstance(later, Parameter)
            return earlier.convertor in (_ANY_SEGMENT, later.convertor)


def _segment(text: str) -> str | Parameter | None:
    found = _PARAMETER.search(text)
    if found is None:
        # Braces that hold no parameter are literals for Starlette, and quoted for the mesh.
        return text
    return Parameter(found[1], found[2] or _ANY_SEGMENT) if found[0] == text else None


def host_pattern(host: str) -> str | None:
    """Return a Starlette host as the mesh's: a name, or `*.suffix`; None where it has none."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    label, _, suffix = name.partition(".")
    wild = _PARAMETER.fullmatch(label)
    if wild is not None and wild[2] in (None, _ANY_SEGMENT) and suffix and "{" not in suffix:
        return f"*.{suffix}"
    return None if "{" in name else name
