"""The possible results of an Envoy matcher: its actions, and "no match".

Input: a Matcher. Output: messages. Predicates are not evaluated: every action counts as possible, and so does
"no match" wherever a matcher has no `on_no_match`.
"""

from collections.abc import Iterator

from extauthz.proxyconfig.documents import YamlValue
from extauthz.proxyconfig.messages import Message, opened


def outcomes(matcher: YamlValue | None) -> Iterator[Message | None]:
    """Yield the possible actions of a matcher, and None if a request can end without an action."""
    if matcher is None or matcher.entries is None:
        yield None
        return
    for branch in _branches(matcher):
        yield from _met(branch)
    yield from _met(matcher.given("on_no_match"))


def _branches(matcher: YamlValue) -> Iterator[YamlValue]:
    for one in matcher.list("matcher_list", "matchers"):
        if (met := one.at("on_match")) is not None:
            yield met
    for name in ("exact_match_map", "prefix_match_map"):
        found = matcher.at("matcher_tree", name, "map")
        for _, met in found.items() if found is not None else ():
            yield met
    custom = matcher.at("matcher_tree", "custom_match")
    for value in custom.walk() if custom is not None else ():
        if (met := value.at("on_match")) is not None:
            yield met


def _met(on_match: YamlValue | None) -> Iterator[Message | None]:
    if on_match is None:
        yield None
        return
    if on_match.unless_false("keep_matching") is not None:
        # With keep_matching the matcher continues after this action; it may end with another or with none.
        yield None
    if (below := on_match.given("matcher")) is not None:
        yield from outcomes(below)
    if (action := on_match.given("action")) is not None:
        message = opened(action.at("typed_config"))
        yield message if message is not None else Message("", action)
    elif on_match.given("matcher") is None:
        yield None
