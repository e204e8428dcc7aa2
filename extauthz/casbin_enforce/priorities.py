"""The order of policy rows under Casbin's priority effects: the lowest rank decides, equal ranks together."""

import re
from collections.abc import Sequence
from typing import Final

from extauthz.casbin_enforce.policy_file import Row

_INTEGER: Final = re.compile("-?[0-9]{1,18}", re.ASCII)
_ROOT: Final = ""


def priority_ranks(values: Sequence[str]) -> list[int | None]:
    """Return the rank of each value of `p.priority`; None for one that does not compare with the others.

    Integers compare as numbers; where no value is an integer they compare as text, as for pycasbin.
    """
    numbers = [int(value) if _INTEGER.fullmatch(value) else None for value in values]
    if any(number is not None for number in numbers):
        return list(numbers)
    order = {value: rank for rank, value in enumerate(sorted(set(values)))}
    return [order[value] for value in values]


def hierarchy_ranks(links: Sequence[Row], *, with_domain: bool) -> dict[tuple[str, str], int] | None:
    """Return how far above the lowest subject each (domain, subject) stands, None for a cycle.

    That is the length of the longest chain of `g` lines below it; subjects without lines stand at 0.
    """
    parents: dict[tuple[str, str], list[tuple[str, str]]] = {}
    waiting_for: dict[tuple[str, str], int] = {}
    for link in links:
        child, parent = ((link.fields[2] if with_domain else _ROOT, name) for name in link.fields[:2])
        parents.setdefault(child, []).append(parent)
        waiting_for[parent] = waiting_for.get(parent, 0) + 1
        waiting_for.setdefault(child, 0)
    ranks = dict.fromkeys(waiting_for, 0)
    ready = [subject for subject, children in waiting_for.items() if children == 0]
    done = 0
    while ready:
        subject = ready.pop()
        done += 1
        for parent in parents.get(subject, ()):
            ranks[parent] = max(ranks[parent], ranks[subject] + 1)
            waiting_for[parent] -= 1
            if waiting_for[parent] == 0:
                ready.append(parent)
    return ranks if done == len(ranks) else None
