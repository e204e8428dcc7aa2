"""`POST /sidecar-recordings`: batches of shapes, as workers count them (`recording.documents.BatchWriter`).

    200 {"attributes": {"acme": ["user.department"]}}   the batch is stored; record these attributes too

A batch counts once, by `instance` and `number`, so that a sidecar sends it until it is acknowledged. Hours
that are too long ago, and tenants that do not exist, are left out. Members that this version does not know
are ignored, because sidecars may be newer than their control plane.
"""

import asyncio
from typing import TYPE_CHECKING, Final

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from extauthz.admin.follower_keys import FollowerKeys
from extauthz.recording.batch import PATH, ShapeBatch, read_batch
from extauthz.rest.answers import Reply
from extauthz.rest.problems import accepted, invalid
from extauthz.rest.request_body import MAX_BODY, parse_json, read_bytes
from extauthz.rest.services import AdminServices
from extauthz.storage.outcome import refusals_returned
from extauthz.storage.recording_senders import BatchPart
from extauthz.storage.recordings import RecordingStore

if TYPE_CHECKING:
    from extauthz.recording.documents import Counted

_HOURS_BACK: Final = 7 * 24
_HOURS_AHEAD: Final = 24

_log = structlog.get_logger("extauthz.recording")


class SidecarRecordingApi:
    """The route of recordings."""

    def __init__(self, services: AdminServices, keys: FollowerKeys) -> None:
        """Take the services of the API, and what authenticates sidecars."""
        self._services = services
        self._keys = keys
        self._store = RecordingStore(
            services.pool,
            lambda tenant: services.recording.read_by_rules(tenant, services.snapshot(tenant)),
        )

    def routes(self) -> list[Route]:
        """Return the route, to be part of the application."""
        return [Route(PATH, self._take, methods=["POST"], include_in_schema=False)]

    async def _take(self, request: Request) -> Response:
        follower = await self._keys.follower(request)
        batch = read_batch(parse_json(await read_bytes(request, MAX_BODY), request))
        if not isinstance(batch, ShapeBatch):
            raise invalid(batch)
        tenants = {one.shape.tenant for one in batch.counted}
        follower.require_tenants(tenants)
        for tenant in tenants:
            await self._services.recording.refresh(tenant)
        await self._add(batch)
        asked_for = {tenant: self._services.recording.asked_for(tenant) for tenant in tenants}
        named = {tenant: sorted(names) for tenant, names in asked_for.items() if names}
        return Reply(200, {"attributes": named}).response()

    async def _add(self, batch: ShapeBatch) -> None:
        services = self._services
        directory = services.policies.current()
        now = int(services.clock() // 3600)
        parts: dict[str, list[Counted]] = {}
        left_out = 0
        for one in batch.counted:
            known = directory is not None and one.shape.tenant in directory.snapshots
            if known and now - _HOURS_BACK <= one.hour <= now + _HOURS_AHEAD:
                parts.setdefault(one.shape.tenant, []).append(one)
            else:
                left_out += one.requests
        if left_out:
            _log.warning("recordings_left_out", instance=batch.instance, requests=left_out)
        add = refusals_returned(self._store.add)
        outcomes = await asyncio.gather(
            *(add(tenant, BatchPart(batch.instance, batch.number, some)) for tenant, some in parts.items())
        )
        for outcome in outcomes:
            accepted(outcome)
