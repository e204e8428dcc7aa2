"""The policies that an explanation is about: those of now, of a revision, or of a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from extauthz.compile.snapshot import Snapshot
from extauthz.domain.reasons import Reason
from extauthz.domain.time_text import rfc3339
from extauthz.rest.context import RequestContext
from extauthz.rest.problems import ProblemError, not_found, unavailable
from extauthz.storage.history import NotKept
from extauthz.storage.rows import Document

_OTHER_EPOCH: Final = (
    "the line is of another epoch: the database was restored since, and its revisions do not compare"
)
_OTHER_DIGEST: Final = (
    "the rebuilt policies are not those of the digest: rows were changed without a write, "
    "or the database was restored"
)


@dataclass(frozen=True, slots=True)
class View:
    """The policies that an explanation is about, and the time for which they are asked."""

    snapshot: Snapshot
    suspended: bool
    now: float
    policies: Document
    notes: tuple[str, ...] = ()


async def view_of(
    ctx: RequestContext, when: int | datetime | None, line: Mapping[str, Any] | None = None
) -> View:
    """Return the policies of a revision or a time, None for those of now.

    Raises ProblemError: 404 where they are not kept, 503 where no policies were loaded yet.
    """
    services = ctx.services
    directory = services.policies.current()
    live = None if directory is None else directory.snapshots.get(ctx.tenant)
    if directory is None or live is None:
        raise unavailable(Reason.NOT_READY.text, reason=Reason.NOT_READY.value)
    if when is None:
        policies = _policies(live.revision, live.policy_digest.text)
        return View(live, ctx.tenant in directory.suspended, services.clock(), policies)
    history = services.history
    if history is None:
        raise not_found("no earlier revision can be rebuilt here")
    found = await ctx.read(lambda connection: history.at(connection, ctx.tenant, when))
    if isinstance(found, NotKept):
        raise _not_kept(found, when)
    notes = [] if line is None or line["policy_epoch"] in {None, directory.epoch} else [_OTHER_EPOCH]
    line_digest = None if line is None else line.get("policy_digest")
    known = [each for each in (found.revision.digest, line_digest) if each is not None]
    matches = all(each == found.digest for each in known) if known else None
    if matches is False:
        notes.append(_OTHER_DIGEST)
    notes += [f"{problem.pointer}: {problem.message}" for problem in found.problems[:20]]
    moment = when if isinstance(when, datetime) else found.revision.written_at
    policies = _policies(found.revision.number, found.digest) | {
        "written_at": rfc3339(found.revision.written_at),
        "stored_digest": found.revision.digest,
        "line_digest": line_digest,
        "matches": matches,
    }
    return View(found.snapshot, found.suspended, moment.timestamp(), policies, tuple(notes))


def _policies(revision: int, digest: str | None) -> Document:
    return {
        "revision": revision, "written_at": None, "digest": digest, "stored_digest": None,
        "line_digest": None, "matches": None,
    }  # fmt: skip


def _not_kept(found: NotKept, when: int | datetime) -> ProblemError:
    asked = f"revision {when}" if isinstance(when, int) else f"the policies at {rfc3339(when)}"
    if found.problems:
        return not_found(f"{asked} cannot be rebuilt: {found.problems[0].message}")
    if isinstance(when, int) and when > found.newest:
        return not_found(f"there is no {asked} yet; the newest one is {found.newest}")
    if found.first is None:
        return not_found(f"{asked} is not kept: the history of the tenant is empty")
    begins = f"revision {found.first.number} of {rfc3339(found.first.written_at)}"
    return not_found(f"{asked} is not kept: the history begins with {begins}")
