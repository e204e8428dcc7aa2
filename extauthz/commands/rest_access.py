"""The client of the commands against the admin REST API, from the environment, or the problems with that."""

import sys
from collections.abc import Mapping

from extauthz.commands.status import BAD_USAGE, fail
from extauthz.folders.rest_access import rest_access
from extauthz.folders.rest_client import RestClient


def rest_client(environ: Mapping[str, str]) -> RestClient | int:
    """Return the client that the environment describes; else report each problem and return BAD_USAGE."""
    access = rest_access(environ)
    if isinstance(access, list):
        for problem in access:
            fail(problem)
        return BAD_USAGE
    try:
        client = RestClient(access)
    except OSError as error:
        # ssl.SSLError is an OSError: the file holds no certificates.
        return fail(
            f"EXTAUTHZ_CA_FILE {str(access.ca_file)!r} cannot be used: {error.strerror or error}", BAD_USAGE
        )
    if access.is_exposed:
        print(f"extauthz: warning: the credential goes to {access.url} without TLS", file=sys.stderr)
    return client
