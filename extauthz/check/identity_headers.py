"""The `x-auth-` headers that carry the principal to the upstream; clients cannot set them.

Each of them is either set, overwriting what is there, or removed; every other `x-auth-` header that the
client sent, in any spelling, is removed. INVARIANT: no name is both set and removed (Envoy removes last).

Values are printable ASCII whatever the names behind them contain (docs/adr/0003-header-values.md). Roles are
percent-encoded and comma-joined. All others stand as they are, except that `%`, outer spaces and everything
that is not printable ASCII are percent-encoded: two names never share a value, a line break cannot be
written, and an ordinary id is the id alone.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from extauthz.domain.principal import PrincipalKind

SUBJECT: Final = "x-auth-subject"
KIND: Final = "x-auth-kind"
TENANT: Final = "x-auth-tenant"
DOMAIN: Final = "x-auth-domain"
ROLES: Final = "x-auth-roles"
ROLES_TRUNCATED: Final = "x-auth-roles-truncated"
DECISION_ID: Final = "x-auth-decision-id"
API_KEY: Final = "x-service-api-key"
ASSERTION: Final = "x-auth-assertion"

MAX_ROLES_BYTES: Final = 4096
"""Of the encoded value; a longer one is left out and `x-auth-roles-truncated: true` set instead."""

_PER_IDENTITY: Final = (SUBJECT, KIND, TENANT, DOMAIN, ROLES, ROLES_TRUNCATED)
_ALWAYS_HANDLED: Final = frozenset((*_PER_IDENTITY, DECISION_ID, API_KEY, ASSERTION))

# The unreserved characters (RFC 3986 2.3), and three that are frequent in role names.
_NOT_IN_ROLE: Final = re.compile(r"[^A-Za-z0-9\-._~:/@]+")
# Outer spaces would be trimmed on the way (RFC 9110 5.5), and with them the difference between two names.
_NOT_PLAIN: Final = re.compile(r"\A | \Z|[^ -$&-~]")


@dataclass(frozen=True, slots=True)
class IdentityHeaders:
    """What an allow sets, apart from the decision id, and which of our headers and credentials it removes."""

    values: tuple[tuple[str, str], ...]
    removed: tuple[str, ...]


def identity_headers(
    kind: PrincipalKind, subject: str | None, tenant: str | None, domain: str | None, roles: tuple[str, ...]
) -> IdentityHeaders:
    """Return the headers of one identity; what it lacks is removed."""
    encoded_roles = ",".join(encode_role(role) for role in roles)
    fits = len(encoded_roles) <= MAX_ROLES_BYTES
    candidates = {
        SUBJECT: encode_value(subject or ""),
        KIND: kind.value,
        TENANT: encode_value(tenant or ""),
        DOMAIN: encode_value(domain or ""),
        ROLES: encoded_roles if fits else "",
        ROLES_TRUNCATED: "" if fits else "true",
    }
    # Envoy drops a header whose value is empty instead of overwriting with it: the client's would survive.
    return IdentityHeaders(
        values=tuple((name, value) for name, value in candidates.items() if value),
        removed=(*(name for name, value in candidates.items() if not value), API_KEY),
    )


def spellings_to_remove(strip_headers: Iterable[str]) -> list[str]:
    """Return which of the client's `x-auth-` spellings are to be removed besides our own names."""
    return [folded for name in strip_headers if (folded := name.lower()) not in _ALWAYS_HANDLED]


def encode_value(value: str) -> str:
    """Return a name as a header value: as it is, percent-encoded where it is not printable ASCII."""
    return _NOT_PLAIN.sub(_percent_encoded, value)


def encode_role(role: str) -> str:
    """Return a role as one member of the list in `x-auth-roles` (RFC 3986 2.1)."""
    return _NOT_IN_ROLE.sub(_percent_encoded, role)


def _percent_encoded(found: re.Match[str]) -> str:
    return quote(found[0], safe="", errors="surrogatepass")
