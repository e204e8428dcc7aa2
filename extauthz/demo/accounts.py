"""The accounts of the demo's identity provider. For users the password is the name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Account:
    """An account: its name (the `sub` of its tokens), its secret, its roles and its other claims."""

    name: str
    secret: str
    roles: tuple[str, ...] = ()
    claims: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


USERS: Final = (
    Account("admin", "admin", claims={"adm": "*"}),
    Account("alice", "alice", roles=("finance",), claims={"department": "finance"}),
    Account("bob", "bob", claims={"department": "engineering"}),
    Account(
        "carol", "carol", roles=("finance",), claims={"department": "finance", "clearance": 3, "dom": "emea"}
    ),
    Account("dave", "dave", roles=("finance",), claims={"department": "finance", "clearance": 1}),
)
"""`admin` administers the tenant; alice's tokens say nothing of a clearance, bob's nothing of a role."""

SERVICES: Final = (
    Account("reporting", "reporting-secret", roles=("reporter",)),
    Account("operations", "operations-secret", claims={"adm": "*"}),
)
"""Clients of the client-credentials grant; `operations` administers the tenant."""


ADMIN_CLIENT: Final = SERVICES[1]
"""The client that scripts use: it administers the tenant."""


def find(accounts: tuple[Account, ...], name: str, secret: str) -> Account | None:
    """Return the account with this name and secret."""
    return next((account for account in accounts if (account.name, account.secret) == (name, secret)), None)
