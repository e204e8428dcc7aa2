"""A sidecar with signed policies of 100,000 rules: its start from the cache alone, and what verifying costs.

Real parts: `extauthz sidecar` as a process, policies signed into files, a server of static files, which is
stopped before the measured starts; nothing else runs. A start ends with the first allow of a request that the
policies alone allow. Goal: at most 3 s.

Verifying a change (the signature of the head, the digest of the body, its form) is measured in this process,
against applying the same change to the compiled policies. Goal: at most 1 ms more than applying it alone.
"""

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from extauthz.compile.documents.policy_documents import Reading
from extauthz.compile.roles.role_model import RoleModel
from extauthz.domain.tenancy import DEFAULT_TENANT
from extauthz.domain.tenant_config import TenantConfig
from extauthz.publish.tenant import Compiler, TenantPolicies
from extauthz.settings import public_key_text
from extauthz.signed.bodies import check_digest, packed, read_change, read_whole, unpacked, whole_document
from extauthz.signed.head import MAX_CHANGES, Head, verify
from extauthz.signed.signing_keys import pinned
from extauthz.storage.feed import RowChange, TenantDocuments
from extauthz.storage.rows import Document
from tests.benchmarks.measuring import MachineLoad, cpu_us, keep, quiet_us
from tests.integration.serving import serving
from tests.integration.signed_server import signed_server
from tests.integration.signed_tenant import SignedTenant, signed_tenant
from tests.integration.storage_documents import role_rule
from tests.waiting import await_true

RULES: Final = 100_000
STARTS: Final = 5


def signed_rules(folder: Path) -> SignedTenant:
    """Sign a public resource and many rules of other resources."""
    tenant = signed_tenant(folder)
    tenant.role_rules += rules(RULES)
    tenant.whole()
    return tenant


def starts(folder: Path) -> tuple[list[tuple[float, float]], SignedTenant]:
    """Return the seconds of each start from the cache, by the clock and of CPU, and the tenant."""
    signed, own = folder / "signed", folder / "sidecar"
    signed.mkdir()
    own.mkdir()
    tenant = signed_rules(signed)
    found: list[tuple[float, float]] = []
    with serving(
        own,
        {},
        workers=1,
        POLICY_CACHE_DIR=str(folder / "cache"),
        POLICY_PUBLIC_KEYS=public_key_text(tenant.key.public_key().public_bytes_raw()),
    ) as sidecar:
        with signed_server(signed) as server:
            sidecar.environ["POLICY_SOURCE"] = server.url
            sidecar.start("sidecar")
            await_true(sidecar.allowed, what="the first decision")
            await_true(lambda: list((folder / "cache").rglob("head.json")), what="the cache")
        for _ in range(STARTS):
            sidecar.process.stop()
            began = time.perf_counter()
            sidecar.start("sidecar", ready=False)
            await_true(sidecar.allowed, within=60, what="the first decision")
            seconds = time.perf_counter() - began
            found.append((seconds, cpu_us(sidecar.process.family()) / 1e6))
    return found, tenant


def verifying(tenant: SignedTenant) -> Mapping[str, object]:
    """Return the microseconds of CPU of a change: verifying it, after few and after many, and applying it."""
    keys = pinned([tenant.key.public_key().public_bytes_raw()])
    compiler = Compiler(Reading(), RoleModel())
    assert tenant.head is not None
    octets = tenant.folder.body(tenant.head.whole)
    assert octets is not None
    whole = unpacked(tenant.head.whole, octets)
    documents = read_whole(whole, DEFAULT_TENANT, tenant.head.whole_revision, TenantConfig())
    state = compiler.salvage(documents, None)
    assert isinstance(state, TenantPolicies)
    changed = dict(tenant.role_rules[-1], act="write")

    def verification(head: Head) -> float:
        envelope, change = tenant.envelope(), head.changes[-1]
        body = tenant.folder.body(change.body)
        assert body is not None

        def work() -> int:
            for _ in range(10):
                verify(envelope, keys, DEFAULT_TENANT, now=time.time(), max_age_s=900.0)
                check_digest(change.body, body)
                document = unpacked(change.body, body)
                assert read_change(document, DEFAULT_TENANT, change.predecessor, change.revision)
            return 10

        return quiet_us(work, windows=20)

    one = verification(tenant.changed(RowChange("role_rule", str(changed["id"]), changed)))
    head = tenant.head
    while len(head.changes) < MAX_CHANGES:
        head = tenant.changed(RowChange("role_rule", str(changed["id"]), changed))
    many = verification(head)
    rows = (RowChange("role_rule", str(changed["id"]), changed),)

    def applying() -> int:
        for _ in range(10):
            assert isinstance(compiler.apply(state, state.snapshot.revision + 1, rows), TenantPolicies)
        return 10

    return {
        "verify_us": one,
        f"verify_with_{MAX_CHANGES}_changes_us": many,
        "apply_us": quiet_us(applying, windows=20),
    }


def packing() -> list[Mapping[str, object]]:
    """Return what the whole policies weigh, and the CPU of packing them."""
    found: list[Mapping[str, object]] = []
    for count in (1_000, 10_000, RULES):
        documents = TenantDocuments(DEFAULT_TENANT, "active", 1, [], rules(count), [], [], TenantConfig())
        document = whole_document(documents)
        began = time.process_time()
        body, _ = packed(document)
        taken = time.process_time() - began
        found.append({"rules": count, "kib": round(body.size / 1024), "cpu_s": round(taken, 3)})
    return found


def rules(count: int) -> list[Document]:
    return [
        role_rule(sub=f"role-{n % 997}", obj=f"service-{n // 50}:read", dom=f"domain-{n % 7}")
        for n in range(count)
    ]


def main() -> None:
    machine = MachineLoad()
    with tempfile.TemporaryDirectory() as folder:
        found, tenant = starts(Path(folder))
        numbers = {
            "rules": RULES,
            "start_s": [round(each, 2) for each, _ in found],
            "start_median_s": round(statistics.median(each for each, _ in found), 2),
            "start_cpu_s": [round(cpu, 2) for _, cpu in found],
            **verifying(tenant),
            "head_bytes": len(tenant.envelope()),
            "whole": packing(),
        }
    keep("cached_start", numbers, machine.document())


if __name__ == "__main__":
    main()
