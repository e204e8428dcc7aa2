"""Real Envoy, control plane, PostgreSQL and sidecars of both bindings, for many tenants."""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from extauthz.demo.postgres import EmbeddedPostgres
from extauthz.demo.processes import ReservedPorts
from extauthz.demo.rest import RestApi
from tests.e2e.gate import start_envoy
from tests.e2e.raw_http import LenientUpstream, Reply, http1, lenient_upstream, request
from tests.e2e.tenant_doors import DOORS, HOST, OVER_HTTP, TOKEN, UNOWNED, configuration
from tests.e2e.tenant_firms import ALL_TENANTS, DORMANT, KID, OPEN, Firm, Seen, granted
from tests.folder_postgres import postgres_in_folder
from tests.integration.serving import Serving, serving
from tests.key_server_thread import identity_provider
from tests.tokens import AUDIENCE, SigningKey
from tests.waiting import await_true


@dataclass
class TenantMesh:
    """Envoy with a door for each binding, its upstream, and the firms."""

    ports: Mapping[str, int]
    upstream: LenientUpstream
    sidecars: Mapping[str, Serving]
    operator: RestApi
    postgres: EmbeddedPostgres
    firms: dict[str, Firm] = field(default_factory=dict)
    decision_id: str | None = None

    def ask(
        self, host: str, *lines: bytes, door: str = HOST, route: str | None = None, path: str = "/orders/7"
    ) -> Seen:
        """Send a request; nothing but what was granted may have reached the upstream, and that once."""
        chosen = () if route is None else (b"x-route: " + route.encode(),)
        return self.send(request(path.encode(), *lines, *chosen, host=host.encode()), door=door)

    def send(self, octets: bytes, *, door: str = HOST) -> Seen:
        return self.judged(http1(self.ports[door], octets))

    def judged(self, reply: Reply) -> Seen:
        arrived, self.upstream.arrivals = self.upstream.arrivals, []
        assert len(arrived) == (reply.status == 200), (reply, arrived)
        if not arrived:
            self.decision_id = reply.decision_id
            return Seen(reply.status, reply.reason)
        assert reply.arrival == arrived[0]
        told = [(name, value.decode()) for name, value in arrived[0].headers if name.startswith(b"x-auth-")]
        assert len(dict(told)) == len(told)
        assert b"x-service-api-key" not in dict(arrived[0].headers)
        self.decision_id = dict(told)[b"x-auth-decision-id"]
        return granted(dict(told)[b"x-auth-tenant"], dict(told).get(b"x-auth-subject"))

    def log(self, door: str) -> Path:
        """The decision log of whom a door asks."""
        return self.sidecars[HOST if door == OVER_HTTP else door].log

    def settled(self, firm: Firm, revision: int, *, suspended: bool = False) -> None:
        """Wait until every sidecar decides by this revision of the firm, or a later one."""
        for sidecar in self.sidecars.values():

            def is_current(sidecar: Serving = sidecar) -> bool:
                answer = sidecar.check(context_extensions={"tenant": firm.slug})
                if answer is None or (answer.metadata["reason"] == "tenant_suspended") is not suspended:
                    return False
                found = answer.metadata["policy_revision"]
                return isinstance(found, float | int) and found >= revision

            await_true(is_current, what=f"revision {revision} of {firm.slug}")

    def operate(self, method: str, path: str, document: object = None) -> Any:
        reply = self.operator.ask(method, path, document)
        assert reply.status in {200, 201, 204}, reply
        return reply

    def give(self, firm: Firm, *hosts: str) -> None:
        """Make these the firm's hosts."""
        reply = self.operate("PUT", f"/admin/tenants/{firm.slug}/hosts", {"hosts": hosts})
        self.settled(firm, reply.revision)

    def suspend(self, firm: Firm, status: str) -> None:
        reply = self.operate("PATCH", f"/admin/tenants/{firm.slug}", {"status": status})
        self.settled(firm, reply.revision, suspended=status == "suspended")

    def trust(self, firm: Firm, other: Firm | None) -> None:
        """Make the provider of another firm, or none, the one whose tokens are the firm's."""
        path = f"/admin/tenants/{firm.slug}/identity-providers"
        present = self.operate("GET", path).document["items"]
        if other is None:
            reply = self.operate("DELETE", f"{path}/{present[0]['id']}")
        else:
            document = provider_document(other)
            one = [("PUT", f"{path}/{each['id']}") for each in present] or [("POST", path)]
            reply = self.operate(*one[0], document)
        self.settled(firm, reply.revision)
        if other is not None:
            self.knows_keys(firm, other)

    def knows_keys(self, firm: Firm, other: Firm) -> None:
        """Wait until every sidecar can judge what the other firm's provider signs, as the firm's."""
        headers = {"authorization": f"Bearer {other.token()}"}
        for sidecar in self.sidecars.values():

            def is_judged(sidecar: Serving = sidecar) -> bool:
                answer = sidecar.check(context_extensions={"tenant": firm.slug}, headers=headers)
                return answer is not None and answer.status != 503

            await_true(is_judged, what=f"the keys of {other.slug}")


