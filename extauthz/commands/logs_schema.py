"""`extauthz logs schema`: print the JSON Schema of a line of the decision log."""

import sys

import orjson

from extauthz.commands.status import OK
from extauthz.decisionlog.json_schema import json_schema


def run() -> int:
    """Print the schema; return OK."""
    sys.stdout.buffer.write(
        orjson.dumps(json_schema(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    )
    return OK
