"""The processes of one demo, composed: identity provider, upstream, sidecar, Envoy.

Everything they write lies in one folder of their own, which goes with them.
"""

import http.client
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlencode

from extauthz.demo import envoy, identity_provider
from extauthz.demo.processes import LOOPBACK, Child, ProcessFailedError, ReservedPorts, http_answers, spawn
from extauthz.shipped import shipped

PUBLIC_PATH: Final = "/demo/notices"
"""The demo's anonymous route: when it answers through Envoy, everything does."""

_INHERITED: Final = (
    "HOME", "LANG", "LC_ALL", "LOG_FORMAT", "LOG_LEVEL", "PATH", "PYTHONPATH", "TMPDIR", "TZ",
)  # fmt: skip
_FLAWED: Final = {flaw: ("alice", flaw) for flaw in identity_provider.FLAWS}
_NAMED_TOKENS: Final = {name: (name, None) for name in ("admin", "alice", "bob", "carol", "dave")} | _FLAWED


class Stack:
    """One run of the demo; a context manager that leaves neither process nor file behind.

    `environ` is the caller's environment: `GRPC_PORT`, `SIDECAR_PORT` and `DECISION_LOG` are honoured.
    Every wait ends with `StoppedError` once `stopping` is set.
    """

    def __init__(
        self, *, environ: Mapping[str, str] = os.environ, stopping: threading.Event | None = None
    ) -> None:
        """Choose folder and ports; nothing runs before `start`."""
        self._stopping = stopping or threading.Event()
        self._ports = ReservedPorts()
        self._inherited = {name: environ[name] for name in _INHERITED if name in environ}
        self._children: dict[str, Child] = {}
        (self.envoy_port,) = self._ports.take()
        (self.upstream_port,) = self._ports.take()
        (self.identity_provider_port,) = self._ports.take()
        self.grpc_port = self._chosen("GRPC_PORT", environ)
        self.sidecar_port = self._chosen("SIDECAR_PORT", environ)
        self.folder = Path(tempfile.mkdtemp(prefix="extauthz-demo-"))
        self.policies = self.folder / "policies"
        kept = environ.get("DECISION_LOG", "")
        self.decision_log = (
            self.folder / "decisions.jsonl" if kept in {"", "stdout"} else Path(kept).absolute()
        )

    def _chosen(self, name: str, environ: Mapping[str, str]) -> int:
        wanted = environ.get(name, "")
        if wanted.isascii() and wanted.isdigit():
            return int(wanted)
        return self._ports.take()[0]

    @property
    def envoy_url(self) -> str:
        """Where requests go in."""
        return f"http://{LOOPBACK}:{self.envoy_port}"

    @property
    def issuer(self) -> str:
        """The identity provider."""
        return f"http://{LOOPBACK}:{self.identity_provider_port}"

    @property
    def token_url(self) -> str:
        """Where the identity provider gives tokens."""
        return f"{self.issuer}/token"

    @property
    def grpc_target(self) -> str:
        """Where the sidecar answers Envoy: host and port, plaintext."""
        return f"{LOOPBACK}:{self.grpc_port}"

    @property
    def sidecar_url(self) -> str:
        """The sidecar's health and metrics."""
        return f"http://{LOOPBACK}:{self.sidecar_port}"

    def child(self, name: str) -> Child:
        """Return the process `identity-provider`, `upstream`, `sidecar` or `envoy`."""
        return self._children[name]

    def start(self) -> None:
        """Start everything, and return when a request passes through all of it.

        Raises:
            ProcessFailedError: something did not start; the text says what, with its last lines.
            StoppedError: `stopping` was set.
        """
        shutil.copytree(shipped("policies/demo"), self.policies)
        self.start_identity_provider()
        upstream = self._spawn(
            "upstream", [sys.executable, "-m", "extauthz.demo.upstream"], self.upstream_port
        )
        self.start_sidecar()
        configuration = self.folder / "envoy.yaml"
        configuration.write_text(
            envoy.bootstrap(listener=self.envoy_port, extauthz=[self.grpc_port], upstream=self.upstream_port)
        )
        self._wait(upstream, lambda: http_answers(self.upstream_port, "/"))
        proxy = self._spawn("envoy", envoy.command(configuration))
        self._wait(proxy, lambda: http_answers(self.envoy_port, PUBLIC_PATH))

    def start_identity_provider(self) -> None:
        """Start the identity provider, with keys of its own, and wait for it."""
        command = [sys.executable, "-m", "extauthz.demo.identity_provider"]
        provider = self._spawn("identity-provider", command, self.identity_provider_port)
        self._wait(
            provider, lambda: http_answers(self.identity_provider_port, "/.well-known/openid-configuration")
        )

    def start_sidecar(self) -> None:
        """Start the sidecar with the contract's environment, and wait until it is ready."""
        sidecar = self._spawn("sidecar", [sys.executable, "-m", "extauthz", "sidecar"])
        self._wait(sidecar, lambda: http_answers(self.sidecar_port, "/healthz/ready"))

    def rotate_keys(self) -> None:
        """Have the identity provider publish and use new keys, beside the present ones."""
        self._ask_provider("/rotate", {})

    def token(self, name: str, *, flaw: str | None = None, algorithm: str = "RS256") -> str:
        """Return a new token of a demo person.

        Raises:
            ProcessFailedError: the identity provider does not answer as it should.
        """
        form = {"grant_type": "password", "username": name, "password": name, "alg": algorithm}
        return str(
            self._ask_provider("/token", form | ({} if flaw is None else {"flaw": flaw}))["access_token"]
        )

    def tokens(self) -> dict[str, str]:
        """Return a token for each name that the contract knows, and a few more."""
        return {name: self.token(person, flaw=flaw) for name, (person, flaw) in _NAMED_TOKENS.items()}

    def ended(self) -> list[str]:
        """Return the names of processes that have ended by themselves."""
        return [name for name, child in self._children.items() if not child.running]

    def stop(self) -> None:
        """End every process, from the outside in, within 9 seconds, and remove every file of the run."""
        graces_s = {"envoy": 1.0, "sidecar": 6.0, "upstream": 0.75, "identity-provider": 0.75}
        for name, grace_s in graces_s.items():
            child = self._children.pop(name, None)
            if child is not None:
                child.stop(grace_s=grace_s)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._ports.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _environment(self) -> dict[str, str]:
        return self._inherited | {
            "MODE": "selfhost",
            "AUTH_SERVER_URL": self.issuer,
            "OIDC_AUDIENCE": identity_provider.AUDIENCE,
            "JWKS_ALLOW_HOSTS": f"{LOOPBACK}:{self.identity_provider_port}",
            "POLICY_SOURCE": f"files:{self.policies}",
            "HOST": LOOPBACK,
            "GRPC_HOST": LOOPBACK,
            "GRPC_PORT": str(self.grpc_port),
            "SIDECAR_PORT": str(self.sidecar_port),
            "DECISION_LOG": str(self.decision_log),
            "WORKERS": "1",
        }

    def _spawn(self, name: str, command: list[str | Path] | list[str], port: int | None = None) -> Child:
        arguments = [*command, *(() if port is None else ("--port", str(port)))]
        output = self.folder / f"{name}.log"
        if name in self._children:
            self._children[name].kill()
        child = spawn(name, arguments, output=output, environment=self._environment())
        self._children[name] = child
        return child

    def _wait(self, child: Child, answers: Callable[[], bool]) -> None:
        child.wait_ready(answers, timeout_s=20.0, stopping=self._stopping)

    def _ask_provider(self, path: str, form: Mapping[str, str]) -> dict[str, object]:
        connection = http.client.HTTPConnection(LOOPBACK, self.identity_provider_port, timeout=5)
        try:
            connection.request(
                "POST", path, urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"}
            )
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as problem:
            raise ProcessFailedError(
                f"the identity provider at {self.issuer} does not answer: {problem}"
            ) from problem
        finally:
            connection.close()
        if response.status != 200:
            raise ProcessFailedError(
                f"the identity provider answered {response.status} to POST {path}: {body!r}"
            )
        document: dict[str, object] = json.loads(body)
        return document
