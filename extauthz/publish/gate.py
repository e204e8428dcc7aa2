"""The gate in front of storage: a change that would not compile is refused before it is committed."""

from collections.abc import Callable

from extauthz.compile.stored import KINDS
from extauthz.domain.problem import Problem
from extauthz.publish.tenant import Compiler, TenantState, row_of, unreadable_rows
from extauthz.storage import feed
from extauthz.storage.outcome import Clash, Conflict, Invalid, Refusal
from extauthz.storage.write import Change


class PolicyGate:
    """Compiles a change in memory, on top of the published state, inside the change's own transaction.

    The tenant's row is locked there, so what is compiled is what a commit would make.
    """

    def __init__(self, compiler: Compiler, published: Callable[[str], TenantState | None]) -> None:
        """Take how rows are compiled, and where the published state of a tenant is."""
        self._compiler = compiler
        self._published = published

    async def validate(self, change: Change) -> Refusal | None:
        """Return what stands against the change; the hook of `storage.write.write`.

        INVARIANT: a row that was damaged before holds up no change of others; it is noted in the change.
        """
        state = await self._before(change)
        written = frozenset((effect.kind, effect.id) for effect in change.effects)
        if state is None:
            # What the change has written is part of what is read here, under the tenant's lock.
            documents = await feed.documents(change.connection, change.tenant)
            if documents is None:
                # Nothing else can have deleted the tenant under its lock: nothing is left to compile.
                return None
            following = self._compiler.salvage(documents, suspects=written)
        else:
            rows = [
                feed.RowChange(effect.kind, effect.id, effect.after)  # type: ignore[arg-type]
                for effect in change.effects
                if effect.kind in KINDS
            ]
            following = self._compiler.apply(state, change.revision, rows)
        if not isinstance(following, TenantState):
            return _refusal(following)
        own = [row.problem for key, row in following.unreadable.items() if key in written]
        if own:
            return _refusal(own)
        change.unreadable = [
            problem for problem in unreadable_rows(following) if row_of(problem) not in written
        ]
        return None

    async def _before(self, change: Change) -> TenantState | None:
        """Return the state that the change starts from; None where it is not a few steps away."""
        state = self._published(change.tenant)
        if state is not None and state.snapshot.revision < change.previous:
            behind = {change.tenant: state.snapshot.revision}
            for step in await feed.changes_since(change.connection, behind):
                if step.predecessor != state.snapshot.revision or step.rows is None:
                    return None
                following = self._compiler.apply(state, step.revision, step.rows)
                if not isinstance(following, TenantState):
                    return None
                state = following
        return state if state is not None and state.snapshot.revision == change.previous else None


def _refusal(problems: list[Problem]) -> Refusal:
    cycles = [problem for problem in problems if problem.pointer.endswith("/role")]
    if cycles:
        return Conflict("role_binding", (Clash(0, None, cycles[0].message),))
    return Invalid(tuple(problems))
