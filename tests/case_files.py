"""The decision cases of `tests/cases/`, read as their README describes."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CASES = Path(__file__).parent / "cases"


class _Loader(yaml.CSafeLoader):
    """YAML in which a number stays exact and a time stays the text that was written."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _exact(loader: _Loader, node: yaml.ScalarNode) -> Decimal:
    return Decimal(str(loader.construct_scalar(node)))


_Loader.add_constructor("tag:yaml.org,2002:float", _exact)


class CaseFileSection(NamedTuple):
    """One YAML document of a case file: policies, and either cases or what is refused of them."""

    file: str
    content: dict[str, Any]


def sections() -> Iterator[CaseFileSection]:
    """Yield every section of every case file, in the order of their names; then the README's example."""
    for path in sorted(CASES.glob("*.yaml")):
        yield from _sections(path.name, path.read_text("utf-8"))
    readme = (CASES / "README.md").read_text("utf-8")
    yield from _sections("README.md", readme.partition("```yaml\n")[2].partition("```")[0])


def _sections(file: str, text: str) -> Iterator[CaseFileSection]:
    for content in yaml.load_all(text, Loader=_Loader):
        yield CaseFileSection(file, content)
