"""How the claims of a provider's tokens are to be read, as the operator or a tenant configured it.

`decide.tokens.claims` reads tokens by these; `keys.provider_documents` and the settings make them. Claims are
named by their path in dot notation.
"""

from dataclasses import dataclass
from enum import StrEnum


class RoleShape(StrEnum):
    """How a claim holds roles."""

    LIST = "list"
    """A list of names, or one name on its own."""
    STRING = "string"
    """One name."""
    SPACE = "space"
    """Names separated by spaces, as in `scope` (RFC 6749 3.3)."""
    COMMA = "comma"
    """Names separated by commas."""
    OBJECT_KEYS = "object_keys"
    """The member names of an object."""


@dataclass(frozen=True, slots=True)
class RoleClaim:
    """A claim that holds roles; `prefix` is put before each name."""

    claim: str
    shape: RoleShape = RoleShape.LIST
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class DomainClaim:
    """A claim that holds the domain: one name; with `in_collection` also a list or object with one entry."""

    claim: str
    in_collection: bool = False


@dataclass(frozen=True, slots=True)
class ServiceClaim:
    """A claim that makes the principal a service: by being present, or by having this text as its value."""

    claim: str
    value: str | None = None


@dataclass(frozen=True, slots=True)
class AdminRole:
    """A role whose bearers administer a domain through REST; `*` is the whole tenant."""

    role: str
    domain: str
