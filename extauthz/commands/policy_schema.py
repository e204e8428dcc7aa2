"""`extauthz policy schema`: print the JSON Schema of files of policies or of cases (`docs/schema`)."""

import sys

from extauthz.commands.status import BAD_USAGE, OK, fail
from extauthz.shipped import shipped


def run(kind: str) -> int:
    """Print a schema; BAD_USAGE where the installation lacks it."""
    try:
        text = shipped(f"docs/schema/{kind}.json").read_text("utf-8")
    except OSError as error:
        return fail(str(error), BAD_USAGE)
    sys.stdout.write(text)
    return OK
