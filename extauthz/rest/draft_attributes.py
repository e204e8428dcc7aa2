"""The attributes that open drafts of a tenant read, so that sidecars record them before a draft is live."""

from typing import TYPE_CHECKING, Final

from extauthz.compile.conditions.compiled_policy import attribute_names
from extauthz.compile.documents.policy_documents import Reading
from extauthz.compile.row_reader import StoredReader
from extauthz.domain.policy import AttributePolicy
from extauthz.storage import drafts
from extauthz.storage.outcome import Refusal
from extauthz.storage.rows import Document
from extauthz.storage.write import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from extauthz.domain.problem import Problem
    from extauthz.storage.pool import Connection, Pool

KEPT_S: Final = 10.0
_NOTHING: Final[frozenset[str]] = frozenset()
_KIND: Final = "attribute_policy"


class DraftAttributes:
    """Remembers the names for `KEPT_S`; what cannot be read keeps the names before."""

    def __init__(self, pool: "Pool", reading: Reading, clock: "Callable[[], float]") -> None:
        """Take what drafts are read with."""
        self._pool = pool
        self._reading = reading
        self._clock = clock
        self._known: dict[str, tuple[float, frozenset[str]]] = {}

    def of(self, tenant: str) -> frozenset[str]:
        """Return the names as they were last read."""
        return self._known.get(tenant, (0.0, _NOTHING))[1]

    async def refresh(self, tenant: str) -> None:
        """Read the names of a tenant's open drafts, unless they were read a moment ago."""
        now = self._clock()
        if tenant in self._known and now < self._known[tenant][0]:
            return

        async def policies(connection: "Connection") -> list[Document]:
            return await drafts.open_policies(connection, tenant)

        found = await read(self._pool, tenant, policies)
        names = self.of(tenant) if isinstance(found, Refusal) else self._named(found)
        self._known[tenant] = (now + KEPT_S, names)

    def _named(self, documents: "Iterable[Document]") -> frozenset[str]:
        reader = StoredReader(self._reading)
        names: set[str] = set()
        for document in documents:
            problems: list[Problem] = []
            policy = reader.read(_KIND, document, problems)
            if isinstance(policy, AttributePolicy) and policy.enabled:
                names.update(attribute_names(policy.condition))
        return frozenset(names)
