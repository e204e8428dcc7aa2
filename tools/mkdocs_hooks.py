"""Hooks of the documentation site (mkdocs.yml): pages written for the repository are adapted to the site.

A link that leaves `docs/` leads into the repository on the site: to `REPOSITORY_URL` at `main` where the
variable is set, as in the workflows, and is plain text where it is not. The file name of a code block
(`title=NAME`) is quoted, as the highlighter needs it.
"""

import os
import re
from pathlib import PurePosixPath
from typing import Any, Final

_LINK: Final = re.compile(r"(?<!!)\[(?P<text>(?:[^][]|\[[^]]*\])*)\]\((?P<target>[^)\s]+)\)")
_TITLE: Final = re.compile(r"^```(?P<language>[a-z]+) title=(?P<name>\S+)$", re.MULTILINE)


def on_page_markdown(markdown: str, *, page: Any, **_: object) -> str:
    """Return the text of a page as the site renders it."""
    folder = PurePosixPath(page.file.src_uri).parent
    linked = _LINK.sub(lambda link: outside(link, folder), markdown)
    return _TITLE.sub(r'```\g<language> title="\g<name>"', linked)


def outside(link: re.Match[str], folder: PurePosixPath) -> str:
    """Return a link as it is, or rewritten where it leaves the documentation."""
    target = link["target"]
    if re.match(r"[a-z]+:|#", target):
        return link[0]
    path = list[str]()
    for part in ("docs" / folder / target.partition("#")[0]).parts:
        if part == "..":
            path.pop()
        elif part != ".":
            path.append(part)
    if path[:1] == ["docs"]:
        return link[0]
    repository = os.environ.get("REPOSITORY_URL")
    return f"[{link['text']}]({repository}/blob/main/{'/'.join(path)})" if repository else link["text"]
