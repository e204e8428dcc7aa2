"""`?wait=all|N%` on writes: the answer comes when the live sidecars of the tenant have the write.

The write is committed either way. Where some do not have it in time, the answer is 202 with the same body and
headers, and with the members `missing` (a list of sidecars, at most 100) and `missing_count`. A body that is
a list becomes the member `items`.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog
from starlette.responses import Response

from extauthz.domain.time_text import rfc3339
from extauthz.rest.answers import POLICY_REVISION
from extauthz.rest.problems import ParameterProblem, invalid
from extauthz.storage.encoding import decode_json, encode_json
from extauthz.storage.rows import Document
from extauthz.storage.sidecar_reports import MissingSidecars

if TYPE_CHECKING:
    from extauthz.rest.services import AdminServices
    from extauthz.storage.sidecars import Sidecar

PARAMETERS: Final = frozenset({"wait", "within"})
DEFAULT_WITHIN_S: Final = 5
LONGEST_WITHIN_S: Final = 60
_PERCENT: Final = re.compile(r"([1-9][0-9]?|100)%")
_SECONDS: Final = re.compile(r"[1-9][0-9]?")

_log = structlog.get_logger("extauthz.admin")


@dataclass(frozen=True, slots=True)
class Wait:
    """How many of the live sidecars are waited for, and for how long."""

    percent: int
    within_s: int


def take_wait(given: dict[str, str]) -> Wait | None:
    """Remove the parameters from those of a request, and return what they say. Raises ProblemError."""
    wait, within = given.pop("wait", None), given.pop("within", None)
    problems: list[ParameterProblem] = []
    percent = 100 if wait in {None, "all"} else 0
    if wait is not None and (found := _PERCENT.fullmatch(wait)):
        percent = int(found[1])
    if not percent:
        problems.append(ParameterProblem("wait", "must be 'all' or 1% to 100%"))
    seconds = DEFAULT_WITHIN_S
    if within is not None:
        if wait is None:
            problems.append(ParameterProblem("within", "is for requests with 'wait'"))
        seconds = int(within) if _SECONDS.fullmatch(within) else 0
        if not 1 <= seconds <= LONGEST_WITHIN_S:
            problems.append(
                ParameterProblem("within", f"must be an integer from 1 to {LONGEST_WITHIN_S}, in seconds")
            )
    if problems:
        raise invalid(problems)
    return None if wait is None else Wait(percent, seconds)


async def awaited(response: Response, wait: Wait, tenant: str, services: "AdminServices") -> Response:
    """Return the answer of a write when the sidecars have it; else 202 with those that do not."""
    revision = response.headers.get(POLICY_REVISION)
    if revision is None:
        return response
    try:
        missing = await services.sidecars.missing(
            services.pool, tenant, int(revision), percent=wait.percent, within_s=wait.within_s
        )
    except Exception as error:  # noqa: BLE001  # the write is committed, whatever ends the wait
        _log.warning("sidecars_not_asked", tenant=tenant, cause=type(error).__name__)
        missing = MissingSidecars(None, ())
    if missing is None:
        return response
    body = decode_json(bytes(response.body).decode()) if response.body else {}
    members = body if isinstance(body, Mapping) else {"items": body}
    shown = {**members, "missing": [sidecar_json(each) for each in missing.sidecars]}
    headers = {name: value for name, value in response.headers.items() if name != "content-length"}
    return Response(
        encode_json(shown | {"missing_count": missing.count}),
        HTTPStatus.ACCEPTED,
        headers,
        media_type="application/json",
    )


def sidecar_json(sidecar: "Sidecar") -> Document:
    """Return a sidecar as the API shows it."""
    return asdict(sidecar) | {"last_seen": rfc3339(sidecar.last_seen)}
