"""Following signed policies over HTTP: a real server that is honest, or tampers in every way."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from extauthz.domain.service_key import IdentityKey
from extauthz.domain.tenant_config import TenantConfig
from extauthz.signed.head import Head
from extauthz.storage.feed import RowChange
from tests.integration.signed_server import SignedServer, honest, never_ending, send, signed_server
from tests.integration.signed_tampering import TAMPERED_BODIES, TAMPERED_HEADS, head_of
from tests.integration.signed_tenant import Sidecar, SignedTenant, following, readable, signed_tenant
from tests.integration.storage_documents import resource
from tests.waiting import await_true

WITHIN_S = 10.0


@dataclass
class Stage:
    """A tenant that signs, the server of its files, and a sidecar that follows."""

    tenant: SignedTenant
    server: SignedServer
    sidecar: Sidecar

    def at(self, head: Head) -> None:
        """Wait until the sidecar has the revision of a head."""

        def reached() -> bool:
            directory = self.sidecar.current.current()
            return directory is not None and directory.snapshots["default"].revision == head.revision

        await_true(reached, within=WITHIN_S, what=f"revision {head.revision}")

    def refused(self, reason: str) -> None:
        """Wait until a head is refused for a reason."""
        await_true(lambda: reason in self.sidecar.refusals, within=WITHIN_S, what=f"the refusal {reason}")


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[tuple[SignedTenant, SignedServer, ExitStack, Path]]:
    folder = tmp_path / "signed"
    folder.mkdir()
    with ExitStack() as owned:
        server = owned.enter_context(signed_server(folder))
        tenant = signed_tenant(folder)
        yield tenant, server, owned, tmp_path


@pytest.fixture
def stage(parts: tuple[SignedTenant, SignedServer, ExitStack, Path]) -> Stage:
    tenant, server, owned, folder = parts
    sidecar = owned.enter_context(following(server.url, [tenant.key], folder))
    found = Stage(tenant, server, sidecar)
    assert tenant.head is not None
    found.at(tenant.head)
    return found


def test_a_change_is_followed_by_its_body_alone(stage: Stage) -> None:
    assert stage.sidecar.allowed()
    whole = len(stage.server.asked)
    stage.at(stage.tenant.removed())
    assert not stage.sidecar.allowed()
    read = [path for path in stage.server.asked[whole:] if path.endswith(".json.gz")]
    assert stage.tenant.head is not None
    assert [path.rpartition("/")[2].partition(".")[0] for path in read] == [
        change.body.sha256 for change in stage.tenant.head.changes
    ]


def test_a_sidecar_that_starts_late_reads_the_whole_and_each_change(
    parts: tuple[SignedTenant, SignedServer, ExitStack, Path],
) -> None:
    tenant, server, owned, folder = parts
    tenant.removed()
    public, rule = readable()
    head = tenant.changed(
        RowChange("role_rule", str(rule["id"]), rule),
        RowChange("resource", str(public["id"]), resource(name="other")),
    )
    sidecar = owned.enter_context(following(server.url, [tenant.key], folder))
    stage = Stage(tenant, server, sidecar)
    stage.at(head)
    assert stage.sidecar.allowed()


def test_the_same_policies_signed_again_are_confirmed_and_read_no_body(stage: Stage) -> None:
    directory = stage.sidecar.current.current()
    assert directory is not None
    before = len([path for path in stage.server.asked if path.endswith(".json.gz")])
    head = stage.tenant.renewed()

    def confirmed() -> bool:
        now = stage.sidecar.current.current()
        return now is not None and now.confirmed_at == head.signed_at / 1000

    await_true(confirmed, within=WITHIN_S, what="the confirmation")
    assert len([path for path in stage.server.asked if path.endswith(".json.gz")]) == before
    assert directory.snapshots == stage.sidecar.current.current().snapshots  # type: ignore[union-attr]


def test_a_question_that_had_no_news_is_not_asked_again_in_the_same_words(stage: Stage) -> None:
    for sign in (stage.tenant.renewed, stage.tenant.removed):
        prefix = f"after={sign().serial}&wait="

        def waits(prefix: str = prefix) -> list[str]:
            return [path.partition(prefix)[2] for path in stage.server.asked if prefix in path][:4]

        await_true(lambda waits=waits: len(waits()) == 4, within=WITHIN_S, what="four questions")  # type: ignore[misc]
        # A cache in between may have kept the answer for a moment.
        assert waits() == ["25", "24", "25", "24"]


def test_a_restore_to_an_earlier_revision_is_taken_because_its_serial_is_larger(stage: Stage) -> None:
    stage.at(stage.tenant.removed())
    public, rule = readable()
    stage.tenant.resources[:], stage.tenant.role_rules[:] = [public], [rule]
    stage.tenant.revision, stage.tenant.epoch = 1, "5b0a3c4e-0000-4000-8000-000000000002"
    stage.at(stage.tenant.whole())
    assert stage.sidecar.allowed()


def test_rows_that_were_put_back_under_the_same_revisions_are_read_whole(stage: Stage) -> None:
    # The database went from 1 to 2, back to 1, and on to 2 with other content, all between two questions.
    stage.at(stage.tenant.removed())
    public, rule = readable()
    stage.tenant.resources[:], stage.tenant.role_rules[:] = [public], [rule]
    stage.tenant.revision, stage.tenant.history = 1, "another"
    first = stage.tenant.whole()
    stage.server.head = lambda request, _: send(request, b"", 503)
    stage.tenant.changed(RowChange("resource", "x", resource(name="x")))
    assert first.revision == 1
    stage.server.head = honest
    await_true(stage.sidecar.allowed, within=WITHIN_S, what="the rows that were put back")


def test_configuration_is_followed_apart_from_policies(stage: Stage) -> None:
    key = IdentityKey("sak_01890a5d-ac96-774b-bcce-b302099a8057", "default", bytes(32), "eu", None)
    stage.tenant.config = TenantConfig(hosts=("shop.example",), identity_keys=(key,))
    stage.at(stage.tenant.changed())
    directory = stage.sidecar.current.current()
    assert directory is not None
    assert directory.hosts == {"shop.example": "default"}
    assert directory.service_keys == {key.id: key}
    stage.tenant.config = TenantConfig(suspended=True)
    stage.at(stage.tenant.changed())
    assert stage.sidecar.check().metadata["reason"] == "tenant_suspended"


def test_a_new_whole_of_the_same_revision_is_not_read_by_a_sidecar_that_has_it(stage: Stage) -> None:
    stage.at(stage.tenant.changed(RowChange("resource", "x", resource(name="x"))))
    whole = stage.tenant.whole()
    stage.at(stage.tenant.removed())
    assert not stage.sidecar.allowed()
    assert not any(whole.whole.sha256 in path for path in stage.server.asked)


@pytest.mark.parametrize("name", TAMPERED_HEADS)
def test_a_tampered_head_is_refused_and_the_last_good_policies_decide(stage: Stage, name: str) -> None:
    tampered, reason = TAMPERED_HEADS[name]
    stage.server.head = tampered(stage.tenant)
    stage.refused(reason)
    assert stage.sidecar.allowed()
    assert set(stage.sidecar.refusals) == {reason}
    assert stage.sidecar.publisher.problems["default"]
    stage.server.head = honest
    stage.at(stage.tenant.removed())
    assert not stage.sidecar.allowed()
    await_true(lambda: not stage.sidecar.publisher.problems, within=WITHIN_S, what="the end of the problem")


@pytest.mark.parametrize("name", [name for name, (_, reason) in TAMPERED_HEADS.items() if reason != "serial"])
def test_a_sidecar_that_starts_with_a_tampered_head_denies(
    parts: tuple[SignedTenant, SignedServer, ExitStack, Path], name: str
) -> None:
    tenant, server, owned, folder = parts
    tampered, reason = TAMPERED_HEADS[name]
    server.head = tampered(tenant)
    stage = Stage(tenant, server, owned.enter_context(following(server.url, [tenant.key], folder)))
    stage.refused(reason)
    answer = stage.sidecar.check()
    assert not answer.allowed
    assert answer.metadata["reason"] == "not_ready"


@pytest.mark.parametrize("name", TAMPERED_BODIES)
def test_a_tampered_body_is_refused_and_the_last_good_policies_decide(stage: Stage, name: str) -> None:
    stage.server.body, reason = TAMPERED_BODIES[name]
    head = stage.tenant.removed()
    stage.refused(reason)
    assert stage.sidecar.allowed()
    stage.server.body = honest
    stage.at(head)
    assert not stage.sidecar.allowed()


def test_a_body_that_is_larger_than_policy_max_bytes_is_not_read(
    parts: tuple[SignedTenant, SignedServer, ExitStack, Path],
) -> None:
    tenant, server, owned, folder = parts
    sidecar = owned.enter_context(following(server.url, [tenant.key], folder, max_bytes=100))
    stage = Stage(tenant, server, sidecar)
    stage.refused("body")
    assert tenant.head is not None
    assert not any(tenant.head.whole.sha256 in path for path in server.asked)


@pytest.mark.parametrize("content_size", [1, 10**9])
def test_a_body_that_unpacks_to_another_size_is_refused(stage: Stage, content_size: int) -> None:
    assert stage.tenant.head is not None
    config = replace(stage.tenant.head.config, content_size=content_size)
    stage.server.head = head_of(stage.tenant, config=config)
    stage.refused("body")
    assert stage.sidecar.allowed()


def test_the_body_of_another_tenant_is_refused(stage: Stage, tmp_path: Path) -> None:
    # The control plane itself would have to sign it: a body says whose it is all the same.
    assert stage.tenant.head is not None
    other = replace(stage.tenant, tenant="another", head=None)
    foreign = other.whole()
    stage.tenant.head = replace(
        stage.tenant.head, whole=foreign.whole, changes=(), history="another", revision=1, whole_revision=1
    )
    stage.server.head = head_of(stage.tenant)
    stage.refused("body")
    assert stage.sidecar.allowed()


def test_policies_that_cannot_be_read_hold_up_no_suspension_and_no_revoked_key(stage: Stage) -> None:
    key = IdentityKey("sak_01890a5d-ac96-774b-bcce-b302099a8057", "default", bytes(32), "eu", None)
    stage.tenant.config = TenantConfig(identity_keys=(key,))
    head = stage.tenant.changed()
    stage.at(head)
    config = stage.tenant.head.config if stage.tenant.head else None

    def only_the_configuration(request: BaseHTTPRequestHandler, octets: bytes) -> None:
        assert stage.tenant.head is not None
        found = stage.tenant.head.config.sha256 in request.path
        send(request, octets if found else b"", 200 if found else 404)

    stage.server.body = only_the_configuration
    stage.tenant.config = TenantConfig(suspended=True)
    stage.tenant.removed()
    stage.refused("unreachable")
    assert config != stage.tenant.head.config  # type: ignore[union-attr]
    directory = stage.sidecar.current.current()
    assert directory is not None
    assert directory.service_keys == {}
    assert directory.snapshots["default"].revision == head.revision
    assert stage.sidecar.check().metadata["reason"] == "tenant_suspended"


def test_signed_rows_that_no_reader_expects_end_nothing(stage: Stage) -> None:
    row: dict[str, object] = {"id": "x", "routes": 7, "name": {"a": []}}
    stage.tenant.changed(RowChange("resource", "x", row))
    await_true(lambda: stage.sidecar.publisher.problems, within=WITHIN_S, what="the problem")
    assert stage.sidecar.allowed(), "other rows decide"


def test_a_head_that_never_ends_holds_up_no_decision(stage: Stage) -> None:
    asked = stage.server.heads()
    stage.server.head = never_ending(stage.server)
    await_true(lambda: stage.server.heads() > asked, within=WITHIN_S, what="the question")
    assert stage.sidecar.allowed()


def test_policies_grow_old_while_heads_do_not_come(
    parts: tuple[SignedTenant, SignedServer, ExitStack, Path],
) -> None:
    tenant, server, owned, folder = parts
    tenant.renewed()
    sidecar = owned.enter_context(following(server.url, [tenant.key], folder, max_staleness=1.0))
    await_true(sidecar.allowed, within=WITHIN_S, what="the first allow")
    # The server goes on to serve the same head: it was signed once, and does not pass for fresh.
    await_true(
        lambda: sidecar.check().metadata["reason"] == "policy_stale", within=WITHIN_S, what="old policies"
    )
    tenant.renewed()
    await_true(sidecar.allowed, within=WITHIN_S, what="the renewed head")


def test_either_of_two_pinned_keys_may_have_signed(
    parts: tuple[SignedTenant, SignedServer, ExitStack, Path],
) -> None:
    tenant, server, owned, folder = parts
    next_key = Ed25519PrivateKey.generate()
    sidecar = owned.enter_context(following(server.url, [next_key, tenant.key], folder))
    await_true(sidecar.allowed, within=WITHIN_S, what="the first allow")
    tenant.key = next_key
    stage = Stage(tenant, server, sidecar)
    stage.at(tenant.removed())
    assert not sidecar.refusals
