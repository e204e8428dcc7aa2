"""The principal of a recorded request, and its claims: what was not recorded of them cannot be read.

Input: slots of a shape, and which members are missing. Output: types that judging takes. Errors:
CannotSayError when a member or a claim that was not recorded is read.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from extauthz.compile.conditions import values
from extauthz.domain.principal import Principal
from extauthz.recording import shape as recorded
from extauthz.recording.not_known import CannotSayError, NotKnown, refuse
from extauthz.recording.slots import Slots

_AN_OBJECT: Final[Mapping[str, object]] = MappingProxyType({})


class RecordedClaims(Mapping[str, object]):
    """Verified claims by their whole path. Only paths that were recorded can be asked for.

    With `complete`, as of credentials without claims, a claim that was not recorded was not there.
    """

    __slots__ = ("_complete", "_slots")

    def __init__(self, slots: Slots, *, complete: bool = False) -> None:
        """Take the slots."""
        self._slots = slots
        self._complete = complete

    def _read(self, path: str) -> object:
        name = recorded.CLAIMS + path
        return values.ABSENT if self._complete and name not in self._slots else self._slots.read(name)

    def __getitem__(self, path: str) -> object:
        """Return the claim; None, as null in a token, for one that is absent."""
        found = self._read(path)
        if found is values.ABSENT:
            return None
        # Conditions compare nothing with an object, and it is present.
        return _AN_OBJECT if found is values.UNKNOWN else found

    def __contains__(self, path: object) -> bool:
        """Tell that the path was recorded."""
        self._read(str(path))
        return True

    def __iter__(self) -> Iterator[str]:
        """Refuse: which other claims there were was not recorded."""
        refuse("user.*")

    def __len__(self) -> int:  # noqa: PLE0303  # it raises
        """Refuse, as above."""
        refuse("user.*")


class PartlyKnown(Principal):
    """A principal whose id, roles or binding to a certificate was not recorded; those cannot be read.

    `stand_in` is the same principal with an id that no rule and no binding names.
    """

    __slots__ = ("missing", "stand_in")

    missing: Mapping[str, NotKnown]
    stand_in: Principal

    @classmethod
    def of(cls, principal: Principal, missing: Mapping[str, NotKnown]) -> "PartlyKnown":
        """Return the principal without the members that are `missing`."""
        found = object.__new__(cls)
        for name in ("kind", "tenant", "domain", "authentication", "claims", "forwarding"):
            object.__setattr__(found, name, getattr(principal, name))
        object.__setattr__(found, "missing", missing)
        object.__setattr__(found, "stand_in", principal)
        return found

    def _require(self, member: str) -> None:
        not_known = self.missing.get(member)
        if not_known is not None:
            raise CannotSayError(not_known)

    @property
    def id(self) -> str | None:
        """The id."""
        self._require("id")
        return self.stand_in.id

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of its own credential."""
        self._require("roles")
        return self.stand_in.roles

    @property
    def confirmation(self) -> str | None:
        """What the credential is bound to."""
        self._require("confirmation")
        return self.stand_in.confirmation