def provider_document(firm: Firm) -> dict[str, object]:
    return {
        "issuer_url": firm.provider.issuer,
        "jwks_uri": firm.provider.jwks_uri,
        "audience": AUDIENCE,
        "claim_config": {"roles_claim": "roles", "domain_claim": "dom", "admin_domain_claim": "adm"},
    }


def is_refused(mesh: TenantMesh, door: str) -> bool:
    return mesh.ask("acme.local", door=door).status == 401


@contextmanager
def tenant_mesh(folder: Path, **settings: str) -> Iterator[TenantMesh]:
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(postgres_in_folder())
        postgres.start()
        upstream = stack.enter_context(lenient_upstream())
        keys = {slug: SigningKey.es256(KID, serial=number) for number, slug in enumerate(ALL_TENANTS)}
        providers = {slug: stack.enter_context(identity_provider(key)) for slug, key in keys.items()}
        environment: dict[str, Any] = settings | {
            "MODE": "saas",
            "OIDC_ENABLED": "true",
            "MIGRATE_ON_START": "true",
            "JWKS_ALLOW_HOSTS": ",".join(f"127.0.0.1:{each.port}" for each in providers.values()),
        }
        reserved = ReservedPorts()
        stack.callback(reserved.release)
        ports = dict(zip(DOORS, reserved.take(len(DOORS)), strict=True))
        (over_http,) = reserved.take()
        sidecars = {}
        for door, command in ((HOST, "serve"), (TOKEN, "sidecar")):
            (folder / door).mkdir()
            own: dict[str, Any] = {"TENANT_BINDING": door}
            own |= {"HTTP_AUTHZ_PORT": str(over_http)} if door == HOST else {}
            sidecars[door] = stack.enter_context(
                serving(folder / door, postgres.environment, **environment, **own)
            )
            sidecars[door].start(command)
        asked = {door: sidecar.grpc_port for door, sidecar in sidecars.items()} | {OVER_HTTP: over_http}
        proxy = start_envoy(folder, configuration(ports, asked, upstream.port))
        stack.callback(proxy.kill)
        mesh = TenantMesh(ports, upstream, sidecars, sidecars[HOST].rest, postgres)
        for slug in ALL_TENANTS:
            made = mesh.operate("POST", "/admin/tenants", {"name": "The firm", "slug": slug})
            key = made.document["bootstrapKey"]
            firm = Firm(slug, keys[slug], providers[slug], mesh.operator.with_service_key(key), key)
            mesh.firms[slug] = firm
            mesh.operate("PUT", f"/admin/tenants/{slug}/hosts", {"hosts": [firm.host]})
            mesh.operate("POST", f"/admin/tenants/{slug}/identity-providers", provider_document(firm))
            firm.open_shop()
        others = [firm.host for firm in mesh.firms.values() if firm.slug != OPEN]
        mesh.firms[OPEN].open_everything([*others, UNOWNED])
        for firm in mesh.firms.values():
            mesh.settled(firm, firm.revision)
            mesh.knows_keys(firm, firm)
        for door in ports:
            await_true(partial(is_refused, mesh, door), what="Envoy")
        mesh.suspend(mesh.firms[DORMANT], "suspended")
        yield mesh
