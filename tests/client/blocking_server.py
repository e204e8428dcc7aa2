"""A real HTTP server in a thread: it takes registrations, or answers as it is told to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Refuses:
    status: int
    problem: dict[str, Any]


@dataclass
class Server:
    """`refusals` are given first, one a request; then registrations are answered as the API does."""

    refusals: list[Refuses]
    url: str = ""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, requests: int) -> None:
        with self.came:
            assert self.came.wait_for(lambda: len(self.requests) >= requests, 20)


@contextmanager
def serving(*refusals: Refuses) -> Iterator[Server]:
    server = Server(list(refusals))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            document: Any = json.loads(body) if body else None
            with server.came:
                server.requests.append((self.command, self.path, dict(self.headers.items())))
                server.bodies.append(document)
                refusal = server.refusals.pop(0) if server.refusals else None
                server.came.notify_all()
            if refusal is not None:
                self.reply(refusal.status, refusal.problem)
            elif self.command == "GET":
                self.reply(200, {"items": [], "next_cursor": None})
            else:
                self.reply(201, [stored(each) for each in document])

        do_GET = do_POST = answer  # noqa: N815  # names of http.server

        def reply(self, status: int, document: Any) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def stored(document: dict[str, Any]) -> dict[str, Any]:
    routes = [
        {"host": None, "action": "read", "authentication": "required"} | route for route in document["routes"]
    ]
    return {"displayName": None, "id": "1"} | document | {"routes": routes}
