"""Views with a declaration."""

from collections.abc import Callable
from typing import Any

from extauthz_client import resource


def view(name: str | None, **declared: Any) -> Callable[..., Any]:
    """Return a new view that is declared to lead to a resource (None: undeclared)."""

    def answer(*_: Any, **__: Any) -> Any:
        return "ok"

    return answer if name is None else resource(name, **declared)(answer)
