"""The time of a blocking HTTP request as a whole: a timeout of each read lets an answer drip without end.

Input: a connection and seconds. Errors: TimeoutError, and those of the connect.
"""

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def answered_within(connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
    """Connect, and end the connection after a number of seconds.

    Raises:
        TimeoutError: the body had not ended by then; whatever it raised is its cause.
    """
    late = threading.Event()
    watch = threading.Timer(seconds, _end, (connection, late))
    watch.daemon = True
    watch.start()
    try:
        if connection.sock is None:
            connection.connect()
        if not late.is_set():
            yield
    except Exception as error:
        # The connection has the same time for each read, and may be the first to notice.
        if late.is_set() or (isinstance(error, TimeoutError) and error.errno is None):
            raise TimeoutError(f"no whole answer within {seconds:g} s") from error
        raise
    finally:
        watch.cancel()
    if late.is_set():
        raise TimeoutError(f"no whole answer within {seconds:g} s")


def _end(connection: http.client.HTTPConnection, late: threading.Event) -> None:
    late.set()
    opened = connection.sock
    if opened is not None:
        with contextlib.suppress(OSError):
            opened.shutdown(socket.SHUT_RDWR)
