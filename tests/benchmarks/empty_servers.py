"""Servers that answer every check with the same octets, to measure a transport alone.

A process of its own: `python -m tests.benchmarks.empty_servers grpcio|native ANSWER_FILE`. It prints its
port, and ends with its standard input.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import grpc

from extauthz.check.grpcio_server import CHECK_SERVICE
from extauthz.check.native_server import NativeServer

THREADS: Final = 4


def serve_grpcio(answer: bytes) -> None:
    """Grpcio as its documentation shows it, with four threads."""
    handler = grpc.unary_unary_rpc_method_handler(lambda _raw, _context: answer)
    server = grpc.server(
        ThreadPoolExecutor(THREADS),
        handlers=[grpc.method_handlers_generic_handler(CHECK_SERVICE, {"Check": handler})],
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    _until_input_ends(port)
    server.stop(None).wait()


def serve_native(answer: bytes) -> None:
    """The native front as extauthz uses it: deadlines, health, drain and bounds, and no check."""
    server = NativeServer(lambda _raw, _left: answer, ["127.0.0.1:0"])
    _until_input_ends(server.start())
    server.drain(0.0)


def _until_input_ends(port: int) -> None:
    print(port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    {"grpcio": serve_grpcio, "native": serve_native}[sys.argv[1]](Path(sys.argv[2]).read_bytes())
