"""The same policies have the same digest, by whatever way a process came to them."""

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from extauthz.compile.snapshot import Snapshot
from extauthz.publish.files import PolicyDirectory
from extauthz.publish.tenant import TenantPolicies
from extauthz.publish.write_validation import PolicyGate
from extauthz.signed.bodies import packed, read_whole, unpacked, whole_document
from extauthz.storage import feed, revisions
from extauthz.storage.pool import tenant_transaction
from tests.integration.publishing import compiler, following, stored
from tests.integration.rest_harness import READING
from tests.integration.storage_documents import everything, pool_of, reader_of, succeed
from tests.integration.test_storage_history import Writer
from tests.shipped_model import MODEL

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]


def from_files(folder: Path, documents: feed.TenantDocuments) -> Snapshot:
    """Write the policies into a folder, split and in another order, and load it."""
    order = random.Random(5)
    for name in ("resources", "role_rules", "role_bindings", "attribute_policies"):
        rows = [dict(row) for row in getattr(documents, name)]
        order.shuffle(rows)
        for row in rows if name == "resources" else ():
            del row["id"]
        (folder / f"{name}.json").write_text(json.dumps({name: rows}, default=float))
    loaded = PolicyDirectory(folder, READING, MODEL).load(1)
    assert isinstance(loaded, Snapshot), loaded
    return loaded


@pytest.mark.parametrize("seed", [11, 12])
async def test_every_source_of_policies_has_the_same_digest(
    database: "Database", tmp_path: Path, seed: int
) -> None:
    writer = Writer(seed)
    async with (
        pool_of(database.address, "default") as pool,
        following(database.address) as follower,
        reader_of(database.address) as reader,
    ):
        gate = PolicyGate(compiler(), follower.publisher.state)
        revision = 0
        for _ in range(40):
            revision = (await succeed(pool, writer.write, validate=gate.validate)).revision
        await follower.reaches(revision)
        whole = await stored(database.address)
        documents = await everything(reader)
        async with tenant_transaction(pool, "default") as connection:
            kept = await revisions.in_force(connection, "default", revision)
    assert kept is not None
    body = read_whole(
        unpacked(*packed(whole_document(documents))), "default", documents.revision, documents.config
    )
    signed = compiler().load(body)
    assert isinstance(signed, TenantPolicies)
    digests = {
        "followed": follower.snapshot.policy_digest.text,
        "whole": whole.policy_digest.text,
        "signed": signed.snapshot.policy_digest.text,
        "files": from_files(tmp_path, documents).policy_digest.text,
        "stored with the revision": kept.digest,
        "counted": whole.digest(),
    }
    assert set(digests.values()) == {whole.digest()}, digests
