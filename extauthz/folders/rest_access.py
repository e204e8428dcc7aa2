"""Where the admin REST API is, and the credential for it, from environment variables.

Input: the environment. Output: `RestAccess`. Errors: every problem at once, as texts that name variables and
never a secret.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from extauthz.domain.loopback import is_loopback
from extauthz.settings.secret_files import SecretFileError, read_secret_file

URL: Final = "EXTAUTHZ_URL"
CA_FILE: Final = "EXTAUTHZ_CA_FILE"
_CREDENTIALS: Final[Mapping[str, tuple[str, str]]] = {
    "EXTAUTHZ_SERVICE_API_KEY": ("X-Service-Api-Key", ""),
    "EXTAUTHZ_TOKEN": ("Authorization", "Bearer "),
    "ADMIN_API_KEY": ("X-Admin-Api-Key", ""),
}
"""Each variable of a credential -> the header that carries it, and what stands before it there."""
VARIABLES: Final = (
    URL,
    CA_FILE,
    *(name for each in _CREDENTIALS for name in (each, f"{each}_FILE")),
)
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_NEEDED: Final = "https://extauthz.example.com"


@dataclass(frozen=True, slots=True)
class RestAccess:
    """The base URL without a final slash, the headers of the credential, and CAs to trust in addition."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    ca_file: Path | None = None

    @property
    def parts(self) -> SplitResult:
        """The parts of the URL."""
        return urlsplit(self.url)

    @property
    def is_exposed(self) -> bool:
        """Whether the credential crosses a network without TLS."""
        return self.parts.scheme == "http" and not is_loopback(self.parts.hostname or "")


def rest_access(environ: Mapping[str, str]) -> RestAccess | list[str]:
    """Read the variables. An empty one is as one that is not set."""
    problems: list[str] = []
    url = environ.get(URL, "")
    if problem := _url_problem(url):
        problems.append(problem)
    headers = _credential(environ, problems)
    ca_file = Path(environ[CA_FILE]) if environ.get(CA_FILE) else None
    if ca_file is not None and not ca_file.is_file():
        problems.append(f"{CA_FILE} {str(ca_file)!r} is not a file; it names a file of certificates in PEM")
    return problems or RestAccess(url.rstrip("/"), headers, ca_file)


def _url_problem(url: str) -> str | None:
    if not url:
        return f"{URL} is not set; it is the address of the admin REST API, such as {_NEEDED}"
    if not _is_address(url):
        # A password is not repeated.
        shown = "an address with a user or a password" if "@" in url else ascii(url)
        return f"{URL} is {shown}; the address of the admin REST API is needed, such as {_NEEDED}"
    if url.rstrip("/").endswith("/api/v1"):
        return f"{URL} ends with /api/v1; leave that out"
    return None


def _is_address(url: str) -> bool:
    if not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        plain = not (parts.username or parts.password or parts.query or parts.fragment)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and plain
    except ValueError:
        return False


def _credential(environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    given = [name for each in _CREDENTIALS for name in (each, f"{each}_FILE") if environ.get(name)]
    if not given:
        choice = ", ".join(_CREDENTIALS)
        problems.append(f"there is no credential: set one of {choice}, or the same with _FILE")
        return {}
    if len(given) > 1:
        problems.append(f"{' and '.join(given)} are set; set one of them, a request carries one credential")
        return {}
    name = given[0].removesuffix("_FILE")
    value = environ[given[0]]
    if given[0] != name:
        try:
            value = read_secret_file(name, Path(value))
        except (SecretFileError, ValueError) as error:
            problems.append(str(error))
            return {}
    if _HEADER_VALUE.fullmatch(value) is None:
        problems.append(
            f"{given[0]} has characters that no header carries; is there a line end or a space around it?"
        )
        return {}
    header, before = _CREDENTIALS[name]
    return {header: before + value}
