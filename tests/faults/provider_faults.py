"""An identity provider that answers, but not as it should.

The gate of the stack's provider leads to a server of the test meanwhile; the keys are due again soon after
each fault begins, because a token with an unknown key id asks for them.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from extauthz.demo.calls import send
from tests.key_server import Handler, answering
from tests.key_server_thread import identity_provider
from tests.tokens import SigningKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.faults.mesh import FaultyStack

HUGE = 8 * 1024 * 1024
NOT_JSON = answering(body=b"<html>maintenance</html>")
SERVER_ERROR = answering(status=500)
REDIRECT = answering(status=302, headers={"Location": "http://127.0.0.1:1/jwks"})
TOO_LARGE = answering(body=b'{"keys": [' + b" " * HUGE + b"]}")
SYMMETRIC_KEYS = answering(body=b'{"keys": [{"kty": "oct", "kid": "a", "k": "AAAA"}]}')


def provider_answers(handler: Handler) -> Callable[[FaultyStack], AbstractContextManager[None]]:
    """Return the fault in which the key set is what `handler` answers."""

    @contextlib.contextmanager
    def injected(stack: FaultyStack) -> Iterator[None]:
        foreign = SigningKey.es256("a key that the provider does not have")
        with identity_provider(foreign) as server:
            server.handler = handler
            stack.provider_leads_to = server.port
            stack.provider_gate.drop_connections()
            # A token of the right issuer with an unknown key id: its keys are fetched now.
            unknown = foreign.sign({"iss": stack.issuer, "sub": "eve", "aud": "extauthz-demo", "exp": 2**33})
            assert send(stack.envoy_port, "/demo/invoices/17", token=unknown).status in {401, 503}
            yield
            stack.provider_leads_to = None
            stack.provider_gate.drop_connections()

    return injected
