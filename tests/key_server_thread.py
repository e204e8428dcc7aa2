"""The key server of tests that are not asynchronous: in a thread of its own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.key_server import KeyServer, key_server
from tests.tokens import SigningKey


@contextmanager
def identity_provider(*keys: SigningKey) -> Iterator[KeyServer]:
    """Serve discovery and these keys on loopback."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    serving = key_server(*keys)
    try:
        server = asyncio.run_coroutine_threadsafe(serving.__aenter__(), loop).result(10)
        try:
            yield server
        finally:
            asyncio.run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
