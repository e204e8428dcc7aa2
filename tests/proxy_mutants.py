"""Envoy configurations that were changed in one or two places, each with what real Envoy then does.

`opens` is what happens to a request while no authorizer answers: True, the upstream sees one.
"""

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.proxy_change_tables import CLOSED, OPENING
from tests.proxy_changes import Change, Json, base, in_sequence, manager_of, setting, written
from tests.proxy_containers import CONTAINERS, WHOLE


@dataclass(frozen=True)
class Mutant:
    """A bootstrap, the files that it names (by `FOLDER/name`), and whether requests pass."""

    name: str
    document: Json
    opens: bool
    files: dict[str, Json] = field(default_factory=dict)

    def text(self, folder: Path) -> str:
        return written(self.document, folder)


RUNTIME: Json = {
    "layers": [
        {"name": "first", "static_layer": {"check": {"none": 100, "all": 0}, "deny.not": True}},
        {
            "name": "second",
            "static_layer": {
                "check": {"none": 0, "few": {"numerator": 1, "denominator": "TEN_THOUSAND"}},
                "check.all": 100,
                "deny": {"not": False, "do": True},
            },
        },
    ]
}


def _runtime(numerator: int, key: str, deny: tuple[bool, str] | None = None) -> Change:
    share = {"default_value": {"numerator": numerator}, "runtime_key": key}
    change = setting(filter_enabled=share)
    if deny is None:
        return change
    default, deny_key = deny
    rest = setting(deny_at_disable={"default_value": default, "runtime_key": deny_key})
    return in_sequence(change, rest)


OVERRIDDEN: dict[str, tuple[Change, bool]] = {
    "100 percent, none by runtime": (_runtime(100, "check.none"), True),
    "100 percent, few by runtime": (_runtime(100, "check.few"), True),
    "0 percent, all by runtime": (_runtime(0, "check.all"), False),
    "100 percent, key not set": (_runtime(100, "check.unset"), False),
    "1 percent, key not set": (_runtime(1, "check.unset"), True),
    "the rest denied, not by runtime": (_runtime(1, "check.unset", (True, "deny.not")), True),
    "the rest passed, denied by runtime": (_runtime(1, "check.unset", (False, "deny.do")), False),
}


def overridden() -> Iterator[Mutant]:
    """Yield mutants of a bootstrap with RUNTIME."""
    for name, (change, opens) in OVERRIDDEN.items():
        document = base()
        change(manager_of(document))
        document["layered_runtime"] = copy.deepcopy(RUNTIME)
        yield Mutant(name, document, opens)


SHARE = 4
"""In a place other than the plain one each change is tried in every fourth container."""
FROM_FILES = {"routes from a file", "check from a file"}
SHARE_OF_FILES = 12
"""Envoy watches each file with an inotify instance of its own, of which Linux gives a user 128."""


def mutants() -> dict[str, Callable[[], Mutant]]:
    """Return by their names what makes each change in the plain place, and in some of the other places."""
    found: dict[str, Callable[[], Mutant]] = {}
    for order, (name, change) in enumerate((OPENING | CLOSED).items()):
        for place, container in enumerate(CONTAINERS):
            share = SHARE_OF_FILES if container in FROM_FILES else SHARE
            if container == "plain" or (order + place) % share == 0:
                found[f"{name} ({container})"] = partial(
                    _mutant, name, change, container, opens=name in OPENING
                )
    return found | {name: partial(_whole, name) for name in WHOLE}


WRAPPING = ("chain", "composite", "skipped", "TypedStruct", "old TypedStruct")


def combinations(number: int, seed: int) -> Iterator[Mutant]:
    """Yield mutants with two changes in a random place; two that both open stay open."""
    chosen = random.Random(seed)
    names = {"FilterConfig", "ExtAuthzPerRoute"}
    settings = [name for name in OPENING if "at the" not in name or name.split(" at ")[0] in names]
    for number_of_one in range(number):
        first, second = chosen.sample(settings, 2)
        if first.startswith(WRAPPING) and second.startswith(WRAPPING):
            # Envoy: a filter chain or composite inside of another one has undefined behaviour.
            continue
        container = chosen.choice([name for name in CONTAINERS if name not in FROM_FILES])
        try:
            both = in_sequence(OPENING[first], OPENING[second])
            yield _mutant(f"{number_of_one}: {first}, {second}", both, container, opens=True)
        except (KeyError, ValueError):
            # The first change has taken away what the second one changes.
            continue


def _mutant(name: str, change: Change, container: str, *, opens: bool) -> Mutant:
    document: Json = base()
    files: dict[str, Json] = {}
    change(manager_of(document))
    CONTAINERS[container](document, files)
    return Mutant(f"{name} ({container})", document, opens, files)


def _whole(name: str) -> Mutant:
    document: Json = base()
    files: dict[str, Json] = {}
    change, opens = WHOLE[name]
    change(document, files)
    return Mutant(name, document, opens, files)
