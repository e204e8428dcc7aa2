"""Every recorded request, in the order in which they are sent to one server."""

from collections.abc import Iterator

from tests.integration.recorded.accounts import accounts
from tests.integration.recorded.bodies import bodies
from tests.integration.recorded.callers import callers
from tests.integration.recorded.framing import framing
from tests.integration.recorded.meanings import meanings
from tests.integration.recorded.paths import paths
from tests.integration.recorded.policies import policies
from tests.integration.recorded.sent import Sent, checked


def every_request() -> Iterator[Sent]:
    """Yield them; the valid requests change what later ones find, always in the same way."""
    yield from checked((*callers(), *paths(), *bodies(), *policies(), *meanings(), *accounts(), *framing()))
