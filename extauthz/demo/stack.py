"""The processes of one demo, composed: PostgreSQL, identity providers, upstream, extauthz, Envoy.

Everything they write lies in folders of their own, which go with them.
"""

import contextlib
import os
import secrets
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.demo import envoy, first_policies, identity_provider, tenants
from extauthz.demo.calls import send
from extauthz.demo.postgres import EmbeddedPostgres
from extauthz.demo.processes import LOOPBACK, Child, ReservedPorts, http_answers, spawn
from extauthz.demo.rest import RestApi
from extauthz.demo.stopping import Stopping
from extauthz.demo.tenants import Tenant
from extauthz.demo.tokens import TokenSource
from extauthz.domain.tenancy import TenancyMode
from extauthz.settings import public_key_text
from extauthz.shipped import shipped

PUBLIC_PATH: Final = "/demo/notices"
"""The demo's anonymous route: when it answers through Envoy, everything does."""

_INHERITED: Final = (
    "GRPC_SERVER", "HOME", "LANG", "LC_ALL", "LOG_FORMAT", "LOG_LEVEL", "PATH", "PYTHONPATH", "SSL_CERT_FILE",
    "TMPDIR", "TZ",
)  # fmt: skip
_MOST_WORKERS: Final = 8


class PolicyStore(StrEnum):
    """Where the policies of a stack live."""

    POSTGRES = "postgres"
    FILES = "files"


