"""Paths of the REST API have one spelling: what a proxy matches as text is what is served here."""

from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from extauthz.rest.problems import ProblemError


class PlainPaths:
    """ASGI middleware: a path with an escape is 404, as a path that leads nowhere.

    Servers decode a path before they look for its route: a proxy that closes `/admin` lets `/%61dmin` and
    `/admin%2Fsession` pass. No path of the API has a character that needs an escape.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "http" and b"%" in scope["raw_path"]:
            problem = ProblemError(HTTPStatus.NOT_FOUND, "there is nothing at this path")
            await problem.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)
