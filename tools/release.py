"""Check that a tag may be released, and print its notes; exit 1 with every reason when it may not.

python tools/release.py                      check the version of the checkout
python tools/release.py --tag v0.2.0         check that the tag names that version
python tools/release.py --tag v0.2.0 --notes print its section of the changelog

Needs nothing but the standard library: the workflow runs it on the runner's own Python.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
MANIFESTS: Final = "deploy/kubernetes/overlays/*/kustomization.yaml"

_VERSION: Final = re.compile(r'^__version__ = "([0-9]+\.[0-9]+\.[0-9]+)"$', re.MULTILINE)
_CLIENT: Final = "sdk/python/extauthz_client/__init__.py"
_POMS: Final = "sdk/java/**/pom.xml"
_OWN_ARTIFACT: Final = re.compile(
    r"<groupId>io\.extauthz</groupId>\s*<artifactId>[^<]*</artifactId>\s*<version>([0-9][^<]*)</version>"
)
_SECTION: Final = re.compile(
    r"^## \[(?P<version>[^]]+)\](?: - (?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}))?\n(?P<text>.*?)(?=^## |\Z)",
    re.MULTILINE | re.DOTALL,
)
_HEADING: Final = re.compile(r"^### (.+)$", re.MULTILINE)
_TAG_OF_IMAGE: Final = re.compile(
    r"^\s*- name: extauthz\n(?:\s+newName: .*\n)?\s+newTag: (\S+)$", re.MULTILINE
)


def version(root: Path = ROOT) -> str:
    """Return the version of the checkout; `extauthz/__init__.py` is its source."""
    return _version_in(root, "extauthz/__init__.py")


def _version_in(root: Path, file: str) -> str:
    found = _VERSION.search((root / file).read_text("utf-8"))
    if found is None:
        raise ValueError(f"{file}: __version__ is not three numbers")
    return found[1]


def sections(changelog: str) -> dict[str, tuple[str | None, str]]:
    """Return date and text of each section of the changelog, by version."""
    return {each["version"]: (each["date"], each["text"].strip()) for each in _SECTION.finditer(changelog)}


def problems(root: Path = ROOT, tag: str | None = None) -> list[str]:
    """Return why the checkout may not be released."""
    current = version(root)
    written = sections((root / "CHANGELOG.md").read_text("utf-8"))
    found = []
    if tag is not None and tag != f"v{current}":
        found.append(f"the tag {tag!r} is not v{current}, the version in extauthz/__init__.py")
    client = _version_in(root, _CLIENT)
    if client != current:
        found.append(f"{_CLIENT}: __version__ is {client}, not {current}")
    for file in sorted(root.glob(_POMS)):
        others = sorted(set(_OWN_ARTIFACT.findall(file.read_text("utf-8"))) - {current})
        found += [f"{file.relative_to(root)}: the version is {each}, not {current}" for each in others]
    date, text = written.get(current, (None, ""))
    if not text:
        found.append(f"CHANGELOG.md has no text under [{current}]")
    elif date is None:
        found.append(f"CHANGELOG.md: [{current}] has no date")
    if written.get("Unreleased", (None, ""))[1] and tag is not None:
        found.append(f"CHANGELOG.md: [Unreleased] has text; move it to [{current}]")
    for name, (_, text) in written.items():
        headings = _HEADING.findall(text)
        found += [
            f"CHANGELOG.md: [{name}] has '### {each}' twice"
            for each in sorted(set(headings))
            if headings.count(each) > 1
        ]
    for file in sorted(root.glob(MANIFESTS)):
        tags = _TAG_OF_IMAGE.findall(file.read_text("utf-8"))
        found += [
            f"{file.relative_to(root)}: newTag is {each}, not {current}" for each in tags if each != current
        ]
    return found


def main(arguments: list[str]) -> int:
    """Check, and print what was asked for."""
    parser = argparse.ArgumentParser(description="Check a release.")
    parser.add_argument("--tag", help="the tag that is about to be released, such as v0.2.0")
    parser.add_argument("--notes", action="store_true", help="print the notes of the release")
    given = parser.parse_args(arguments)
    found = problems(tag=given.tag)
    for each in found:
        print(each, file=sys.stderr)
    if not found:
        notes = sections((ROOT / "CHANGELOG.md").read_text("utf-8"))[version()][1]
        print(notes if given.notes else version())
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
