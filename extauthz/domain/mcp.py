"""Messages of the Model Context Protocol over HTTP, and what routes say about them.

A message is JSON-RPC 2.0 in the body of a POST. Of some methods one parameter names what they are about:
a tool, a prompt, a resource by its URI.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

POST: Final = "POST"
URI: Final = "uri"
NAME_MEMBERS: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": URI,
    "resources/subscribe": URI,
    "resources/unsubscribe": URI,
}
"""The parameter that names what a message of the method is about."""
LISTEN: Final = "subscriptions/listen"
SUBSCRIBE: Final = "resources/subscribe"
NOTIFICATIONS: Final = "notifications/"
ANY_NOTIFICATION: Final = "notifications/*"
ANY_NAME: Final = "*"
RESPONSE: Final = "response"
"""Stands for the method of a message that answers the server: it has none."""
_CLAIM: Final = "POST mcp:"


class McpMessage(NamedTuple):
    """A message: its method, `RESPONSE` for an answer, and the name of what it is about, None without one.

    A subscription to one resource is `SUBSCRIBE` in both eras of the protocol, in which it has two methods.
    """

    method: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class McpPattern:
    """The messages that a route covers: a method, and a name, a URI template, or `*` for every name."""

    method: str
    name: str | None = None

    @property
    def claim(self) -> str:
        """What two routes of one path cannot both have; no method of HTTP is written so."""
        return f"{_CLAIM}{self.method}" + ("" if self.name is None else f" {self.name}")


SESSION: Final = tuple(
    McpPattern(method)
    for method in (
        "initialize",
        "server/discover",
        "ping",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        LISTEN,
        ANY_NOTIFICATION,
        RESPONSE,
    )
)
"""The preset `mcp: session`: what clients send that calls nothing and reads nothing but lists."""
