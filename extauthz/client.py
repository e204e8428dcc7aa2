"""The former place of the Python client, an alias for one release: use `extauthz_client` (distribution
`extauthz-client`).

Every name of the client, and every module of it, is reached through this one and is the same object. Nothing
is imported before a name is used, so that the server does not need the client's distribution.
"""

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from extauthz_client import (
        ApiError,
        AssertionRejected,
        AssertionVerifier,
        AttributePolicy,
        CheckResult,
        ClientCredentials,
        ClientError,
        Credentials,
        ExtauthzClient,
        Resource,
        RoleBinding,
        RoleRule,
        Route,
        ServiceKey,
        UnexpectedAnswer,
        Unreachable,
        VerifiedAssertion,
        credentials_from,
        protect,
        resource,
    )

__all__ = [
    "ApiError",
    "AssertionRejected",
    "AssertionVerifier",
    "AttributePolicy",
    "CheckResult",
    "ClientCredentials",
    "ClientError",
    "Credentials",
    "ExtauthzClient",
    "Resource",
    "RoleBinding",
    "RoleRule",
    "Route",
    "ServiceKey",
    "UnexpectedAnswer",
    "Unreachable",
    "VerifiedAssertion",
    "credentials_from",
    "protect",
    "resource",
]

_CLIENT: Final = "extauthz_client"
# A package without a folder: its modules are found by _Modules alone.
__path__: list[str] = []


def __getattr__(name: str) -> Any:
    """Return a name of the client."""
    # The import system asks for such names of every package; they say nothing about use.
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    client = _imported(_CLIENT)
    try:
        return getattr(client, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return __all__


class _Modules(MetaPathFinder, Loader):
    """Finds `extauthz.client.NAME`: the module `extauthz_client.NAME` itself, not a copy."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return where a module of the client is; None for a name that the client does not have."""
        if not fullname.startswith(f"{__name__}."):
            return None
        _imported(_CLIENT)
        real = _CLIENT + fullname.removeprefix(__name__)
        if importlib.util.find_spec(real) is None:
            return None
        return ModuleSpec(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        """Put the client's module in the place of the new one; the import system returns what is there."""
        sys.modules[module.__name__] = importlib.import_module(
            _CLIENT + module.__name__.removeprefix(__name__)
        )


def _imported(name: str) -> ModuleType:
    try:
        found = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != _CLIENT:
            raise
        raise ImportError(
            "extauthz.client is now extauthz_client, of the distribution extauthz-client, which is not "
            "installed; run: pip install extauthz-client",
            name=_CLIENT,
        ) from None
    warnings.warn(
        "extauthz.client is an alias for one release; import extauthz_client instead",
        DeprecationWarning,
        stacklevel=3,  # the caller of `__getattr__`, or the import statement
    )
    return found


sys.meta_path.append(_Modules())
