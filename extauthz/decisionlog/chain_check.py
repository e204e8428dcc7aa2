"""Verifies the hash chain of each instance of a decision log (`chain.py`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from extauthz.decisionlog.chain import BEGINNING, HMAC_SHA256, SHA256, Link, chain_hash, is_same, link_of

_BROKEN: Final = "this line was edited, or lines in front of it were removed, added or moved"
_NO_KEY: Final = f"{HMAC_SHA256} cannot be verified without DECISION_LOG_CHAIN_KEY"

Hash = Callable[[bytes], str]


@dataclass(slots=True)
class InstanceChain:
    """The chain of one instance so far. `head` None: what the next line continues is not known."""

    head: str | None = BEGINNING
    algorithm: str | None = None
    hash: Hash | None = None
    lines: int = 0
    silent: bool = False

    @property
    def shown(self) -> str | None:
        """The last hash as lines write it; None for an instance without a chain."""
        return None if self.algorithm is None else f"{self.algorithm}:{self.head}"


class ChainCheck:
    """Judges one line after the other. `keys` are the keys that a chain may have been made with."""

    def __init__(self, keys: Sequence[str], *, required: bool) -> None:
        """Demand a chain of each instance if `required`; with keys it must be one that needs a key."""
        self._keys = keys
        self._keyed = [chain_hash(key)[1] for key in keys]
        self._required = required or bool(keys)

    def problem(self, chain: InstanceChain, text: bytes) -> str | None:
        """Return what is wrong with the chain at a line without its line feed; None when it continues."""
        link = link_of(text)
        first = chain.lines == 0
        chain.lines += 1
        if link is None:
            if chain.algorithm is not None:
                return "the line has none, and lines of its instance in front of it have one"
            return self._once(chain, "the lines of this instance have none") if self._required else None
        if chain.algorithm is None and not first:
            chain.algorithm = link.algorithm
            chain.head = link.digest
            return "lines of this instance in front of this one have none"
        if chain.algorithm is None:
            chain.algorithm = link.algorithm
        if link.algorithm != chain.algorithm:
            return f"{link.algorithm} after lines with {chain.algorithm}"
        before, chain.head = chain.head, link.digest
        if link.algorithm == SHA256 and self._keys:
            return self._once(chain, f"{SHA256}, which needs no key; {HMAC_SHA256} is expected")
        if link.algorithm == HMAC_SHA256 and not self._keys:
            return self._once(chain, _NO_KEY)
        if before is None:
            return None
        if chain.hash is None:
            chain.hash = self._hash_for(link, before)
        if chain.hash is not None and is_same(chain.hash(before.encode() + link.body), link.digest):
            return None
        return _BROKEN

    def _hash_for(self, link: Link, before: str) -> Hash | None:
        """Return the hash function of an instance: with the key that fits this line, None if none does."""
        hashes = [chain_hash(None)[1]] if link.algorithm == SHA256 else self._keyed
        return next(
            (each for each in hashes if is_same(each(before.encode() + link.body), link.digest)), None
        )

    @staticmethod
    def _once(chain: InstanceChain, problem: str) -> str | None:
        found = None if chain.silent else problem
        chain.silent = True
        return found
