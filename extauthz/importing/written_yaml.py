"""Documents become the text of a policy file: YAML with a comment of its origin before each object.

The form is that of `policy fmt`. `folders.yaml_writer` writes scalars so that the same text is read again.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final, cast

from extauthz.folders.yaml_writer import scalar
from extauthz.importing.outcome import Imported

_WIDTH: Final = 108
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
            lines.append(f"  # {_one_line(origin.comment)}".rstrip())
            lines += _item(origin.document, 2)
    if not tables:
        lines.append("{}")
    return "\n".join(lines) + "\n"


def cases_text(description: str, cases: Iterable[Mapping[str, object]], header: Iterable[str]) -> str:
    """Return a file of decision cases that is judged on the policies of its folder."""
    lines = [f"# {_one_line(line)}" for line in header]
    lines += [f"description: {_flow(description)}", "cases:"]
    for case in cases:
        lines += _item(case, 2)
    return "\n".join(lines) + "\n"


@lru_cache(maxsize=65_536)
def _text(value: str) -> str:
    return scalar(value)


def _one_line(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text).strip()


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
        start = f"{' ' * indent}{_text(name)}:"
        if not isinstance(member, Mapping | list):
            yield f"{start} {_flow(member)}"
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
        return "{" + ", ".join(f"{_text(name)}: {_flow(member)}" for name, member in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    # An import writes numbers and booleans apart from text.
    return _text(value) if isinstance(value, str) else scalar(cast("int", value))
