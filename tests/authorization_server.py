"""A real authorization server on loopback: npm's `oidc-provider` (tests/oidc_provider), started with Node.

`npm ci` installs it from its lock file, once for each lock file, into a cache folder outside of the project.
"""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent / "oidc_provider"
SECRET = "s3cr%t + /:secret"
"""With characters that RFC 6749 2.3.1 wants encoded before HTTP Basic."""
AUDIENCE = "orders-api"
OPAQUE, JWT = "urn:orders:opaque", "urn:orders:jwt"
OLDEST_NODE = 20
INSTALL_S = 300


def cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    lock = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()[:16]
    return Path(base) / "extauthz-tests" / f"oidc-provider-{lock}"


def install() -> str | None:
    """Install the server; return why that is not possible, or None."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "Node or npm is missing"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
    major = version.strip().removeprefix("v").partition(".")[0]
    if not major.isdigit() or int(major) < OLDEST_NODE:
        return f"Node {version.strip()!r} is older than {OLDEST_NODE}"
    folder = cache_folder()
    if (folder / "installed").exists():
        return None
    # Two test processes may install at once: each into a folder of its own, which then takes the name.
    own = folder.with_name(f"{folder.name}.{os.getpid()}")
    own.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(SOURCE / name, own / name)
    done = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=own,
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )
    if done.returncode != 0:
        shutil.rmtree(own, ignore_errors=True)
        return f"npm ci failed: {done.stderr.strip().splitlines()[-1:]}"
    (own / "installed").touch()
    try:
        own.rename(folder)
    except OSError:
        shutil.rmtree(own, ignore_errors=True)
    return None


@dataclass
class AuthorizationServer:
    """A running server; `worker` and `bound-worker` are clients that get tokens for themselves."""

    issuer: str
    process: "subprocess.Popen[str]"

    def token(self, *, client: str = "worker", resource: str = OPAQUE, certificate: str = "") -> str:
        form = {"grant_type": "client_credentials", "scope": "orders:read", "resource": resource}
        answer: dict[str, Any] = json.loads(self._post("/token", form, client, certificate))
        return str(answer["access_token"])

    def revoke(self, token: str, *, client: str = "worker") -> None:
        self._post("/token/revocation", {"token": token}, client)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)

    def _post(self, path: str, form: dict[str, str], client: str, certificate: str = "") -> bytes:
        pair = f"{client}:{urllib.parse.quote_plus(SECRET)}".encode()
        headers = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        if certificate:
            headers["X-Client-Certificate"] = urllib.parse.quote(certificate)
        request = urllib.request.Request(self.issuer + path, urllib.parse.urlencode(form).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            body: bytes = response.read()
        return body


@contextmanager
def authorization_server(client_key: dict[str, object], *, port: int = 0) -> Iterator[AuthorizationServer]:
    """Run the server; `client_key` is the public JWK, with `alg`, of the client `gateway-jwt`."""
    folder = cache_folder()
    shutil.copy(SOURCE / "server.mjs", folder / "server.mjs")
    options = {"secret": SECRET, "clientKey": client_key, "port": port}
    process = subprocess.Popen(
        ["node", str(folder / "server.mjs"), json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the authorization server has ended"
        yield AuthorizationServer(json.loads(line)["issuer"], process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


if __name__ == "__main__":
    print(install() or "oidc-provider is installed")
