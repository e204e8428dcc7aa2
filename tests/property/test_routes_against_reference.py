"""Route lookup: the best template for any templates, in a bounded number of operations.

docs/reference/policy-language.md#routes defines the best one.
"""

import itertools
import os
import random
from collections.abc import Callable, Iterable
from typing import Any, Final

import pytest

from extauthz.compile.routes import route_columns
from extauthz.compile.routes.route_columns import RouteColumns
from extauthz.compile.routes.route_index import RouteIndex, Template, index_of
from extauthz.compile.routes.route_tree import MAX_WIDTH, Match
from extauthz.domain.path import CanonicalPath
from extauthz.domain.policy import AuthenticationRequirement, Resource, Route
from tests.call_counts import calls_of
from tests.reference_routes import AMBIGUOUS, best_route

VERIFY: Final = os.environ.get("EXTAUTHZ_VERIFY") == "1"
ROUNDS: Final = 4_000 if VERIFY else 120
WORDS: Final = ("a", "b", "a@b", "a%40b", "a@b%3Ac", "a%40b:c", "")
LEVELS: Final = 12

Document = dict[str, Any]


def route(path: str, *methods: str, host: str | None = None) -> Route:
    template = Template.parse(path)
    assert isinstance(template, Template), template
    return Route(host, methods or ("*",), template.text, "access", AuthenticationRequirement.REQUIRED)


def index(paths: Iterable[str]) -> RouteIndex:
    return index_of([Resource("r", "service", tuple(route(path) for path in paths))])


def drawn_paths(rng: random.Random) -> list[str]:
    """Draw templates of few words, so that nearly all of them match some prefix of the same paths."""
    words = rng.sample(WORDS, rng.randint(1, 4))
    shapes: dict[str, str] = {}
    for _ in range(rng.randint(1, 300)):
        segments = [
            f"{{p{at}}}" if rng.random() < 0.4 else rng.choice(words) for at in range(rng.randint(0, 6))
        ]
        ending = "/**" if rng.random() < 0.2 and (not segments or segments[-1] != "") else ""
        text = "".join(f"/{segment}" for segment in segments) + ending or "/"
        template = Template.parse(text)
        if isinstance(template, Template):
            shapes.setdefault(template.shape, template.text)
    return list(shapes.values())


def drawn_requests(rng: random.Random) -> list[str]:
    paths = ["/" + "/".join(rng.choice(WORDS) for _ in range(rng.randint(1, 7))) for _ in range(30)]
    return [path for path in paths if isinstance(CanonicalPath.parse(path), CanonicalPath)]


def reference(paths: Iterable[str], path: str) -> tuple[str, dict[str, object]] | str | None:
    resources: list[Document] = [
        {"name": text, "serviceName": "s", "routes": [{"path": text, "methods": ["*"]}]} for text in paths
    ]
    canonical = CanonicalPath.parse(path)
    assert isinstance(canonical, CanonicalPath)
    found = best_route(resources, {"path": canonical.text, "host": "app.example", "method": "GET"})
    if found is None or found is AMBIGUOUS:
        return None if found is None else "ambiguous"
    return found.resource, dict(found.parameters)


def read(match: Match | None) -> tuple[str, dict[str, object]] | str | None:
    if match is None or match.respelt:
        return None if match is None else "ambiguous"
    (entry,) = match.leaf.entries
    return entry.route.path, match.parameters(entry)


@pytest.mark.timeout(3600 if VERIFY else 120)
@pytest.mark.parametrize("shard", range(4))
def test_tree_and_columns_find_the_template_that_the_policy_language_names(
    shard: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route_columns, "SHARD", 16)
    monkeypatch.setattr(route_columns, "_FULL", (1 << 16) - 1)
    for seed in range(shard, ROUNDS, 4):
        rng = random.Random(seed)
        paths = drawn_paths(rng)
        routes = index(paths)
        tree = routes.trees[None]
        columns = RouteColumns.of(tree)
        for path in drawn_requests(rng):
            canonical = CanonicalPath.parse(path)
            assert isinstance(canonical, CanonicalPath)
            expected = reference(paths, path)
            assert read(routes.best("app.example", canonical)) == expected, f"seed {seed}, {path}"
            assert read(columns.best(tree, canonical.segments)) == expected, f"seed {seed}, {path}"


