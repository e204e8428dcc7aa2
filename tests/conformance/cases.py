"""The conformance cases of `sdk/conformance/`, read as their README describes."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import yaml

FOLDER: Final = Path(__file__).parents[2] / "sdk/conformance"

_NAME: Final = re.compile(r"\$(?:\$|([A-Za-z_]+)(?:\(([^)]*)\))?)")
_STEP: Final = ("advance", "call", "with", "exchanges", "waits", "result", "error", "revision")


class _Loader(yaml.CSafeLoader):
    """YAML 1.2 with its core schema, in which numbers are exact."""


def _exact(loader: _Loader, node: yaml.ScalarNode) -> Decimal:
    return Decimal(str(loader.construct_scalar(node)))


def _whole(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(str(loader.construct_scalar(node)))


def _unique(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    names = [loader.construct_object(name) for name, _ in node.value]
    if len(set(names)) != len(names):
        raise ValueError(f"{node.start_mark}: a member is given twice")
    return loader.construct_mapping(node, deep=True)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|)$", ["~", "n", ""]),
    ("bool", r"^(?:true|false)$", ["t", "f"]),
    ("int", r"^-?[0-9]+$", list("-0123456789")),
    ("float", r"^-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$", list("-0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)
_Loader.add_constructor("tag:yaml.org,2002:float", _exact)
_Loader.add_constructor("tag:yaml.org,2002:int", _whole)
_Loader.add_constructor(yaml.SafeLoader.DEFAULT_MAPPING_TAG, _unique)


@dataclass(frozen=True)
class Case:
    """A case, with the name of its file."""

    file: str
    document: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The name of the case among all of them."""
        return f"{self.file}: {self.document['name']}"

    @property
    def steps(self) -> list[Mapping[str, Any]]:
        """The steps; a case with one step has its members itself."""
        own = {name: self.document[name] for name in _STEP if name in self.document}
        steps: list[Mapping[str, Any]] = self.document.get("steps", [own])
        return steps

    def __str__(self) -> str:
        return self.id


def files() -> dict[str, Any]:
    """Return the documents of all files by the name of the file, without its suffix."""
    return {path.stem: load(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.yaml"))}


def load(text: str) -> Any:
    """Read one YAML document."""
    return yaml.load(text, _Loader)


def cases() -> list[Case]:
    """Return every case of every file."""
    return [Case(file, document) for file, content in files().items() for document in content["cases"]]


@dataclass
class Variables:
    """Values by name; `functions` are for `$NAME(argument)`. An unknown name stays as it is written."""

    values: dict[str, Any]
    functions: Mapping[str, Callable[[str], str]] = field(default_factory=dict)

    def fill(self, document: Any) -> Any:
        """Return a document with its variables replaced."""
        match document:
            case str():
                return self._filled(document)
            case Mapping():
                return {self._filled(name): self.fill(value) for name, value in document.items()}
            case list():
                return [self.fill(value) for value in document]
            case _:
                return document

    def _filled(self, text: str) -> Any:
        whole = _NAME.fullmatch(text)
        if whole is not None and whole[1] in self.values:
            return self.values[whole[1]]
        return _NAME.sub(self._value, text)

    def _value(self, found: re.Match[str]) -> str:
        name, argument = found[1], found[2]
        if name is None:
            return "$"
        if argument is not None and name in self.functions:
            return self.functions[name](argument)
        return str(self.values[name]) if argument is None and name in self.values else found[0]

    def bind(self, expected: Any, found: Any) -> None:
        """Give each variable that is unset and compared with a value that value."""
        match expected, found:
            case str(), _:
                name = _NAME.fullmatch(expected)
                if name is not None and name[1] and name[2] is None:
                    self.values.setdefault(name[1], found)
            case dict(), dict():
                for member, value in expected.items():
                    self.bind(value, found.get(member))
            case list(), list():
                for one, other in zip(expected, found, strict=False):
                    self.bind(one, other)


def octets(text: str) -> bytes:
    r"""Return a text of a case as octets: `\xNN` is one of them."""
    raw = text.encode()
    return re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), raw)
