"""A tenant whose policies are signed into a folder, and a sidecar's publisher that follows a server of it."""

import asyncio
import os
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from extauthz.check.service import CheckService
from extauthz.compile.documents.policy_documents import Reading
from extauthz.compile.roles.role_model import RoleModel
from extauthz.decide.identity import TokenPolicy
from extauthz.decide.judge import CheckPolicy
from extauthz.decide.tokens.keyring import KeyRing
from extauthz.decisionlog.log import DecisionLog
from extauthz.decisionlog.recorder import Recorder
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.domain.tenant_config import TenantConfig
from extauthz.publish.current import CurrentPolicies
from extauthz.publish.signed_policies import SignedPublisher
from extauthz.publish.tenant import Compiler
from extauthz.signed.folder import PolicyFolder
from extauthz.signed.head import Head, sign
from extauthz.signed.http_source import HttpPolicies
from extauthz.signed.policy_cache import PolicyCache
from extauthz.signed.server_address import ServerAddress
from extauthz.signed.signing import Signed, anew, following_head, whole_head
from extauthz.signed.signing_keys import pinned, signer
from extauthz.storage.feed import RowChange, TenantChange, TenantDocuments
from extauthz.storage.rows import Document
from extauthz.telemetry.counts import Counts, HeadRejection
from tests.builders import Answer, check_request, read_answer
from tests.integration.storage_documents import resource, role_rule, route
from tests.real_service import FixedKeys

EPOCH = "5b0a3c4e-0000-4000-8000-000000000001"
PUBLIC = "/public/17"


def readable() -> tuple[Document, Document]:
    """Return a resource with a route that needs no credential, and the rule that allows reading it."""
    where = route("/public/{it}", authentication="optional")
    return resource(name="public:read", routes=[where]), role_rule(sub="anonymous", obj="public:read")


@dataclass
class SignedTenant:
    """What the database would have of a tenant, signed into a folder at each step."""

    folder: PolicyFolder
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    tenant: str = DEFAULT_TENANT
    epoch: str = EPOCH
    config: TenantConfig = field(default_factory=TenantConfig)
    resources: list[Document] = field(default_factory=list)
    role_rules: list[Document] = field(default_factory=list)
    revision: int = 1
    head: Head | None = None
    history: str = field(default_factory=lambda: str(uuid.uuid4()))

    def whole(self) -> Head:
        """Sign everything as a whole."""
        rows = list(self.resources), list(self.role_rules)
        documents = TenantDocuments(self.tenant, "active", self.revision, *rows, [], [], self.config)
        return self.written(whole_head(self.head, self.epoch, self.history, documents, time.time()))

    def changed(self, *rows: RowChange) -> Head:
        """Sign one change."""
        assert self.head is not None
        change = TenantChange(self.tenant, self.revision + 1, self.revision, rows)
        found = following_head(self.head, [change], self.config, time.time())
        assert found is not None
        self.revision += 1
        for row in rows:
            table = self.resources if row.kind == "resource" else self.role_rules
            table[:] = [each for each in table if each["id"] != row.id]
            if row.row is not None:
                table.append(row.row)
        return self.written(found)

    def removed(self) -> Head:
        """Sign the removal of the first rule."""
        return self.changed(RowChange("role_rule", str(self.role_rules[0]["id"]), None))

    def renewed(self) -> Head:
        """Sign the same policies for this moment."""
        assert self.head is not None
        return self.written(Signed(anew(self.head, time.time()), {}))

    def written(self, found: Signed) -> Head:
        """Write a head and its bodies."""
        self.head = found.head
        self.folder.write(found.head, self.envelope(), found.bodies)
        return found.head

    def envelope(self, key: Ed25519PrivateKey | None = None, **members: object) -> bytes:
        """Return the head with other members, signed by another key."""
        assert self.head is not None
        return sign(replace(self.head, **members), signer(key or self.key))  # type: ignore[arg-type]


def signed_tenant(folder: Path) -> SignedTenant:
    """Sign a tenant with one public resource."""
    tenant = SignedTenant(PolicyFolder(folder, DEFAULT_TENANT))
    public, rule = readable()
    tenant.resources.append(public)
    tenant.role_rules.append(rule)
    tenant.whole()
    return tenant


@dataclass
class Sidecar:
    """A publisher that follows, and the service that decides on what it took."""

    publisher: SignedPublisher
    current: CurrentPolicies
    service: CheckService
    refusals: list[HeadRejection]

    def check(self, path: str = PUBLIC) -> Answer:
        """Ask as Envoy does."""
        return read_answer(self.service.answer(check_request(path), 1.0))

    def allowed(self) -> bool:
        """Whether the public resource may be read now."""
        return self.check().allowed


@contextmanager
def following(
    url: str,
    keys: Sequence[Ed25519PrivateKey],
    folder: Path,
    *,
    max_staleness: float | None = 900.0,
    max_bytes: int = 2**28,
    cache: Path | None = None,
) -> Iterator[Sidecar]:
    """Follow a server, in a thread of its own, until the end of the block."""
    current = CurrentPolicies()
    refusals: list[HeadRejection] = []
    publisher = SignedPublisher(
        HttpPolicies(ServerAddress(url), DEFAULT_TENANT),
        pinned([key.public_key().public_bytes_raw() for key in keys]),
        current,
        Compiler(Reading(), RoleModel()),
        tenant=DEFAULT_TENANT,
        mode=TenancyMode.SELFHOST,
        max_staleness=max_staleness,
        max_bytes=max_bytes,
        poll_interval=0.05,
        on_refusal=refusals.append,
        cache=None if cache is None else PolicyCache(cache, DEFAULT_TENANT),
    )
    publisher.load_first()
    log = DecisionLog(str(folder / "decisions.jsonl"), worker=0, instance=uuid.uuid4())
    log.start()
    service = CheckService(
        policies=current,
        keys=FixedKeys(KeyRing.of([])),
        policy=CheckPolicy(token=TokenPolicy(oidc_enabled=False), max_staleness=max_staleness),
        recorder=Recorder(log, Counts(str(uuid.uuid4())), random_bytes=os.urandom),
    )
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(publisher.run())
        thread = threading.Thread(
            target=lambda: runner.run(asyncio.wait([task])), name="follower", daemon=True
        )
        thread.start()
        try:
            yield Sidecar(publisher, current, service, refusals)
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join(10)
            log.close(5.0)
    assert not thread.is_alive()
    assert task.cancelled(), "the publisher ended by itself"
