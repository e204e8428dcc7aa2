"""Models of servers that read paths leniently: none may read another path than extauthz does."""

import unicodedata
from collections.abc import Callable, Iterator
from itertools import product
from urllib.parse import unquote_to_bytes

TRIMMED = " \t\n\v\f\r\0\x1c\x1d\x1e\x1f\x85\u00a0\u1680\u180e\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(
    map(chr, range(0x2000, 0x200C))
)


def decoded_once(path: str) -> str:
    return unquote_to_bytes(path.encode("utf-8", "surrogatepass")).decode("utf-8", "backslashreplace")


def decoded_to_a_fixpoint(path: str) -> str:
    while (decoded := decoded_once(path)) != path:
        path = decoded
    return path


def without_parameters(path: str) -> str:
    return "/".join(segment.split(";")[0] for segment in path.split("/"))


def with_slashes(path: str) -> str:
    return path.replace("\\", "/")


def trimmed(path: str) -> str:
    return "/".join(segment.strip(TRIMMED) for segment in path.split("/"))


def cut_at_nul(path: str) -> str:
    return path.split("\0")[0]


def resolved(path: str) -> list[str]:
    """The names a request ends at: empty and dot segments have done what they mean to many servers."""
    names: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del names[-1:]
        elif segment not in {"", "."}:
            names.append(segment)
    return names


Step = Callable[[str], str]
DECODERS: list[Step] = [decoded_once, decoded_to_a_fixpoint]
CLEANERS: list[list[Step]] = [
    [with_slashes, without_parameters, trimmed, cut_at_nul],
    [without_parameters, cut_at_nul, with_slashes, trimmed],
    [cut_at_nul, with_slashes, trimmed, without_parameters],
]


def names_seen_by_each(path: str) -> Iterator[list[str]]:
    """Yield what every model reads; `path` is without query. Cleaning happens before and after decoding."""
    for decoder, cleaners in product(DECODERS, CLEANERS):
        for before in (cleaners, []):
            seen = path
            for step in (*before, decoder, *cleaners):
                seen = step(seen)
            yield resolved(seen)


def names_seen_after_folding(path: str) -> list[str]:
    """Return the path of a server that applies Unicode compatibility folding, then percent-decodes."""
    seen = decoded_to_a_fixpoint(unicodedata.normalize("NFKC", decoded_once(path)))
    return resolved(with_slashes(seen))
