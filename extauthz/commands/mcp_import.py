"""`extauthz mcp import`: what an MCP server lists as resources and routes, one each, none allowed."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from extauthz.commands.mcp_server_lists import NoListError, server_lists, url_problem
from extauthz.commands.status import BAD_USAGE, FAILED, OK, fail, print_json, unreadable
from extauthz.compile.documents.policy_documents import Reading, parse_policy_set
from extauthz.domain.one_line import one_line
from extauthz.domain.policy import PolicySet
from extauthz.domain.strict_json import JsonRejected, read_json
from extauthz.importing.mcp_lists import NoListsError, ServerLists, import_lists, lists_of
from extauthz.importing.written_yaml import policies_text
from extauthz.settings.secret_files import SecretFileError, read_secret_file

TOKEN: Final = "EXTAUTHZ_MCP_TOKEN"  # noqa: S105  # nosec B105 - the name of a variable
TOKEN_FILE: Final = f"{TOKEN}_FILE"
CA_FILE: Final = "EXTAUTHZ_CA_FILE"
_MAX_BYTES: Final = 16 * 1024 * 1024
_STDIN: Final = "-"


@dataclass(frozen=True, slots=True)
class McpImportArguments:
    """The arguments of the command; `source` is an address, a file, or `-`."""

    source: str
    service: str | None = None
    path: str | None = None
    host: str | None = None
    as_json: bool = False


def run(environ: Mapping[str, str], given: McpImportArguments) -> int:
    """Import; return OK where everything was taken, FAILED where not, or the server gave no lists."""
    is_url = "://" in given.source
    try:
        lists = _asked(environ, given.source) if is_url else _read(given.source)
    except _UsageError as error:
        return fail(str(error), BAD_USAGE)
    except NoListError as error:
        return fail(f"{given.source}: {error}")
    except NoListsError as error:
        return fail(f"{given.source}: {error}", BAD_USAGE)
    except OSError as error:
        return unreadable(error.filename or given.source, error)
    parts = urlsplit(given.source) if is_url else None
    service = given.service or (parts.hostname if parts is not None else None) or "mcp"
    path = given.path or (parts.path if parts is not None else "") or "/mcp"
    imported = import_lists(lists, source=given.source, service=service, path=path, host=given.host)
    parsed = parse_policy_set(imported.policies(), Reading())
    if not isinstance(parsed, PolicySet):
        return fail("; ".join(map(str, parsed[:5])), BAD_USAGE)
    if given.as_json:
        return print_json(not imported.not_taken, **imported.to_json(), policies=imported.policies())
    header = [f"What {given.source} lists", "docs/mcp.md says what the routes cover."]
    sys.stdout.write(policies_text(imported, header))
    sys.stdout.flush()
    for each in imported.not_taken:
        print(f"not taken: {one_line(str(each))}", file=sys.stderr)
    return FAILED if imported.not_taken else OK


class _UsageError(Exception):
    """What is wrong with the arguments or variables."""


def _asked(environ: Mapping[str, str], url: str) -> ServerLists:
    token = environ.get(TOKEN) or None
    if environ.get(TOKEN_FILE):
        if token is not None:
            raise _UsageError(f"{TOKEN} and {TOKEN_FILE} are both set; one of them is needed")
        try:
            token = read_secret_file(TOKEN, Path(environ[TOKEN_FILE]))
        except SecretFileError as error:
            raise _UsageError(str(error)) from None
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise _UsageError(f"{TOKEN} is not a token: it has blanks, or characters outside of ASCII")
    if problem := url_problem(url, has_token=token is not None):
        # A password is not repeated.
        shown = "the address with a user or a password" if "@" in url else repr(one_line(url))
        raise _UsageError(f"{shown} {problem}")
    ca_file = Path(environ[CA_FILE]) if environ.get(CA_FILE) else None
    if ca_file is not None and not ca_file.is_file():
        raise _UsageError(f"{CA_FILE} {str(ca_file)!r} is not a file of certificates in PEM")
    try:
        return lists_of(server_lists(url, token=token, ca_file=ca_file))
    except NoListsError as error:
        raise NoListError(str(error)) from None


def _read(source: str) -> ServerLists:
    if source == _STDIN:
        content = sys.stdin.buffer.read(_MAX_BYTES + 1)
    else:
        with Path(source).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise NoListsError(f"longer than {_MAX_BYTES} octets")
    document = read_json(content, max_depth=64)
    if isinstance(document, JsonRejected):
        raise NoListsError(f"not JSON that can be read: {document.problem}")
    return lists_of(document)
