"""The demo's story of changes that are tried on recorded requests before they are live."""

from extauthz.demo import replayed_changes
from extauthz.demo.stack import Stack


def test_changes_are_tried_on_what_envoy_asked(stack: Stack) -> None:
    lines = list(replayed_changes.outcomes(stack, replayed_changes.ask(stack)))

    assert [str(line) for line in lines if not line.agrees] == []
    assert len(lines) == 12
