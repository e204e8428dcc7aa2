"""Refuse a public name that two modules of `extauthz` give to different classes or types; exit 1 then.

python tools/check_names.py

Each module of the package has its own classes and type aliases; the check reads their names where they are
defined. A name with a leading underscore belongs to its module alone and may repeat. What a call makes, such
as a type variable, is not one. `SAME` lists what repeats because it means the same.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent

SAME: Final[Mapping[str, str]] = {
    "Document": "a JSON object, as a mapping of its members",
    "Json": "a JSON object, as a dictionary to write",
    "SslMode": "libpq's sslmode: all its modes, and those that a setting takes",
}
"""Names that may be defined in more than one module, each with its one meaning."""


def defined_types(source: str) -> Iterator[str]:
    """Yield the public names of classes and type aliases that a module defines at its top level."""
    for node in ast.parse(source).body:
        match node:
            case ast.ClassDef(name=name):
                pass
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                if isinstance(value, ast.Call):
                    continue
            case _:
                continue
        # Constants are written in capitals, and functions begin with a lower-case letter.
        if name[0].isupper() and not name.isupper():
            yield name


def repeated(modules: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the names that several modules define, with the modules; each module is a path and its text."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path, source in modules:
        for name in dict.fromkeys(defined_types(source)):
            found[name].append(path)
    return {name: paths for name, paths in sorted(found.items()) if len(paths) > 1}


def problems(modules: Iterable[tuple[str, str]], same: Mapping[str, str] = SAME) -> list[str]:
    """Return what is wrong: names of several things, and entries of `same` that are not needed any more."""
    names = repeated(modules)
    return [
        *(
            f"{', '.join(paths)}: {name} is defined {len(paths)} times; name each for what it is"
            for name, paths in names.items()
            if name not in same
        ),
        *(f"tools/check_names.py: {name} is not repeated; remove it" for name in same if name not in names),
    ]


def main() -> int:
    """Examine the package."""
    paths = [each for each in sorted((ROOT / "extauthz").rglob("*.py")) if not each.stem.endswith("_pb2")]
    found = problems((str(each.relative_to(ROOT)), each.read_text("utf-8")) for each in paths)
    for each in found:
        print(each, file=sys.stderr)
    print(f"{len(paths)} modules: {len(found) or 'no'} names of several things")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
