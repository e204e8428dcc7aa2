"""How a scalar is written: plain where it is certainly read as this text, else quoted; blocks stay blocks."""

import re
from dataclasses import dataclass
from typing import Final

import yaml

from extauthz.compile.documents.yaml_text import scalar_value
from extauthz.folders.formatting.nodes import BREAK, YamlNode

# Every reader of YAML takes these as text, unless they look like another type (`_is_text`).
_PLAIN: Final = re.compile(r"[A-Za-z0-9_/.](?:[A-Za-z0-9_/.:@+=~-]| (?=[A-Za-z0-9_/.@+=~(-]))*")
# What PyYAML takes as text, and other readers as booleans of YAML 1.1 or integers of YAML 1.2.
_TYPED_ELSEWHERE: Final = re.compile("[yYnN]|0o[0-7]+|[0-9]+")
_ESCAPED: Final = re.compile('["\\\\\x00-\x1f\x7f-\xa0\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]')
_NAMED: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_HEADER: Final = re.compile(r"([|>])([-+0-9]*)")
_RESOLVER: Final = yaml.resolver.Resolver()
_TEXT: Final = "tag:yaml.org,2002:str"


@dataclass(frozen=True, slots=True)
class Block:
    """A scalar over several lines: the header, and the lines without their indentation."""

    header: str
    lines: list[str]


def written(node: YamlNode, *, in_block: bool) -> str | Block:
    """Return the text of a scalar; `in_block` is whether it may be a block."""
    value = node.value
    if node.plain:
        if "\n" not in value:
            return value if value not in {"", "~"} else "null"
        return (_literal(value) if in_block else None) or quoted(value)
    if in_block and node.style == "|":
        return _literal(value) or quoted(value)
    if in_block and node.style == ">":
        return _folded(node) or quoted(value)
    return value if is_certain(value) else quoted(value)


def quoted(value: str) -> str:
    """Return the text in quotes: double ones, or single ones where that needs no escapes."""
    if ('"' in value or "\\" in value) and not _ESCAPED.search(value.replace('"', "").replace("\\", "")):
        return "'" + value.replace("'", "''") + "'"
    return '"' + _ESCAPED.sub(_escape, value) + '"'


def _escape(found: re.Match[str]) -> str:
    sign = found[0]
    if sign in _NAMED:
        return _NAMED[sign]
    return f"\\x{ord(sign):02x}" if ord(sign) < 0x100 else f"\\u{ord(sign):04x}"


def is_certain(value: str) -> bool:
    """Tell whether every reader of YAML takes a plain text as this text."""
    if _PLAIN.fullmatch(value) is None or value.endswith(":") or ": " in value:
        return False
    if _TYPED_ELSEWHERE.fullmatch(value) or scalar_value(value) != value:
        return False
    # YAML 1.1 reads more than this project as booleans, times and numbers; another reader may take it.
    return str(_RESOLVER.resolve(yaml.ScalarNode, value, (True, False))) == _TEXT  # type: ignore[no-untyped-call]


def _literal(value: str) -> Block | None:
    """Return the text as a literal block, None where a block cannot hold it as it is."""
    lines = value.split("\n")
    if not value.strip() or value.endswith("\n\n") or any(BREAK.search(line) for line in lines):
        return None
    chomping = "" if value.endswith("\n") else "-"
    indicator = "2" if value.lstrip("\n").startswith((" ", "\t")) else ""
    return Block(f"|{indicator}{chomping}", lines[:-1] if value.endswith("\n") else lines)


def _folded(node: YamlNode) -> Block | None:
    """Return the folded block with the lines of its source; None where a digit tells their indentation."""
    header = _HEADER.match(node.source)
    lines = BREAK.split(node.source)[1:]
    while lines and not lines[-1].strip():
        lines.pop()
    if header is None or header[2] not in {"", "-"} or not lines:
        return None
    first = next(line for line in lines if line.strip())
    margin = len(first) - len(first.lstrip(" "))
    return Block(header[0], [line[margin:] if line.strip() else "" for line in lines])
