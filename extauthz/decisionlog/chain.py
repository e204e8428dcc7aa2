"""The hash chain of a decision log: each line has a hash over itself and the hash of the line before it.

The last member of a chained line is `"chain":"ALGORITHM:HEX"`. With `before` as the 64 digits of the line
before (64 zeros for the first line of an instance) and `body` as the bytes of the line in front of
`,"chain":`,

    sha256       HEX = SHA-256(before + body)
    hmac-sha256  HEX = HMAC-SHA-256(DECISION_LOG_CHAIN_KEY, before + body)

Every process start (`instance`) has a chain of its own, so that workers can write to one stream. `sha256`
shows what was edited, removed or moved by mistake; an attacker can compute it again. `hmac-sha256`
needs the key. What was removed at the end of a chain only a head shows that was kept elsewhere (`heads.py`).
"""

import hashlib
import hmac
import re
from binascii import hexlify
from collections.abc import Callable
from typing import Final, NamedTuple

from extauthz.decisionlog.masks import KeyedHash

BEGINNING: Final = "0" * 64
SHA256: Final = "sha256"
HMAC_SHA256: Final = "hmac-sha256"
_CHAINED: Final = re.compile(rb',"chain":"(sha256|hmac-sha256):([0-9a-f]{64})"}')
_CLOSING: Final = b'"}\n'
_LONGEST: Final = len(b',"chain":"hmac-sha256:"}') + 64
_SHORTEST: Final = len(b',"chain":"sha256:"}') + 64


class Link(NamedTuple):
    """What a chained line consists of: the bytes that are hashed, the algorithm, and its hash."""

    body: bytes
    algorithm: str
    digest: str


def chain_hash(key: str | None) -> tuple[str, Callable[[bytes], str]]:
    """Return the algorithm of a chain and its function of `before + body`; `key` None: without a key."""
    if key is None:
        return SHA256, lambda message: hashlib.sha256(message).hexdigest()
    return HMAC_SHA256, KeyedHash(key.encode()).hexdigest


class Chain:
    """Chains the lines of one instance."""

    def __init__(self, key: str | None) -> None:
        """Take DECISION_LOG_CHAIN_KEY."""
        self.algorithm = SHA256 if key is None else HMAC_SHA256
        self._keyed = None if key is None else KeyedHash(key.encode()).digest
        self._opening = f',"chain":"{self.algorithm}:'.encode()
        self._head = BEGINNING.encode()

    @property
    def head(self) -> str:
        """The hash of the last line."""
        return self._head.decode()

    @head.setter
    def head(self, head: str) -> None:
        self._head = head.encode()

    def add(self, line: bytes) -> bytes:
        """Return a line, which ends with `}` and a line feed, with the hash that chains it."""
        body = line[:-2]
        message = self._head + body
        digest = hashlib.sha256(message).digest() if self._keyed is None else self._keyed(message)
        self._head = head = hexlify(digest)
        return b"".join((body, self._opening, head, _CLOSING))


def link_of(line: bytes) -> Link | None:
    """Return the parts of a chained line without its line feed; None for a line that is not chained."""
    for size in (_LONGEST, _SHORTEST):
        found = _CHAINED.fullmatch(line, len(line) - size) if len(line) > size else None
        if found is not None:
            return Link(line[: found.start()], found[1].decode(), found[2].decode())
    return None


def is_same(one: str, other: str) -> bool:
    """Compare two hashes in a time that does not depend on where they differ."""
    return hmac.compare_digest(one, other)
