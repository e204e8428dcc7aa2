"""The demo's upstream: answers with the request that it received.

Every method on every path is answered with 200 and `{"method", "path", "headers"}`. `path` is the request
target as it was on the wire, with its query, never normalised or decoded. `headers` has lower-case names;
a header that came as several lines shows their values joined with `, `, in order.

Run as `python -m extauthz.demo.upstream --port PORT`.
"""

import argparse
import asyncio
import contextlib
import signal
from typing import Final

from aiohttp import web

_MAX_LINE: Final = 128 * 1024
"""Bytes of a request line or header: more than Envoy lets through, so that it never refuses on its own."""


async def echo(request: web.BaseRequest) -> web.Response:
    """Answer with what was received."""
    async for _ in request.content.iter_chunked(65_536):
        pass
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        lowered = name.lower()
        headers[lowered] = f"{headers[lowered]}, {value}" if lowered in headers else value
    return web.json_response({"method": request.method, "path": request.raw_path, "headers": headers})


async def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        OSError: the port is taken.
    """
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = web.Server(
        echo, max_line_size=_MAX_LINE, max_field_size=_MAX_LINE, access_log=None, auto_decompress=False
    )
    runner = web.ServerRunner(server, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        await ended.wait()
    finally:
        await runner.cleanup()


def main(arguments: list[str] | None = None) -> None:
    """Serve on the port the command line names."""
    parser = argparse.ArgumentParser(description="the demo's upstream")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args(arguments)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.host, options.port))


if __name__ == "__main__":
    main()
