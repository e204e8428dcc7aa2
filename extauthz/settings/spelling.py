"""Finds environment variables whose names resemble those of extauthz.

Input: names of variables. Output: the misspelt ones, each with its fix.
"""

import re
from collections.abc import Iterable
from typing import Final

from extauthz.domain.spelling import nearest
from extauthz.settings.otel_variables import NOT_READ
from extauthz.settings.variables import variables

# Clients of the REST API and the SDK read these; the service does not.
_READ_ELSEWHERE: Final = ("ADMIN_CLIENT_ID", "ADMIN_CLIENT_SECRET", "ADMIN_CLIENT_SECRET_FILE")
# Kubernetes sets these in every container for every Service (Docker links).
_SERVICE_LINK: Final = re.compile(
    r".*_(?:SERVICE_(?:HOST|PORT(?:_\w+)?)|PORT_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)", re.ASCII
)
_TOO_COMMON: Final = 5


def misspelt(names: Iterable[str]) -> dict[str, str]:
    """Return the names that resemble a variable of extauthz but are not one, each with its fix.

    The values of the variables are not read.
    """
    ours = {variable.name: variable for variable in variables().values()}
    files = {f"{name}_FILE" for name, variable in ours.items() if variable.secret}
    known = {*ours, *files, *_READ_ELSEWHERE, *NOT_READ}
    # Short names (HOST, PORT, MODE) resemble variables of other programs.
    targets = sorted(name for name in known - NOT_READ if len(name) > _TOO_COMMON)
    found: dict[str, str] = {}
    for name in sorted(names):
        if name in known or _SERVICE_LINK.fullmatch(name):
            continue
        if name.endswith("_FILE") and name.removesuffix("_FILE") in ours:
            found[name] = f"only secrets are read from files; set {name.removesuffix('_FILE')}"
        elif meant := nearest(name, targets):
            found[name] = f"did you mean {meant}?"
    return found
