"""`extauthz path canonical`: one raw path per line in, one JSON verdict per line out."""

import orjson

from extauthz.commands.status import answer_lines
from extauthz.domain.path import canonical_verdict


def run() -> int:
    """Answer the lines of stdin; return the exit status."""
    return answer_lines(lambda line: orjson.dumps(canonical_verdict(line)))
