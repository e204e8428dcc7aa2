"""An MCP server on the official SDK: `python -m tests.mcp_server PORT [--json] [--handshake]`.

Each answer says what was called. Without `--json` answers are streams; with `--handshake` it speaks only the
protocols before 2026-07-28.
"""

import logging
import sys
from typing import TYPE_CHECKING

import uvicorn
from mcp.server import MCPServer
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

MODERN = b"2026-07-28"

server = MCPServer("invoices")


@server.tool(name="read-invoice")
def read_invoice(number: int) -> str:
    """Return an invoice."""
    return f"read {number}"


@server.tool(name="delete-invoice")
def delete_invoice(number: int, amount: int) -> str:
    """Delete an invoice."""
    return f"deleted {number} of {amount}"


@server.tool(name="read-mailbox")
def read_mailbox(owner: str) -> str:
    """Return a mailbox."""
    return f"mail of {owner}"


@server.tool(name="search-invoices")
def search_invoices(owner: str | None = None, fields: dict[str, str] | None = None) -> str:
    """Return the invoices of an owner, or of everyone."""
    return f"invoices of {owner} with {fields}"


@server.tool(name="drop-tables")
def drop_tables() -> str:
    """Do what no route names."""
    return "dropped"


@server.resource("reports://{year}/{name}")
def report(year: str, name: str) -> str:
    """Return a report."""
    return f"{name} of {year}"


@server.resource("reports://latest", name="latest")
def latest() -> str:
    """Return the latest report."""
    return "latest"


@server.prompt(name="greeting")
def greeting() -> str:
    """Return a prompt."""
    return "Hello"


@server.custom_route("/", methods=["GET"])  # type: ignore[untyped-decorator]  # of the SDK
async def root(_: Request) -> Response:
    """Say that the server is there."""
    return Response()


class HandshakeOnly:
    """An application that refuses the newer era of the protocol, as servers from before it do."""

    def __init__(self, app: "ASGIApp") -> None:
        """Take the application of both eras."""
        self._app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer a request."""
        if (b"mcp-protocol-version", MODERN) in scope.get("headers", ()):
            error = {"code": -32600, "message": "Bad Request: Unsupported protocol version"}
            refusal = JSONResponse({"jsonrpc": "2.0", "id": "server-error", "error": error}, 400)
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)


if __name__ == "__main__":
    logging.disable()
    app: "ASGIApp" = server.streamable_http_app(json_response="--json" in sys.argv)
    if "--handshake" in sys.argv:
        app = HandshakeOnly(app)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")
