"""Reads heads and bodies from an HTTP server: a control plane, or any server of static files.

Input: the URL of the server, a tenant, what to authenticate with. Output: octets, not verified. Errors:
`HeadRejectedError` with the reason `unreachable`.

Size and time of every answer are limited; redirects, cookies, proxies and compressed transfer are not used.
"""

from typing import Final
from urllib.parse import quote

import aiohttp

from extauthz.signed.head import MAX_HEAD_BYTES, Body, HeadRejectedError
from extauthz.signed.server_address import CONNECT_S, ServerAddress, ServerConnections, cause_of
from extauthz.telemetry.counts import HeadRejection

PREFIX: Final = "/signed-policies"
ANSWER_S: Final = 10.0
"""The most seconds that an answer takes, without waiting for news and without the octets of a body."""
_OCTETS_A_SECOND: Final = 256 * 1024
"""The slowest rate at which a body may arrive."""
_OK: Final = 200
_CHUNK: Final = 64 * 1024


def head_path(tenant: str) -> str:
    """Return the path of a tenant's head."""
    return f"{PREFIX}/{quote(tenant, safe='')}/head.json"


def body_path(tenant: str, sha256: str) -> str:
    """Return the path of a body."""
    return f"{PREFIX}/{quote(tenant, safe='')}/{sha256}.json.gz"


class HttpPolicies(ServerConnections):
    """The signed policies of one tenant at one server."""

    def __init__(self, server: ServerAddress, tenant: str) -> None:
        """Take the address; nothing is opened yet."""
        super().__init__(server)
        self._tenant = tenant

    async def head(self, after: int | None, wait_s: float) -> bytes:
        """Return the current head; the server may wait up to `wait_s` for one with a serial above `after`."""
        query = {} if after is None else {"after": str(after), "wait": str(int(wait_s))}
        return await self._read(head_path(self._tenant), query, MAX_HEAD_BYTES, wait_s + ANSWER_S)

    async def body(self, body: Body) -> bytes:
        """Return the octets of a body, at most its signed size."""
        path = body_path(self._tenant, body.sha256)
        return await self._read(path, {}, body.size, ANSWER_S + body.size / _OCTETS_A_SECOND)

    async def _read(self, path: str, query: dict[str, str], at_most: int, within_s: float) -> bytes:
        headers = self.server.headers()
        timeout = aiohttp.ClientTimeout(total=within_s, connect=CONNECT_S)
        try:
            async with self.session.get(
                self.server.url + path, params=query, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status != _OK:
                    raise HeadRejectedError(
                        HeadRejection.UNREACHABLE, f"GET {path}: the server answered {response.status}"
                    )
                octets = bytearray()
                async for chunk in response.content.iter_chunked(_CHUNK):
                    octets += chunk
                    if len(octets) > at_most:
                        raise HeadRejectedError(
                            HeadRejection.UNREACHABLE,
                            f"GET {path}: the answer is larger than {at_most} bytes",
                        )
                return bytes(octets)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise HeadRejectedError(HeadRejection.UNREACHABLE, f"GET {path}: {cause_of(error)}") from error
