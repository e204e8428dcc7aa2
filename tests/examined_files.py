"""Files that `extauthz doctor` examines, written from documents, and what it finds in them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from extauthz.proxyconfig.files import examine_files
from extauthz.proxyconfig.findings import Finding, Severity
from tests.proxy_changes import (
    Json,
    base,
    manager_of,
)

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
CONDITIONS = frozenset({"x-mode"})


def found_in(
    folder: Path, conditions: frozenset[str] | None = frozenset(), **documents: Any
) -> list[Finding]:
    for name, document in documents.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    found = examine_files([folder], conditions)
    assert isinstance(found, list)
    return found


def codes(found: list[Finding]) -> list[tuple[Severity, str]]:
    return [(one.severity, one.code) for one in found]


def changed(change: Callable[[Json], None]) -> Json:
    document = base()
    change(manager_of(document))
    return document
