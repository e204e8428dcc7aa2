"""The admin REST API as its user sees it: one request, one answer."""

import http.client
import json
from dataclasses import dataclass
from typing import Any, Final

from extauthz.demo.processes import LOOPBACK, ProcessFailedError

ADMIN_KEY: Final = "X-Admin-Api-Key"
SERVICE_KEY: Final = "X-Service-Api-Key"


@dataclass(frozen=True, slots=True)
class RestReply:
    """What the API answered; `status` is 0 when the connection broke, `document` None without a JSON body."""

    status: int
    document: Any = None
    revision: int | None = None

    @property
    def id(self) -> str:
        """The id of the object that was created or changed."""
        return str(self.document["id"])


class RestApi:
    """The API on one loopback port; requests carry one key (the operator's) unless they name a token."""

    def __init__(self, port: int, key: str, *, key_header: str = ADMIN_KEY) -> None:
        """Name the port, the key and the header it goes into; nothing is asked yet."""
        self._port = port
        self._key = {key_header: key}

    def with_service_key(self, key: str) -> "RestApi":
        """Return the same API for the holder of a service key."""
        return RestApi(self._port, key, key_header=SERVICE_KEY)

    def ask(self, method: str, path: str, document: object = None, *, token: str | None = None) -> RestReply:
        """Send one request."""
        credential = self._key if token is None else {"Authorization": f"Bearer {token}"}
        body = None if document is None else json.dumps(document)
        content = {} if body is None else {"Content-Type": "application/json"}
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=10)
        try:
            connection.request(method, path, body, credential | content)
            response = connection.getresponse()
            received = response.read()
        except (OSError, http.client.HTTPException):
            return RestReply(0)
        finally:
            connection.close()
        revision = response.headers.get("X-Policy-Revision")
        try:
            answered = json.loads(received)
        except ValueError:
            answered = None
        return RestReply(response.status, answered, None if revision is None else int(revision))

    def create(self, path: str, document: object) -> RestReply:
        """Create an object.

        Raises:
            ProcessFailedError: the API refused, or did not answer.
        """
        return self._successful("POST", path, document)

    def put(self, path: str, document: object) -> RestReply:
        """Replace an object.

        Raises:
            ProcessFailedError: the API refused, or did not answer.
        """
        return self._successful("PUT", path, document)

    def _successful(self, method: str, path: str, document: object) -> RestReply:
        reply = self.ask(method, path, document)
        if reply.status not in {200, 201}:
            raise ProcessFailedError(f"{method} {path} was answered {reply.status}: {reply.document}")
        return reply
