"""Builds persistent maps (`immutables.Map`) entry by entry, so that other threads run meanwhile."""

from collections.abc import Iterable
from typing import TypeVar

from immutables import Map

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def map_of(entries: Iterable[tuple[_Key, _Value]]) -> Map[_Key, _Value]:
    """Return the map of these entries, of equal keys the last one.

    Entry by entry: `Map(dict)` is one call, which keeps every other thread waiting until it ends.
    """
    empty: Map[_Key, _Value] = Map()
    mutation = empty.mutate()
    for key, value in entries:
        mutation[key] = value
    return mutation.finish()
