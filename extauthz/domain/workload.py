"""Names of workloads: what the proxy verified of its peer, and what a rule or binding says of one.

A name is a SPIFFE ID, or another name of the peer's certificate (a DNS name, its subject). Whatever begins
with `spiffe:` in any case has to be a SPIFFE ID (SPIFFE-ID 2): it is compared octet by octet, so that
another spelling names no workload. A rule may name a prefix of whole segments, which ends in `/**`:
`spiffe://example.org/ns/prod/**` is every SPIFFE ID below, and the prefix itself. No SPIFFE ID has a `*`.
"""

import re
from typing import Final

from extauthz.domain.names import name_problem

MAX_LENGTH: Final = 2048
"""SPIFFE-ID 2.3: an identity is at most 2,048 bytes."""

_SCHEME: Final = "spiffe:"
_BELOW: Final = "/**"
# SPIFFE-ID 2.1: letters in lower case, digits, dots, dashes, underscores; at most 255 bytes. 2.2: segments of
# letters, digits, dots, dashes and underscores, none empty and none of dots alone.
_ID: Final = re.compile(
    r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]{1,2048})*", re.ASCII
)


def peer_problem(name: str) -> str | None:
    """Tell why a peer with this name is not a workload; None when it is one."""
    problem = name_problem(name, max_length=MAX_LENGTH)
    if problem is not None:
        return problem
    if _is_spiffe(name) and _ID.fullmatch(name) is None:
        return "is not a SPIFFE ID"
    return None


def written_problem(name: str) -> str | None:
    """Judge the subject of a rule or binding of kind `workload`; returns what it has to be."""
    if not _is_spiffe(name):
        return "the exact name of a workload; only SPIFFE IDs have prefixes" if "*" in name else None
    plain = name.removesuffix(_BELOW)
    if _ID.fullmatch(plain) is None:
        return (
            "a SPIFFE ID such as 'spiffe://example.org/ns/prod/sa/api' (the trust domain in lower case, "
            f"no empty segment), or the whole segments that one begins with and {_BELOW!r}"
        )
    return None


def names_of(peer: str) -> tuple[str, ...]:
    """Return the names by which rules may mean a workload: its own, and each prefix of a SPIFFE ID."""
    if not _is_spiffe(peer):
        return (peer,)
    names = [peer]
    end = len(peer)
    # The first slash after `spiffe://` ends the trust domain, which is the shortest prefix.
    while end > len(_SCHEME) + 1:
        names.append(peer[:end] + _BELOW)
        end = peer.rfind("/", 0, end)
    return tuple(names)


def _is_spiffe(name: str) -> bool:
    return name[: len(_SCHEME)].lower() == _SCHEME
