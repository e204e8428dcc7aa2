"""The modes in which tenants share a service, and the owner of a target that no host or route names."""

from enum import StrEnum
from typing import Final

DEFAULT_TENANT: Final = "default"


class TenancyMode(StrEnum):
    """`selfhost` has one tenant, `default`; `saas` has many."""

    SELFHOST = "selfhost"
    SAAS = "saas"


class TenantBinding(StrEnum):
    """The owner of a target that no host names: none, or (if the operator says so) the token's tenant."""

    HOST = "host"
    TOKEN = "token"  # noqa: S105


class UnmappedPolicy(StrEnum):
    """What a request without a route is: denied, or a resource named by its path."""

    DENY = "deny"
    PATH = "path"
