"""The channel from a sidecar back to its control plane: documents are posted, and their answers read.

Input: the address of the control plane. Output: the answer to a document. Errors: `NotAcknowledgedError`.

Size and time of an answer are limited; redirects, cookies and proxies are not used.
"""

from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import orjson

from extauthz.runtime.policies import server_tls
from extauthz.settings import HttpSource, Settings
from extauthz.signed.server_address import CONNECT_S, ServerAddress, ServerConnections, cause_of

WORKER_URL: Final = "EXTAUTHZ_WORKER_REPORTS_URL"
WORKER_KEY: Final = "EXTAUTHZ_WORKER_REPORTS_KEY"
"""The environment of a worker of `serve`: where it reports, and with what. The supervisor sets both."""
MAX_ANSWER_BYTES: Final = 1 << 20
_OK: Final = 200
_TAKES_NOTHING: Final = frozenset({403, 404, 405, 501})
"""Statuses of servers of static files, which signed policies may come from."""


class NotAcknowledgedError(Exception):
    """The control plane did not take a document; the text says why, without anything of the document.

    `final` says that this server will not take the next one either.
    """

    def __init__(self, detail: str, *, final: bool = False) -> None:
        super().__init__(detail)
        self.final = final


class ControlPlaneChannel(ServerConnections):
    """The connections of a sidecar to its control plane."""

    @property
    def url(self) -> str:
        """The address of the control plane, for logs."""
        return self.server.url

    async def send(self, path: str, document: Mapping[str, Any], *, within_s: float) -> Mapping[str, Any]:
        """Post a document and return the answer, an object. Raises NotAcknowledgedError."""
        headers = self.server.headers() | {"content-type": "application/json"}
        try:
            async with self.session.post(
                self.server.url + path,
                data=orjson.dumps(document),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=within_s, connect=CONNECT_S),
                allow_redirects=False,
            ) as response:
                if response.status != _OK:
                    raise NotAcknowledgedError(
                        f"POST {path}: the server answered {response.status}",
                        final=response.status in _TAKES_NOTHING,
                    )
                octets = bytearray()
                async for chunk in response.content.iter_any():
                    octets += chunk
                    if len(octets) > MAX_ANSWER_BYTES:
                        raise NotAcknowledgedError(
                            f"POST {path}: the answer is larger than {MAX_ANSWER_BYTES} bytes"
                        )
                answer = orjson.loads(octets)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NotAcknowledgedError(f"POST {path}: {cause_of(error)}") from error
        except ValueError as error:
            raise NotAcknowledgedError(f"POST {path}: the answer is not JSON") from error
        if not isinstance(answer, dict):
            raise NotAcknowledgedError(f"POST {path}: the answer is not an object")
        return answer


def control_plane(settings: Settings, environ: Mapping[str, str]) -> ServerAddress | None:
    """Return where a worker reports; None: it reports nothing.

    A worker of `serve` reports to its own control plane, unless CONTROL_PLANE_URL names another one. Raises
    StartRefusedError.
    """
    source = settings.policy_source if isinstance(settings.policy_source, HttpSource) else None
    server = settings.control_plane_url or source
    if server is None:
        url, key = environ.get(WORKER_URL), environ.get(WORKER_KEY)
        return None if url is None else ServerAddress(url, None, key)
    key = settings.control_plane_api_key or settings.policy_api_key
    return None if key is None else ServerAddress(server.url, server_tls(settings, server), key)
