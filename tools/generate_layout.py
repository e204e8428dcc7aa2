"""Write docs/reference/layout.md: every file of the packages with the first sentence of its docstring.

python tools/generate_layout.py    write docs/reference/layout.md
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = ROOT / "extauthz"
CLIENT: Final = ROOT / "sdk" / "python" / "extauthz_client"
PAGE: Final = ROOT / "docs" / "reference" / "layout.md"

_TOP: Final = """\
# Layout

Written by `tools/generate_layout.py` from the docstrings of the modules: run it after a file was added, moved
or removed. [Design](design.md#packages) says what each package may import. `extauthz/check/service.py` is the
first file to read. The last folder is the Python client, a distribution of its own in `sdk/python`.

"""
_GENERATED: Final = "generated from `protos/`; see `tools/generate_protos.py`"


def page() -> str:
    """Return the whole page."""
    lines = "\n".join(line for package in (PACKAGE, CLIENT) for line in _folder(package, 0))
    return f"{_TOP}```text\n{lines}\n```\n"


def files() -> list[Path]:
    """Return every module of the packages."""
    return sorted([*PACKAGE.rglob("*.py"), *CLIENT.rglob("*.py")])


def _folder(folder: Path, depth: int) -> Iterator[str]:
    about = _summary(folder / "__init__.py")
    yield f"{_named(f'{folder.name}/', depth)}{about}"
    for path in sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        if path.is_dir() and (path / "__init__.py").is_file():
            yield from _folder(path, depth + 1)
        elif path.suffix == ".py" and path.name != "__init__.py":
            yield f"{_named(path.name, depth + 1)}{_summary(path)}"


def _named(name: str, depth: int) -> str:
    return f"{'  ' * depth}{name} ".ljust(34)


def _summary(path: Path) -> str:
    if path.stem.endswith("_pb2"):
        return _GENERATED
    documented = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(documented.partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].removesuffix(".")


def main() -> int:
    """Write the page; return the exit status."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
