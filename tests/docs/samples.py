"""The fenced blocks of the project's pages, as CONTRIBUTING.md describes them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PROSE = frozenset({"text", "mermaid"})
LANGUAGES = PROSE | {"yaml", "json", "csv", "console", "shell", "python", "java", "xml", "diff"}

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")


class Sample(NamedTuple):
    """One fenced block; `title` is the file name it goes by, if any."""

    page: Path
    line: int
    language: str
    title: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


class Command(NamedTuple):
    """One command of a `console` block, with the output lines that the page shows."""

    words: list[str]
    shown: list[str]


def pages() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def samples() -> Iterator[Sample]:
    for page in pages():
        text = page.read_text("utf-8")
        for fence in _FENCE.finditer(text):
            language, _, rest = fence["info"].strip().partition(" ")
            title = rest.removeprefix("title=") if rest.startswith("title=") else None
            yield Sample(page, text.count("\n", 0, fence.start()) + 1, language, title, fence["text"])


def commands(sample: Sample) -> list[Command]:
    found: list[Command] = []
    for line in sample.text.splitlines():
        if line.startswith("$ "):
            found.append(Command(shlex.split(line[2:]), []))
        else:
            found[-1].shown.append(line)
    return found


def session(sample: Sample) -> list[tuple[str, list[str]]]:
    """Return the commands of a `shell` block, each as bash takes it, with the output lines shown."""
    found: list[tuple[str, list[str]]] = []
    for line in sample.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.startswith("> ") and not found[-1][1]:
            found[-1] = (f"{found[-1][0]}\n{line[2:]}", [])
        else:
            found[-1][1].append(line)
    return found


def links(page: Path) -> list[str]:
    """Return the page's links to other files of the project."""
    prose = _FENCE.sub("", page.read_text("utf-8"))
    targets = (link["target"] for link in _LINK.finditer(prose))
    return [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]


def agrees(shown: list[str], got: list[str]) -> bool:
    """Compare output with what the page shows, where a line `...` stands for any lines."""
    pattern = "\n".join(r"(?:.*\n)*.*" if line.strip() == "..." else re.escape(line) for line in shown)
    return re.fullmatch(pattern, "\n".join(got)) is not None
