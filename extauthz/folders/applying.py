"""Makes the live policies those of a plan: a draft, its list of changes, its publication, in one revision.

Input: a `RestClient`, a plan. Output: `Applied`. Errors: `ApplyError`, a text of one line and the lines that
explain it; `RestError`.

INVARIANT: what was not published leaves no draft behind, unless a draft was asked for or cannot be deleted,
which is then told. What became of a publication without an answer is asked, never guessed.
"""

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from extauthz.domain.one_line import one_line
from extauthz.folders.changes import ListedChange, changes, parts
from extauthz.folders.live_rows import LiveRows, live_rows, refusal
from extauthz.folders.plan import Plan
from extauthz.folders.plan_text import Where, title_of
from extauthz.folders.rest_client import (
    LONG_TIMEOUT_S,
    TIMEOUT_S,
    Answer,
    NoRestAnswerError,
    NotTheApiError,
    RestClient,
    RestError,
)

DRAFTS: Final = "/api/v1/drafts"
_ROUNDS: Final = 5
_SHOWN: Final = 20
_ASK_TIMEOUT_S: Final = 10.0
_SAYS_NOTHING: Final = frozenset({500, 502, 504})
"""Answers after which a request may have been done: of a server that failed, of a proxy that did not wait."""
_EMPTY_DRAFT: Final = "nothing was applied; an empty draft may be left"
_UUID: Final = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DOES_NOT_FIT: Final = frozenset({404, 409, 422})

Replan = Callable[[LiveRows], Plan]
"""Makes the plan for other live rows."""