@pytest.mark.timeout(120)
def test_columns_follow_every_change_of_the_tree() -> None:
    """Enough routes for columns are added and taken out again, one resource at a time."""
    for seed in range(ROUNDS // 40):
        rng = random.Random(seed)
        combinations = ["".join(each) for each in itertools.product(("/a", "/{p}"), repeat=7)]
        texts = [_numbered(text) + rng.choice(["", "/**"]) for text in combinations]
        resources = [Resource(f"r{at}", "service", (route(text),)) for at, text in enumerate(texts)]
        routes = index_of(resources)
        assert routes.trees[None].width > MAX_WIDTH
        while resources:
            gone = resources.pop(rng.randrange(len(resources)))
            routes = routes.without_resource(gone)
            if resources and len(resources) % 16 == 0:
                held = [each.routes[0].path for each in resources]
                for path in ("/a" * 7, "/a/b" * 3 + "/a", "/b" * 7, "/a" * 6 + "/b/c"):
                    canonical = CanonicalPath.parse(path)
                    assert isinstance(canonical, CanonicalPath)
                    assert read(routes.best("app.example", canonical)) == reference(held, path)
        assert routes == RouteIndex()
        assert not routes.columns


def _numbered(text: str) -> str:
    """Give each parameter a name of its own."""
    parts = text.split("{p}")
    return "".join(f"{part}{{p{at}}}" for at, part in enumerate(parts[:-1])) + parts[-1]


def operations(routes: RouteIndex, path: str) -> int:
    """Return how many functions, C functions included, one lookup calls."""
    canonical = CanonicalPath.parse(path)
    assert isinstance(canonical, CanonicalPath)
    return calls_of(lambda: routes.best("app.example", canonical))


def every_combination(levels: int, last: Callable[[int], str]) -> list[str]:
    """Return a template for each way to write literals and parameters on `levels` levels."""
    found = []
    for number, choice in enumerate(itertools.product((True, False), repeat=levels)):
        segments = "".join("/a" if literal else f"/{{p{at}}}" for at, literal in enumerate(choice))
        found.append(segments + last(number))
    return found


def mismatched(number: int) -> str:
    """Return five segments of which another one, by the number, is what a path of `a` does not have."""
    return "".join("/z" if at == number % 5 else f"/{{q{at}}}" for at in range(5))


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "last",
    [
        pytest.param(lambda _: "", id="one-shape-below-every-branch"),
        pytest.param(lambda number: f"/only-{number}", id="another-shape-below-every-branch"),
        pytest.param(mismatched, id="a-mismatch-at-another-level-below-every-branch"),
        pytest.param(lambda number: f"/{number}/**", id="with-all-below"),
    ],
)
def test_the_cost_of_a_lookup_does_not_depend_on_the_number_of_branches(last: Callable[[int], str]) -> None:
    routes = index(every_combination(LEVELS, last))
    asked = [
        "/a" * LEVELS + "/no",
        "/a" * (LEVELS + 5),
        "/a" * (LEVELS - 1),
        "/a" * LEVELS + "/only-4095",
        "/b" * LEVELS,
        "/b" * LEVELS + "/no/such/route",
        "/a" * 400,
    ]
    for path in asked:
        # A walk of the whole tree calls some 30,000 functions.
        assert operations(routes, path) < 2_500, path


def test_the_cost_of_a_lookup_grows_with_the_segments_alone() -> None:
    costs = []
    for levels in (8, 10, 12):
        routes = index(every_combination(levels, lambda number: f"/only-{number}"))
        costs.append(operations(routes, "/a" * levels + "/no"))
    for shorter, longer in itertools.pairwise(costs):
        assert longer - shorter < 40, costs


def test_a_literal_in_many_spellings_is_looked_up_in_one_step() -> None:
    reserved = ":@!$&'()*+"
    spellings = [
        "".join(
            f"%{ord(each):02X}" if escaped else each for each, escaped in zip(reserved, choice, strict=True)
        )
        for choice in itertools.product((True, False), repeat=len(reserved))
    ]
    routes = index([f"/{spelling}/{number}" for number, spelling in enumerate(spellings)])
    for path in (f"/{spellings[1]}/no", f"/{spellings[1]}/7", f"/{spellings[0]}x/7"):
        assert operations(routes, path) < 2_500, path
    held = [f"/{spelling}/{number}" for number, spelling in enumerate(spellings)]
    canonical = CanonicalPath.parse(f"/{spellings[1]}/7")
    assert isinstance(canonical, CanonicalPath)
    assert read(routes.best("app.example", canonical)) == reference(held, f"/{spellings[1]}/7") == "ambiguous"
