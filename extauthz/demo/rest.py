"""The admin REST API as its user sees it: one request, one answer."""

import http.client
import json
from dataclasses import dataclass
from typing import Any

from extauthz.demo.processes import LOOPBACK, ProcessFailedError


@dataclass(frozen=True, slots=True)
class Reply:
    """What the API answered; `status` is 0 when the connection broke, `document` None without a JSON body."""

    status: int
    document: Any = None
    revision: int | None = None

    @property
    def id(self) -> str:
        """The id of the object that was created or changed."""
        return str(self.document["id"])


class RestApi:
    """The API on one loopback port; requests carry the operator's key unless they name a token."""

    def __init__(self, port: int, admin_api_key: str) -> None:
        """Name the port and the key; nothing is asked yet."""
        self._port = port
        self._admin_api_key = admin_api_key

    def ask(self, method: str, path: str, document: object = None, *, token: str | None = None) -> Reply:
        """Send one request."""
        credential = (
            {"X-Admin-Api-Key": self._admin_api_key}
            if token is None
            else {"Authorization": f"Bearer {token}"}
        )
        body = None if document is None else json.dumps(document)
        content = {} if body is None else {"Content-Type": "application/json"}
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=10)
        try:
            connection.request(method, path, body, credential | content)
            response = connection.getresponse()
            received = response.read()
        except (OSError, http.client.HTTPException):
            return Reply(0)
        finally:
            connection.close()
        revision = response.headers.get("X-Policy-Revision")
        try:
            answered = json.loads(received)
        except ValueError:
            answered = None
        return Reply(response.status, answered, None if revision is None else int(revision))

    def create(self, path: str, document: object) -> Reply:
        """Create an object.

        Raises:
            ProcessFailedError: the API refused, or did not answer.
        """
        reply = self.ask("POST", path, document)
        if reply.status not in {200, 201}:
            raise ProcessFailedError(f"POST {path} was answered {reply.status}: {reply.document}")
        return reply
