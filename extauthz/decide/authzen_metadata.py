"""Metadata of AuthZEN Authorization API 1.0 (9): where the endpoints of a policy decision point are.

A policy decision point is identified by its base URL, with MODE=saas one for each tenant: the base URL and
`/{tenant}`. Its metadata is at the well-known path between host and path of that identifier (RFC 8615 3).
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

WELL_KNOWN: Final = "/.well-known/authzen-configuration"
ENDPOINTS: Final[Mapping[str, str]] = {
    "access_evaluation_endpoint": "/access/v1/evaluation",
    "access_evaluations_endpoint": "/access/v1/evaluations",
    "search_subject_endpoint": "/access/v1/search/subject",
    "search_action_endpoint": "/access/v1/search/action",
}
"""The path of each endpoint behind the identifier. There is none to search for resources."""


def metadata_of(base_url: str, tenant: str | None) -> dict[str, str]:
    """Return the metadata of a policy decision point; `tenant` is None where there is a single one."""
    identifier = base_url if tenant is None else f"{base_url}/{tenant}"
    return {
        "policy_decision_point": identifier,
        **{name: identifier + path for name, path in ENDPOINTS.items()},
    }


def path_of(base_url: str) -> str:
    """Return the path of a base URL: what follows the well-known path in the URL of its metadata."""
    return urlsplit(base_url).path
