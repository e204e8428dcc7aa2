"""An MCP server on the official SDK with given lists, in a thread.

The lists are the pages of each by its member, such as `{"tools": [[{...}], [{...}]]}`; one that is missing
is one that the server does not have. `--json` and `--handshake` as in `tests.mcp_server`.
"""

import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from mcp import types
from mcp.server.lowlevel import Server

from tests.mcp_server import HandshakeOnly

RESULTS: dict[str, tuple[str, type[Any]]] = {
    "tools": ("on_list_tools", types.ListToolsResult),
    "resources": ("on_list_resources", types.ListResourcesResult),
    "resourceTemplates": ("on_list_resource_templates", types.ListResourceTemplatesResult),
    "prompts": ("on_list_prompts", types.ListPromptsResult),
}


def paged(member: str, pages: list[list[Any]], result: type[Any]) -> Callable[..., Awaitable[Any]]:
    async def listed(_: Any, params: types.PaginatedRequestParams | None) -> Any:
        page = int(params.cursor) if params is not None and params.cursor is not None else 0
        answer = {member: pages[page]}
        if page + 1 < len(pages):
            answer["nextCursor"] = str(page + 1)  # type: ignore[assignment]
        return result.model_validate(answer)

    return listed


@contextmanager
def listing_server(lists: Mapping[str, list[list[Any]]], *options: str) -> Iterator[int]:
    """Serve the pages of these lists; the value is the port."""
    handlers: dict[str, Any] = {
        RESULTS[member][0]: paged(member, pages, RESULTS[member][1]) for member, pages in lists.items()
    }
    listing: Server[Any] = Server("listing", **handlers)
    app: Any = listing.streamable_http_app(json_response="--json" in options)
    if "--handshake" in options:
        app = HandshakeOnly(app)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
