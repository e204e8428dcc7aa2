"""Loading changes settings of the process, and restores them."""

import gc
import sys
import threading
import weakref
from collections.abc import Iterable

import pytest

from extauthz.compile.snapshot import Snapshot
from extauthz.domain.policy import PolicySet, RoleRule, SubjectKind
from extauthz.domain.reasons import Effect
from extauthz.publish.loading import SWITCH_INTERVAL_S, YOUNG_OBJECTS, free, retire, short_steps
from tests.compiled_policies import compiled


class Node:
    """An object that the garbage collector knows, and that may refer to itself."""

    def __init__(self) -> None:
        self.other: Node | None = None


class Name(str):
    """A text to which there can be weak references."""

    __slots__ = ("__weakref__",)


def built(ids: Iterable[str]) -> Snapshot:
    policies = PolicySet(
        role_rules=tuple(
            RoleRule(each, f"s{each[1:]}", SubjectKind.ROLE, "*", "doc", "read", Effect.ALLOW) for each in ids
        )
    )
    return compiled(policies)


def settings() -> tuple[object, ...]:
    return sys.getswitchinterval(), gc.get_threshold(), len(gc.callbacks), gc.isenabled()


def test_settings_of_the_process_are_as_before_after_loads_that_overlap() -> None:
    before = settings()
    with short_steps():
        with short_steps():
            assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S)
        assert sys.getswitchinterval() == pytest.approx(SWITCH_INTERVAL_S)
        assert settings() != before
    assert settings() == before


def test_settings_are_as_before_after_a_load_that_fails() -> None:
    before = settings()
    with pytest.raises(ValueError, match="unreadable"), short_steps():
        raise ValueError("unreadable")
    assert settings() == before


def test_loads_in_many_threads_leave_the_settings_as_before() -> None:
    before = settings()
    begin = threading.Barrier(8)

    def load() -> None:
        begin.wait()
        for _ in range(200):
            with short_steps():
                pass

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert settings() == before


def test_loaded_objects_are_frozen_and_their_garbage_is_collected() -> None:
    with short_steps():
        kept = [Node() for _ in range(YOUNG_OBJECTS * 4)]
        gone = []
        for _ in range(YOUNG_OBJECTS * 4):
            node = Node()
            node.other = node
            gone.append(weakref.ref(node))
            del node
    searched = {id(each) for each in gc.get_objects()}
    assert not any(id(node) in searched for node in kept)
    # All but those of the last part, in which a search may have found them alive.
    assert sum(reference() is not None for reference in gone) <= YOUNG_OBJECTS


def test_a_list_is_empty_when_its_entries_are_freed() -> None:
    entries = [Node() for _ in range(1_234)]
    last = weakref.ref(entries[-1])
    free(entries)
    assert (entries, last()) == ([], None)


def test_a_replaced_snapshot_is_freed_but_for_what_is_still_held() -> None:
    ids = [Name(f"r{number}") for number in range(500)]
    gone = [weakref.ref(each) for each in ids]
    snapshots = [built(ids)]
    del ids
    held = snapshots[0].role_rules_by_id["r7"]
    retire(snapshots)
    assert [reference() for reference in gone if reference() is not None] == ["r7"]
    assert held.id == "r7"


def test_a_snapshot_that_is_still_held_stays_whole() -> None:
    held = built([Name(f"r{number}") for number in range(500)])
    digest = held.digest()
    retire([held])
    assert held.digest() == digest
    outcome = held.roles.decide(["role:s7"], authenticated=True, dom=None, obj="doc", act="read")
    assert outcome is not None
    assert outcome.rule_id == "r7"
