"""`POST /sidecar-reports`: what sidecars tell the control plane, every few seconds and after each change.

    {"instance": UUID, "version": "0.2.0",
     "tenants": [{"tenant": "acme", "epoch": UUID, "revision": 7, "age": 0.2}], "gone": ["globex"],
     "key_uses": [{"tenant": "acme", "id": "sak_...", "at": 1790000000.5}],
     "condition_body_max": 65536, "request_bodies": "arrived"}

    200 {"interval": 3.0}   the report is stored; seconds until the next one

`gone` are tenants that the sidecar no longer serves; at its end it names all of them. `request_bodies` is
what it has seen of bodies since its start, null before its first check. Members, and values of
`request_bodies`, that this version does not know are ignored, because sidecars may be newer than their
control plane.
"""

import asyncio
from typing import Annotated, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from extauthz.admin.follower_keys import FollowerKeys
from extauthz.admin.tenants import SLUG_PATTERN
from extauthz.domain.service_key import row_id
from extauthz.domain.sidecar_report import MAX_KEY_USES, MAX_TENANTS, PATH, RequestBodies
from extauthz.rest.answers import Reply
from extauthz.rest.documents import validate
from extauthz.rest.problems import accepted, conflict
from extauthz.rest.request_body import MAX_BODY, parse_json, read_bytes
from extauthz.rest.services import AdminServices
from extauthz.storage.sidecar_reports import LIVE_INTERVALS, TooManySidecars
from extauthz.storage.sidecars import MAX_SIDECARS, SidecarReport

_MAX_REVISION: Final = 2**62
_KNOWN_BODIES: Final = {each.value: each for each in RequestBodies}

Slug = Annotated[str, Field(pattern=SLUG_PATTERN)]
Seconds = Annotated[float, Field(ge=0, lt=2**31)]
PosixTime = Annotated[float, Field(ge=0, lt=2**40)]
_PART: Final = ConfigDict(extra="ignore", frozen=True)


class TenantState(BaseModel):
    """The policies of one tenant in a sidecar."""

    model_config = _PART
    tenant: Slug
    epoch: UUID | None = None
    revision: Annotated[int, Field(ge=0, lt=_MAX_REVISION, strict=True)] | None = None
    age: Seconds | None = None


class UsedKey(BaseModel):
    """The last use of a service key at the proxy."""

    model_config = _PART
    tenant: Slug
    id: Annotated[str, Field(max_length=64)]
    at: PosixTime


class SidecarReportDocument(BaseModel):
    """A report of one worker of a sidecar."""

    model_config = _PART
    instance: UUID
    version: Annotated[str, Field(pattern="^[!-~]{1,64}$")]
    tenants: Annotated[list[TenantState], Field(max_length=MAX_TENANTS)] = []
    gone: Annotated[list[Slug], Field(max_length=MAX_TENANTS)] = []
    key_uses: Annotated[list[UsedKey], Field(max_length=MAX_KEY_USES)] = []
    condition_body_max: Annotated[int, Field(ge=0, lt=_MAX_REVISION, strict=True)] | None = None
    request_bodies: Annotated[str, Field(max_length=64)] | None = None


class SidecarReportApi:
    """The route of reports."""

    def __init__(self, services: AdminServices, keys: FollowerKeys) -> None:
        """Take the services of the API, and what authenticates sidecars."""
        self._services = services
        self._keys = keys

    def routes(self) -> list[Route]:
        """Return the route, to be part of the application."""
        return [Route(PATH, self._report, methods=["POST"], include_in_schema=False)]

    async def _report(self, request: Request) -> Response:
        follower = await self._keys.follower(request)
        document = parse_json(await read_bytes(request, MAX_BODY), request)
        report = validate(SidecarReportDocument.model_validate, document)
        named = {each.tenant for each in report.tenants} | {*report.gone}
        named |= {each.tenant for each in report.key_uses}
        follower.require_tenants(named)
        interval = self._services.sidecars.interval(*named)
        await self._store(report, interval)
        return Reply(200, {"interval": interval}).response()

    async def _store(self, report: SidecarReportDocument, interval: float) -> None:
        services = self._services
        now = services.clock()
        for use in report.key_uses:
            if row_id(use.id) is not None:
                # A clock that is ahead must not hide later uses.
                services.key_use.note(use.tenant, use.id, min(use.at, now))
        live_s = LIVE_INTERVALS * interval
        instance, version = str(report.instance), report.version

        def state(tenant: TenantState) -> SidecarReport:
            epoch = None if tenant.epoch is None else str(tenant.epoch)
            return SidecarReport(
                instance,
                version,
                epoch,
                tenant.revision,
                tenant.age,
                live_s,
                report.condition_body_max,
                _KNOWN_BODIES.get(report.request_bodies or ""),
            )

        store = services.sidecars.store
        nothing = SidecarReport(instance, version, None, None, None, live_s)
        outcomes = await asyncio.gather(
            *(store(services.pool, each.tenant, state(each)) for each in report.tenants),
            *(store(services.pool, tenant, nothing, gone=True) for tenant in report.gone),
        )
        for outcome in outcomes:
            if isinstance(outcome, TooManySidecars):
                raise conflict(f"a tenant has at most {MAX_SIDECARS} live sidecars", ())
            accepted(outcome)