class ApplyError(RestError):
    """The plan was not applied, or it is not known whether it was; `lines` explain it."""

    def __init__(self, text: str, lines: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.lines = tuple(lines)


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a plan. `revision` is that of the publication, None for a draft that is left open."""

    draft: str
    revision: int | None
    note: str = ""


@dataclass(slots=True)
class Applying:
    """One run of `extauthz policy apply` after its plan was made."""

    client: RestClient
    title: str
    where: Where
    replan: Replan
    left_behind: str | None = None
    """A draft that was to be deleted and could not be."""

    def apply(self, plan: Plan, revision: int, *, publish: bool) -> Applied:
        """Apply a plan that was made for a live revision. Without `publish` the draft is left open.

        Where the live policies are written meanwhile the plan is made again: the same one is applied to them,
        another one ends the run. Raises: ApplyError, RestError.
        """
        for _ in range(_ROUNDS):
            draft = self._create()
            outcome = self._round(draft, plan, revision, publish=publish)
            if isinstance(outcome, Applied):
                return outcome
            live = live_rows(self.client)
            if not self.replan(live).is_same(plan):
                raise ApplyError(
                    f"the live policies were written meanwhile (revision {revision} is now {live.revision}),"
                    " and the plan is another one now; nothing was applied, run the command again"
                )
            revision = live.revision
        raise ApplyError(
            f"the live policies were written during each of {_ROUNDS} attempts; nothing was applied;"
            " try again later"
        )

    def _round(
        self, draft: dict[str, Any], plan: Plan, revision: int, *, publish: bool
    ) -> Applied | Literal["moved"]:
        """Fill and publish a draft.

        `moved`: the live policies are at another revision, and the draft is deleted.
        """
        draft_id = str(draft["id"])
        keep = False
        try:
            if draft.get("base_revision") != revision:
                return "moved"
            try:
                fits = self._fill(draft_id, changes(plan))
            except KeyboardInterrupt:
                raise ApplyError("it was interrupted; nothing was applied") from None
            if not fits:
                return "moved"
            if not publish:
                keep = True
                return Applied(draft_id, None)
            found = self._publish(draft_id)
            keep = isinstance(found, Applied)
            return found
        except _UnknownError:
            keep = True
            raise
        finally:
            if not keep:
                self._delete(draft_id)

    def _create(self) -> dict[str, Any]:
        key = str(uuid.uuid4())
        try:
            answer = self.client.call("POST", DRAFTS, {"title": self.title}, key=key)
        except NoRestAnswerError as error:
            raise ApplyError(f"the draft could not be made: {error}; {_EMPTY_DRAFT}") from None
        except KeyboardInterrupt:
            raise ApplyError(f"it was interrupted; {_EMPTY_DRAFT}") from None
        if answer.status in {404, 405}:
            raise NotTheApiError(
                f"{self.client.url} has no {DRAFTS} ({answer.status}): it is an older version, or not the"
                " admin REST API; nothing was applied"
            )
        if not answer.is_success:
            left = _EMPTY_DRAFT if answer.status in _SAYS_NOTHING else "nothing was applied"
            raise ApplyError(f"{refusal('the server refuses a draft', answer)}; {left}", _errors(answer))
        document = answer.document
        if not isinstance(document, dict) or _UUID.fullmatch(str(document.get("id"))) is None:
            raise NotTheApiError(f"{self.client.url} answers {DRAFTS} with another document than a draft")
        return document

    def _fill(self, draft_id: str, entries: Sequence[ListedChange]) -> bool:
        """Put the changes into a draft; False where they do not fit since the live policies were written."""
        return all(self._send(draft_id, part) for part in parts(entries))

    def _send(self, draft_id: str, entries: Sequence[ListedChange]) -> bool:
        body = [entry.body for entry in entries]
        path = f"{DRAFTS}/{draft_id}/changes"
        try:
            answer = self.client.call("POST", path, body, key=str(uuid.uuid4()), timeout_s=LONG_TIMEOUT_S)
        except NoRestAnswerError as error:
            raise ApplyError(f"the changes could not be sent: {error}; nothing was applied") from None
        if answer.is_success:
            return True
        if answer.status in _DOES_NOT_FIT and self._has_moved(draft_id):
            return False
        raise ApplyError(
            refusal("the server refuses the changes", answer) + "; nothing was applied",
            list(self._explained(answer, entries)),
        )

    def _has_moved(self, draft_id: str) -> bool:
        """Tell whether the live policies were written since the draft was made."""
        draft = self.client.call("GET", f"{DRAFTS}/{draft_id}").document
        return isinstance(draft, dict) and draft.get("base_revision") != draft.get("live_revision")

    def _explained(self, answer: Answer, entries: Sequence[ListedChange]) -> Iterator[str]:
        """Yield a line for each problem: the row of the folder, and what is wrong with it."""
        errors = answer.errors
        for each in errors[:_SHOWN]:
            message = one_line(str(each.get("message", "")))
            _, position, *rest = (*str(each.get("pointer", "")).split("/"), "")
            if not (position.isascii() and position.isdigit() and int(position) < len(entries)):
                yield message
                continue
            step = entries[int(position)].step
            member = "/".join(rest).removeprefix("document").strip("/")
            at = f"{one_line(self.where(step.after))}: " if step.after is not None else ""
            yield f"{at}{title_of(step)}: {one_line(member) + ': ' if member else ''}{message}"
        if len(errors) > _SHOWN:
            yield f"and {len(errors) - _SHOWN} more"

    def _publish(self, draft_id: str) -> Applied | Literal["moved"]:
        path = f"{DRAFTS}/{draft_id}/publish"
        try:
            answer = self.client.call("POST", path, key=str(uuid.uuid4()), timeout_s=LONG_TIMEOUT_S)
        except NoRestAnswerError as error:
            return self._asked(draft_id, error)
        except KeyboardInterrupt:
            return self._asked(draft_id, ApplyError("it was interrupted"))
        if answer.is_success:
            return _published(answer)
        if answer.status in _SAYS_NOTHING or answer.problem.get("outcome") == "unknown":
            return self._asked(draft_id, ApplyError(answer.detail))
        if answer.status == 409 and "reason" not in answer.problem:
            state = self.client.call("GET", f"{DRAFTS}/{draft_id}")
            if isinstance(state.document, dict) and state.document.get("state") == "published":
                return _published(state)
            if self._has_moved(draft_id):
                return "moved"
        raise ApplyError(_withheld(answer), _errors(answer))

    def _asked(self, draft_id: str, error: RestError) -> Applied:
        """Ask what became of a publication without an answer, which may still be under way.

        Deleting the draft waits for it. Then the draft is gone, and nothing will be live, or it is published.
        """
        try:
            deleted = self.client.call("DELETE", f"{DRAFTS}/{draft_id}", timeout_s=TIMEOUT_S)
            if deleted.is_success or deleted.status == 404:
                raise ApplyError(f"the draft was not published: {error}; nothing was applied")
            state = self.client.call("GET", f"{DRAFTS}/{draft_id}")
            if isinstance(state.document, dict) and state.document.get("state") == "published":
                return _published(
                    state, note="the answer to the publication was lost; the server says it was done"
                )
        except ApplyError:
            raise
        except RestError:
            pass
        raise _UnknownError(
            f"it is not known whether the draft {draft_id} was published: {error}; all of it is live, or"
            f" nothing; GET {self.client.url}{DRAFTS}/{draft_id} tells: 'state' is 'published' or 'open'"
        )

    def _delete(self, draft_id: str) -> None:
        """Delete a draft that was not published, and note it where that fails."""
        try:
            answer = self.client.call("DELETE", f"{DRAFTS}/{draft_id}", timeout_s=_ASK_TIMEOUT_S)
            left = not answer.is_success and answer.status != 404
        except RestError:
            left = True
        if left:
            self.left_behind = draft_id


class _UnknownError(ApplyError):
    """It is not known what became of a publication."""


def _published(answer: Answer, note: str = "") -> Applied:
    draft = answer.document
    revision = draft.get("published_revision") if isinstance(draft, dict) else None
    if not isinstance(draft, dict) or not isinstance(revision, int):
        raise NotTheApiError("the server answers a publication with another document than a published draft")
    return Applied(str(draft.get("id")), revision, note)


_WITHHELD: Final = {
    "policy_tests_failed": "policy tests fail with these policies",
    "replay_required": "the change guard needs a replay of the draft, which --draft leaves open for it",
    "approval_required": "the change guard needs an approval of the draft, which --draft leaves open for it",
}


def _withheld(answer: Answer) -> str:
    """Return why a publication was refused."""
    why = _WITHHELD.get(str(answer.problem.get("reason")))
    text = refusal("the server refuses to publish", answer)
    return f"{text}; {f'{why}; ' if why else ''}nothing was applied"


def _errors(answer: Answer) -> list[str]:
    """Return a line for each problem that the API names."""
    errors = answer.errors
    lines = [
        one_line(f"{pointer}: {message}" if (pointer := each.get("pointer")) else str(message))
        for each in errors[:_SHOWN]
        for message in (each.get("message", ""),)
    ]
    return [*lines, f"and {len(errors) - _SHOWN} more"] if len(errors) > _SHOWN else lines
