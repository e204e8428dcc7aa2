"""An MCP server on the official SDK with given lists: `python -m tests.mcp_listing_server PORT LISTS`.

LISTS is a JSON object: the pages of each list by its member, such as `{"tools": [[{...}], [{...}]]}`; a list
that it lacks is one that the server does not have. `--json` and `--handshake` as in `tests.mcp_server`.
"""

import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from mcp import types
from mcp.server.lowlevel import Server
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.mcp_server import serve

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


async def root(_: Request) -> Response:
    return Response()


if __name__ == "__main__":
    lists = json.loads(sys.argv[2])
    handlers: dict[str, Any] = {
        RESULTS[member][0]: paged(member, pages, RESULTS[member][1]) for member, pages in lists.items()
    }
    server: Server[Any] = Server("listing", **handlers)
    app = server.streamable_http_app(
        json_response="--json" in sys.argv, custom_starlette_routes=[Route("/", root)]
    )
    serve(app, sys.argv[1:])
