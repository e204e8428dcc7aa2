"""A real server of static files that serves signed policies, and can be told to serve something else."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]
"""Answers a request; it gets what an honest server would send (empty: there is no such file)."""


def honest(request: BaseHTTPRequestHandler, octets: bytes) -> None:
    """Send the file."""
    send(request, octets, 200 if octets else 404)


def send(request: BaseHTTPRequestHandler, octets: bytes, status: int = 200, **headers: str) -> None:
    """Send an answer with a length."""
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("content-length", str(len(octets)))
    request.end_headers()
    request.wfile.write(octets)


@dataclass
class SignedServer:
    """What is served, and what was asked for. `head` and `body` answer requests for heads and bodies."""

    folder: Path
    url: str = ""
    head: Answer = honest
    body: Answer = honest
    asked: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def heads(self) -> int:
        """Return how often the head was asked for."""
        return sum("/head.json" in path for path in self.asked)


@contextmanager
def signed_server(folder: Path) -> Iterator[SignedServer]:
    """Serve a folder on a free port of loopback."""
    served = SignedServer(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            file = folder / path.removeprefix("/")
            octets = file.read_bytes() if file.is_file() else b""
            answer = served.head if path.endswith("/head.json") else served.body
            served.asked.append(self.path)
            try:
                answer(self, octets)
            except ConnectionError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Write nothing to stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.ended.set()
        server.shutdown()
        server.server_close()


def never_ending(served: SignedServer) -> Answer:
    """Return an answer that sends one byte at a time until the server ends."""

    def answer(request: BaseHTTPRequestHandler, _: bytes) -> None:
        request.send_response(200)
        request.end_headers()
        while not served.ended.wait(0.05):
            request.wfile.write(b"{")
            request.wfile.flush()

    return answer


def now_ms() -> int:
    """Return the time of a head signed now."""
    return int(time.time() * 1000)
