"""An MCP server on the official SDK: `python -m tests.mcp_server PORT [--json]`.

Each answer says what was called. Without `--json` answers are streams.
"""

import logging
import sys

from mcp.server import MCPServer
from starlette.requests import Request
from starlette.responses import Response

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


@server.prompt(name="greeting")
def greeting() -> str:
    """Return a prompt."""
    return "Hello"


@server.custom_route("/", methods=["GET"])  # type: ignore[untyped-decorator]  # of the SDK
async def root(_: Request) -> Response:
    """Say that the server is there."""
    return Response()


if __name__ == "__main__":
    logging.disable()
    as_json = "--json" in sys.argv
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]), json_response=as_json)