class Stack:
    """One run of the demo; a context manager that leaves neither process nor file behind.

    With `PolicyStore.FILES` a sidecar alone serves from a folder of policies, without database and REST API.
    With `TenancyMode.SAAS` there are two tenants, each with its own identity provider and host; `people`,
    `issuer` and `token_url` are then those of the first.
    `environ` is the caller's environment: `PORT`, `GRPC_PORT`, `SIDECAR_PORT`, `WORKERS`, `ADMIN_API_KEY` and
    `DECISION_LOG` are honoured. Every wait ends with `StoppedError` once `stopping` is set.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str] = os.environ,
        stopping: Stopping | None = None,
        store: PolicyStore = PolicyStore.POSTGRES,
        mode: TenancyMode = TenancyMode.SELFHOST,
    ) -> None:
        """Choose folders and ports; nothing runs before `start`."""
        self.store = store
        self.mode = mode
        self.tenants: tuple[Tenant, ...] = ()
        self.workers = min(max(_number("WORKERS", environ) or 1, 1), _MOST_WORKERS)
        self.admin_api_key = environ.get("ADMIN_API_KEY") or secrets.token_urlsafe(32)
        self._signing_key = Ed25519PrivateKey.generate()
        self.rule_names: Mapping[str, str] = {}
        self._stopping = stopping or Stopping()
        self._ports = ReservedPorts()
        self._inherited = {name: environ[name] for name in _INHERITED if name in environ}
        self._children: dict[str, Child] = {}
        self._serving = False
        (self.envoy_port,) = self._ports.take()
        (self.upstream_port,) = self._ports.take()
        self.rest_port = _number("PORT", environ) or self._ports.take()[0]
        self.grpc_port = _number("GRPC_PORT", environ) or self._ports.take(self.workers)[0]
        self.sidecar_port = _number("SIDECAR_PORT", environ) or self._ports.take()[0]
        self._providers = {slug: TokenSource(self._ports.take()[0]) for slug in tenants.SLUGS[mode]}
        self.people = self._providers[tenants.SLUGS[mode][0]]
        self.rest = RestApi(self.rest_port, self.admin_api_key)
        self.folder = Path(tempfile.mkdtemp(prefix="extauthz-demo-"))
        self.policies = self.folder / "policies"
        self.postgres = None
        if store is PolicyStore.POSTGRES:
            self.postgres = EmbeddedPostgres(_postgres_folder() / "cluster", port=self._ports.take()[0])
        kept = environ.get("DECISION_LOG", "")
        self.decision_log = (
            self.folder / "decisions.jsonl" if kept in {"", "stdout"} else Path(kept).absolute()
        )

    @property
    def envoy_url(self) -> str:
        """Where requests go in."""
        return f"http://{LOOPBACK}:{self.envoy_port}"

    @property
    def policy_public_keys(self) -> str:
        """What a sidecar that follows the demo's signed policies has as POLICY_PUBLIC_KEYS."""
        return public_key_text(self._signing_key.public_key().public_bytes_raw())

    @property
    def upstream(self) -> str:
        """The protected workload: host and port."""
        return f"{LOOPBACK}:{self.upstream_port}"

    @property
    def rest_url(self) -> str:
        """The admin REST API, without a path."""
        return f"http://{LOOPBACK}:{self.rest_port}"

    @property
    def postgres_dsn(self) -> str | None:
        """The database as its owner reaches it; None without one."""
        return None if self.postgres is None else self.postgres.dsn

    @property
    def issuer(self) -> str:
        """The identity provider."""
        return self.people.issuer

    @property
    def token_url(self) -> str:
        """Where the identity provider gives tokens."""
        return self.people.token_url

    @property
    def grpc_target(self) -> str:
        """Where the first worker answers Envoy: host and port, plaintext."""
        return f"{LOOPBACK}:{self.grpc_port}"

    @property
    def sidecar_url(self) -> str:
        """The sidecar's health and metrics."""
        return f"http://{LOOPBACK}:{self.sidecar_port}"

    def tokens(self) -> dict[str, str]:
        """Return a token for each name of the ready file; in saas the names are `TENANT/NAME`."""
        if self.mode is TenancyMode.SELFHOST:
            return self.people.named()
        return {
            f"{slug}/{name}": token
            for slug, people in self._providers.items()
            for name, token in people.named().items()
        }

    def child(self, name: str) -> Child:
        """Return the process `identity-provider` (saas: `identity-provider-TENANT`), `upstream`, `extauthz`
        or `envoy`.
        """
        return self._children[name]

    def start(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Start everything, and return when a request passes through all of it.

        `say` is told what is being waited for.

        Raises:
            ProcessFailedError: something did not start; the text says what, with its last lines.
            StoppedError: `stopping` was set.
        """
        say("the identity provider, the upstream and PostgreSQL")
        providers = self._spawn_identity_providers()
        upstream = self._spawn(
            "upstream", [sys.executable, "-P", "-m", "extauthz.demo.upstream"], self.upstream_port
        )
        if self.postgres is None:
            shutil.copytree(shipped("policies/demo"), self.policies)
        else:
            self.postgres.start(stopping=self._stopping)
        self._wait_for_providers(providers)
        say("extauthz and Envoy")
        extauthz = self._spawn_extauthz()
        self._wait(upstream, lambda: http_answers(self.upstream_port, "/"))
        proxy = self.start_envoy()
        self._wait_for_extauthz(extauthz)
        say("the first policies, and a request through Envoy")
        self.tenants = tuple(self._tenants())
        self.rule_names = self._create_policies()
        for tenant in self.tenants:
            self._wait(proxy, partial(self._serves, tenant, tenant.people.token("admin")))

    def start_identity_provider(self) -> None:
        """Start the identity providers, with keys of their own, and wait for them."""
        self._wait_for_providers(self._spawn_identity_providers())

    def start_extauthz(self) -> None:
        """Start extauthz with the environment that users set, and wait until it is ready."""
        self._wait_for_extauthz(self._spawn_extauthz())

    def reopen_decision_log(self) -> None:
        """Have extauthz go on in the file that now has the decision log's path, once it serves."""
        child = self._children.get("extauthz")
        if child is not None and self._serving:
            child.send(signal.SIGHUP)

    def start_envoy(self) -> Child:
        """Start Envoy with `bootstrap`; its first answers may be 503 until it has found the workers."""
        configuration = self.folder / "envoy.yaml"
        configuration.write_text(self.bootstrap())
        return self._spawn("envoy", envoy.command(configuration))

    def ended(self) -> dict[str, str]:
        """Return the processes that have ended by themselves, each with its last lines."""
        found = {name: child.last_lines() for name, child in self._children.items() if not child.running}
        if self.postgres is not None and not self.postgres.running and self.postgres.log.exists():
            found["postgres"] = self.postgres.log.read_text("utf-8", "replace")[-2_000:]
        return found

    def environment(self) -> dict[str, str]:
        """Return the environment that everything of this stack runs in."""
        where = (
            {"POLICY_SOURCE": f"files:{self.policies}"}
            if self.postgres is None
            else self.postgres.environment
            | {
                "POLICY_SOURCE": "postgres",
                "MIGRATE_ON_START": "true",
                "PORT": str(self.rest_port),
                "ADMIN_API_KEY": self.admin_api_key,
                "POLICY_SIGNING_KEY": _pem(self._signing_key),
            }
        )
        whose = (
            {"AUTH_SERVER_URL": self.issuer, "OIDC_AUDIENCE": identity_provider.AUDIENCE}
            if self.mode is TenancyMode.SELFHOST
            else {}
        )
        return (
            self._inherited
            | where
            | whose
            | {
                "MODE": self.mode.value,
                "JWKS_ALLOW_HOSTS": ",".join(
                    f"{LOOPBACK}:{people.port}" for people in self._providers.values()
                ),
                "HOST": LOOPBACK,
                "GRPC_HOST": LOOPBACK,
                "GRPC_PORT": str(self.grpc_port),
                "SIDECAR_PORT": str(self.sidecar_port),
                "DECISION_LOG": str(self.decision_log),
                "WORKERS": str(self.workers),
            }
        )

    def bootstrap(self) -> str:
        """Return the Envoy configuration of this stack: the shipped one, with the ports of this run."""
        return envoy.bootstrap(
            listener=self.envoy_port,
            extauthz=list(range(self.grpc_port, self.grpc_port + self.workers)),
            upstream=self.upstream_port,
        )

    def stop(self) -> None:
        """End every process, from the outside in, within 10 seconds, and remove every file of the run."""
        graces_s = {"envoy": 1.0, "extauthz": 5.5, "upstream": 0.5}
        for name, grace_s in (
            graces_s | dict.fromkeys(map(self._provider_name, self._providers), 0.5)
        ).items():
            child = self._children.pop(name, None)
            if child is not None:
                child.stop(grace_s=grace_s)
        if self.postgres is not None:
            self.postgres.stop(grace_s=1.0)
            shutil.rmtree(self.postgres.folder.parent, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._ports.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _tenants(self) -> Iterator[Tenant]:
        for slug, people in self._providers.items():
            if self.mode is TenancyMode.SAAS:
                yield tenants.found(self.rest, slug, people)
            else:
                yield Tenant(slug, None, people, self.rest)

    def _create_policies(self) -> dict[str, str]:
        """Give every tenant the demo's policies, and return the names of their rules by id."""
        if self.postgres is None:
            return {name: name for name in first_policies.names(self.policies)}
        folder = shipped("policies/demo")
        created = [first_policies.create(tenant.rest, folder) for tenant in self.tenants]
        return {rule_id: name for ids in created for name, rule_id in ids.items()}

    def _serves(self, tenant: Tenant, admin: str) -> bool:
        """Say whether Envoy and the REST API know the tenant and the keys of its identity provider."""
        return send(self.envoy_port, PUBLIC_PATH, host=tenant.host, token=admin).status == 200 and (
            self.postgres is None or self.rest.ask("GET", "/api/v1/resources", token=admin).status == 200
        )

    def _provider_name(self, slug: str) -> str:
        return "identity-provider" if self.mode is TenancyMode.SELFHOST else f"identity-provider-{slug}"

    def _spawn_identity_providers(self) -> dict[Child, int]:
        command = [sys.executable, "-P", "-m", "extauthz.demo.identity_provider"]
        return {
            self._spawn(self._provider_name(slug), command, people.port): people.port
            for slug, people in self._providers.items()
        }

    def _wait_for_providers(self, providers: Mapping[Child, int]) -> None:
        for provider, port in providers.items():
            self._wait(provider, partial(http_answers, port, "/.well-known/openid-configuration"))

    def _spawn_extauthz(self) -> Child:
        command = "sidecar" if self.postgres is None else "serve"
        return self._spawn("extauthz", [sys.executable, "-P", "-m", "extauthz", command])

    def _wait_for_extauthz(self, extauthz: Child) -> None:
        # A process that is still starting could be ended by a signal that is sent to it.
        self._serving = False
        port = self.sidecar_port if self.postgres is None else self.rest_port
        self._wait(extauthz, lambda: http_answers(port, "/healthz/ready"))
        self._serving = True

    def _spawn(self, name: str, command: list[str | Path] | list[str], port: int | None = None) -> Child:
        arguments = [*command, *(() if port is None else ("--port", str(port)))]
        output = self.folder / f"{name}.log"
        if name in self._children:
            self._children[name].kill()
        child = spawn(name, arguments, output=output, environment=self.environment())
        self._children[name] = child
        return child

    def _wait(self, child: Child, answers: Callable[[], bool]) -> None:
        child.wait_ready(answers, timeout_s=30.0, stopping=self._stopping)


def _pem(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _number(name: str, environ: Mapping[str, str]) -> int | None:
    wanted = environ.get(name, "")
    return int(wanted) if wanted.isascii() and wanted.isdigit() else None


def _postgres_folder() -> Path:
    """Make a folder for the database, where the user that it runs as can reach it."""
    usual = Path(tempfile.gettempdir())
    if os.geteuid() == 0 and not all(_open(folder) for folder in (usual.resolve(), *usual.resolve().parents)):
        # Root's own temporary folder can be closed to other users; the system's never is.
        usual = Path("/tmp")  # noqa: S108 - mkdtemp makes a folder of our own in it
    folder = Path(tempfile.mkdtemp(prefix="extauthz-demo-postgres-", dir=usual))
    with contextlib.suppress(OSError):
        folder.chmod(0o711)
    return folder


def _open(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IXOTH)
