"""Documents become the text of a policy file: YAML with a comment of its origin before each object.

Every scalar is written so that `compile.documents.yaml_text` reads the same text again: plain where it can
be nothing but text, else in double quotes with everything that does not print escaped.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from extauthz.importing.outcome import Imported

_WIDTH: Final = 108
_PLAIN: Final = re.compile(r"[A-Za-z_/](?:[A-Za-z0-9_./-]|:(?=[A-Za-z0-9_./-]))*", re.ASCII)
_SENTENCE: Final = re.compile(r"[A-Za-z][A-Za-z0-9./-]*(?: [A-Za-z0-9./-]+)+", re.ASCII)
_WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n", "null"})
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\"}
_MAX_NAMED: Final = 200


def policies_text(imported: Imported, header: Iterable[str]) -> str:
    """Return the policy file; the header becomes comments, followed by what was not taken."""
    lines = [f"# {_one_line(line)}".rstrip() for line in header]
    lines += [f"# {_one_line(note)}" for note in imported.notes]
    if imported.not_taken:
        lines += ["#", "# Not taken, or not exactly:"]
        lines += [f"# - {_one_line(str(each))}" for each in imported.not_taken[:_MAX_NAMED]]
        if len(imported.not_taken) > _MAX_NAMED:
            lines.append(f"# - and {len(imported.not_taken) - _MAX_NAMED} more; --json lists them")
    tables = [(table, origins) for table, origins in imported.entries.items() if origins]
    for table, origins in tables:
        lines += ["", f"{table}:"]
        for origin in origins:
            lines.append(f"  # {_one_line(origin.comment)}")
            lines += _item(origin.document, 2)
    if not tables:
        lines.append("{}")
    return "\n".join(lines) + "\n"


def cases_text(description: str, cases: Iterable[Mapping[str, object]], header: Iterable[str]) -> str:
    """Return a file of decision cases that is judged on the policies of its folder."""
    lines = [f"# {_one_line(line)}" for line in header]
    lines += [f"description: {_sentence(description)}", "cases:"]
    for case in cases:
        lines += _item(case, 2)
    return "\n".join(lines) + "\n"


def scalar(value: object) -> str:
    """Return a string, number or boolean as YAML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + "".join(_ESCAPES.get(each) or _printed(each) for each in text) + '"'


def _sentence(value: object) -> str:
    """Return a scalar that stands on a line of its own, where words need no quotes either."""
    return value if isinstance(value, str) and _SENTENCE.fullmatch(value) else scalar(value)


def _printed(character: str) -> str:
    code = ord(character)
    if character.isprintable() and code < 0x10000:
        return character
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _one_line(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)


def _item(value: Mapping[str, object], indent: int) -> Iterator[str]:
    flow = _flow(value)
    if indent + 2 + len(flow) <= _WIDTH:
        yield f"{' ' * indent}- {flow}"
        return
    lines = list(_block(value, indent + 2))
    yield f"{' ' * indent}- {lines[0].lstrip()}"
    yield from lines[1:]


def _block(value: Mapping[str, object], indent: int) -> Iterator[str]:
    for name, member in value.items():
        flow = _flow(member)
        start = f"{' ' * indent}{scalar(name)}:"
        if not isinstance(member, Mapping | list):
            yield f"{start} {_sentence(member)}"
        elif len(start) + 1 + len(flow) <= _WIDTH or not member:
            yield f"{start} {flow}"
        elif isinstance(member, Mapping):
            yield start
            yield from _block(member, indent + 2)
        else:
            yield start
            for each in member:
                if isinstance(each, Mapping):
                    yield from _item(each, indent + 2)
                else:
                    yield f"{' ' * (indent + 2)}- {_flow(each)}"


def _flow(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(name)}: {_flow(member)}" for name, member in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return scalar(value)
