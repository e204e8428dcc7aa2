"""The demo's policies, created through the REST API one by one, as a user would."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import yaml

from extauthz.demo.rest import RestApi

ROLE_RULES: Final = "/api/v1/resources/policies"
ATTRIBUTE_POLICIES: Final = "/api/v1/abac/policies"
_PATHS: Final = {
    "resources": "/api/v1/resources",
    "role_rules": ROLE_RULES,
    "role_bindings": "/api/v1/role-bindings",
    "attribute_policies": ATTRIBUTE_POLICIES,
}


def names(folder: Path) -> list[str]:
    """Return the names that the documents of a folder give to their rules."""
    return [str(document["id"]) for _, document in _documents(folder) if "id" in document]


def create(rest: RestApi, folder: Path) -> dict[str, str]:
    """Create every document of a folder, and return the id that each name in it became.

    Raises:
        ProcessFailedError: the API refused one.
    """
    ids: dict[str, str] = {}
    for path, document in _documents(folder):
        reply = rest.create(path, {name: value for name, value in document.items() if name != "id"})
        if "id" in document:
            ids[str(document["id"])] = reply.id
    return ids


def _documents(folder: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield every document with the path it is created at, resources first."""
    files = [yaml.safe_load(file.read_text("utf-8")) for file in sorted(folder.glob("*.yaml"))]
    for noun, path in _PATHS.items():
        for content in files:
            for document in content.get(noun, []):
                yield path, document
