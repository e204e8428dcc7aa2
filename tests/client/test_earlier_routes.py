"""Routes that the application never gets to: the lookup finds what comparing with each one finds."""

from hypothesis import given
from hypothesis import strategies as st

from extauthz_client.declarations import AppRoute, collected, declaration_on
from extauthz_client.paths import AppPath
from tests.client.views import view

SEGMENTS = st.sampled_from(["a", "b", "7", "{x%d}", "{x%d:int}"])
PATHS = st.builds(
    lambda segments, rest: (
        "/"
        + "/".join(
            [
                *(each.replace("%d", str(place)) for place, each in enumerate(segments)),
                *(["{r:path}"] if rest else []),
            ]
        )
    ),
    st.lists(SEGMENTS, max_size=3),
    st.booleans(),
)
METHODS = st.frozensets(st.sampled_from(["GET", "POST", "*"]), min_size=1)


@given(st.lists(st.tuples(PATHS, METHODS), max_size=8))
def test_a_route_is_registered_where_no_earlier_one_takes_its_requests(
    written: list[tuple[str, frozenset[str]]],
) -> None:
    routes, expected = [], set()
    reached: list[tuple[AppPath, frozenset[str]]] = []
    for text, methods in written:
        path = AppPath.parse(text)
        assert isinstance(path, AppPath)
        # One resource for all: nothing is contested.
        routes.append(AppRoute(text, path, None, methods, view("thing")))
        taken = frozenset[str]().union(*(each for earlier, each in reached if earlier.covers(path)))
        left = frozenset() if "*" in taken else methods - taken
        if left:
            reached.append((path, methods))
            expected |= {(path.shape, method) for method in left}
    assert declaration_on(routes[0].endpoint) is not None if routes else True

    found = {
        (parsed.shape, method)
        for each in collected(routes, "billing")
        for route in each.routes
        for method in route.methods
        if isinstance(parsed := AppPath.parse(route.path.replace("/**", "/{r:path}")), AppPath)
    }
    assert found == expected
