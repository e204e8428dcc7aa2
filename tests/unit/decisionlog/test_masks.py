"""Masks: what a masked field holds, what else of the line repeats it, and that no value is left anywhere."""

import dataclasses
import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

import pytest

from extauthz.decisionlog.lines import LineForm, Lines
from extauthz.decisionlog.masks import Masks
from extauthz.decisionlog.schema import line_problems
from extauthz.domain.path import CanonicalPath
from extauthz.domain.reasons import Reason
from extauthz.domain.request import Malformed
from extauthz.domain.verdict import Allowed, Denied
from extauthz.settings import Mask
from extauthz.settings.decision_log_values import MASKABLE
from tests.builders import DECISION_ID, McpBody, allowed

KEY = "k" * 32


def hashed(value: str, key: str = KEY) -> str:
    return "hmac:" + hmac.new(key.encode(), value.encode(), hashlib.sha256).hexdigest()


def line_of(verdict: Any, key: str = KEY, **masks: Mask) -> dict[str, Any]:
    masked = Masks(masks, key)
    line: dict[str, Any] = json.loads(
        Lines(uuid.uuid4(), 0, LineForm(masked)).decision((verdict, 1.0, "grpc", 33))
    )
    assert line_problems(line) == []
    return line


def asking(
    *,
    subject: str = "alice",
    path: str = "/orders/17",
    resource: str = "shop:orders",
    attributes: Mapping[str, object] = MappingProxyType({}),
    roles: tuple[str, ...] = ("finance",),
    **request: Any,
) -> Allowed:
    base = allowed()
    parsed = CanonicalPath.parse(path)
    assert isinstance(parsed, CanonicalPath)
    return base._replace(
        principal=dataclasses.replace(base.principal, id=subject, roles=roles),
        roles=roles,
        target=base.target._replace(resource=resource),
        request=base.request._replace(path=parsed, **request),
        attributes_used=attributes,
    )


def test_a_hash_is_the_hmac_of_the_value_and_joins_lines_and_fields() -> None:
    first = line_of(asking(subject="alice"), subject=Mask.HASH)
    second = line_of(asking(subject="alice", path="/other"), subject=Mask.HASH, source_principal=Mask.HASH)
    assert first["subject"] == second["subject"] == hashed("alice")
    assert line_of(asking(subject="bob"), subject=Mask.HASH)["subject"] == hashed("bob")
    assert first["masked"] == ["subject"]


def test_another_key_gives_another_hash() -> None:
    other = line_of(asking(), "z" * 100, subject=Mask.HASH)["subject"]
    assert other == hashed("alice", "z" * 100) != hashed("alice")


def test_dropped_values_are_null_or_empty_and_named() -> None:
    line = line_of(asking(), subject=Mask.DROP, roles=Mask.DROP, token_roles=Mask.DROP, host=Mask.DROP)
    assert (line["subject"], line["roles"], line["token_roles"], line["host"]) == (None, [], [], None)
    assert sorted(line["masked"]) == ["host", "roles", "subject", "token_roles"]


def test_each_role_of_a_list_is_hashed() -> None:
    for name in ("roles", "token_roles"):
        line = line_of(asking(roles=("a", "b")), **{name: Mask.HASH})
        assert line["roles"] == line["token_roles"] == [hashed("a"), hashed("b")]
    line = line_of(asking(roles=("a", "b")), roles=Mask.DROP, token_roles=Mask.HASH)
    assert (line["roles"], line["token_roles"]) == ([], [hashed("a"), hashed("b")])


@pytest.mark.parametrize("mask", Mask)
def test_a_masked_peer_is_masked_where_it_is_the_subject(mask: Mask) -> None:
    spiffe = "spiffe://mesh.example/ns/shop/sa/orders"
    line = line_of(asking(subject=spiffe, source_principal=spiffe), source_principal=mask)
    assert spiffe not in json.dumps(line)
    assert line["subject"] == line["source_principal"] == (hashed(spiffe) if mask is Mask.HASH else None)
    other = line_of(asking(subject="alice", source_principal=spiffe), source_principal=mask)
    assert (other["subject"], other["masked"]) == ("alice", ["source_principal"])


def test_without_masks_and_without_values_nothing_is_named() -> None:
    assert json.loads(Lines(uuid.uuid4(), 0).decision((allowed(), 1.0, "grpc", 3)))["masked"] == []
    denied = Denied(DECISION_ID, Reason.TOKEN_MISSING)
    everything = dict.fromkeys(MASKABLE, Mask.HASH)
    assert line_of(denied, **everything)["masked"] == []


@pytest.mark.parametrize(
    ("subject", "path", "shown"),
    [
        ("alice", "/users/alice/orders", "/users/{}/orders"),
        ("alice", "/users/Alice/orders", "/users/{}/orders"),
        ("alice", "/users/alice.json", "/users/{}"),
        ("alice", "/users/~alice", "/users/{}"),
        ("a@x.org", "/mail/a%40x.org", "/mail/{}"),
        ("a@x.org", "/mail/a@x.org", "/mail/{}"),
        ("alice@example.com", "/mail/to-alice@example.com.eml", "/mail/{}"),
        ("019ab1a8-7afb-7cd9-9139-63808e15452c", "/u/x019AB1A8-7afb-7cd9-9139-63808e15452c", "/u/{}"),
    ],
)
def test_a_masked_subject_is_masked_in_the_path(subject: str, path: str, shown: str) -> None:
    for mask in Mask:
        line = line_of(asking(subject=subject, path=path), subject=mask)
        found = line["path"]
        start = shown.index("{}")
        end = len(shown) - start - 2
        segment = found[start : len(found) - end if end else None]
        assert shown.format(segment) == found
        assert segment.startswith("hmac:") if mask is Mask.HASH else segment == "***"
        assert sorted(line["masked"]) == ["path", "subject"]
        assert subject.lower() not in json.dumps(line).lower()


def test_a_segment_that_is_the_subject_joins_with_it() -> None:
    line = line_of(asking(subject="a@x.org", path="/mail/a%40x.org"), subject=Mask.HASH)
    assert line["path"] == f"/mail/{line['subject']}"


def test_a_short_subject_within_a_word_is_not_found_there() -> None:
    line = line_of(asking(subject="1", path="/orders/117"), subject=Mask.HASH)
    assert (line["path"], line["masked"]) == ("/orders/117", ["subject"])


def test_a_masked_subject_is_masked_in_every_other_field_that_repeats_it() -> None:
    spiffe = "spiffe://mesh.example/ns/shop/sa/orders"
    verdict = asking(
        subject=spiffe,
        resource=f"own:{spiffe}",
        roles=("finance", f"of:{spiffe}"),
        attributes={"resource.parameters.owner": spiffe, "resource.size": 3, "user.id": None},
        source_principal=spiffe,
        host=f"{spiffe}.example",
    )
    for mask in Mask:
        line = line_of(verdict, subject=mask)
        assert spiffe not in json.dumps(line)
        assert set(line["masked"]) == {
            "subject", "source_principal", "resource", "roles", "token_roles", "host", "attributes_used",
        }  # fmt: skip
        assert line["attributes_used"]["resource.size"] == 3
        assert line["attributes_used"].keys() == verdict.attributes_used.keys()


def test_a_masked_path_masks_its_parameters_and_the_resource_that_is_the_path() -> None:
    used = {"resource.parameters.account": "4711", "action": "read", "user.id": None}
    verdict = asking(path="/accounts/4711", resource="/accounts/4711", attributes=used)
    for mask in Mask:
        line = line_of(verdict, path=mask)
        assert "4711" not in json.dumps(line)
        assert line["resource"] == line["path"]
        assert set(line["masked"]) == {"path", "resource", "attributes_used"}
    assert line_of(verdict, path=Mask.HASH)["path"] == "/" + hashed("/accounts/4711")
    assert line_of(asking(path="/a/4711"), path=Mask.HASH)["resource"] == "shop:orders"


def test_a_masked_path_masks_a_path_that_was_refused() -> None:
    verdict = Denied(
        DECISION_ID,
        Reason.PATH_AMBIGUOUS,
        Malformed(Reason.PATH_AMBIGUOUS, "dot_segment", method="GET", path_raw="/u/alice/.."),
    )
    line = line_of(verdict, path=Mask.HASH)
    assert (line["path_raw"], line["masked"]) == (hashed("/u/alice/.."), ["path_raw"])


def test_a_masked_resource_or_action_is_masked_in_the_attributes() -> None:
    used = {"resource.name": "shop:orders", "resource.size": 3, "action": "read", "user.id": None}
    line = line_of(asking(attributes=used), resource=Mask.HASH, action=Mask.DROP)
    assert line["attributes_used"] == {
        "resource.name": hashed("shop:orders"), "resource.size": 3, "action": None, "user.id": None,
    }  # fmt: skip
    assert set(line["masked"]) == {"resource", "action", "attributes_used"}
    by_path = line_of(asking(path="/a/b", resource="/a/b"), resource=Mask.HASH)
    assert by_path["path"] == by_path["resource"] == "/" + hashed("/a/b")


def test_every_field_that_can_be_masked_is_masked() -> None:
    verdict = asking(
        attributes={"resource.a": "secret-a", "action": "secret-b"},
        source_principal="spiffe://x/secret",
        request_id="secret-request",
        trace_id="secret-trace",
    )
    bare = line_of(verdict)
    for name in MASKABLE:
        if bare.get(name):
            for mask in Mask:
                line = line_of(verdict, **{name: mask})
                assert name in line["masked"]
                assert line[name] != bare[name]


@pytest.mark.parametrize("value", [2**70, "lone \udcff", {"b": (1, "alice")}, ["x", 1.5], float("nan"), True])
def test_values_of_every_kind_are_masked(value: object) -> None:
    line = line_of(asking(attributes={"resource.a": value}), attributes_used=Mask.HASH)
    assert line["attributes_used"]["resource.a"].startswith("hmac:")
    assert line_of(asking(attributes={"resource.a": value}), attributes_used=Mask.DROP)[
        "attributes_used"
    ] == {"resource.a": None}
    line_of(asking(attributes={"resource.a": value}), subject=Mask.HASH)


@pytest.mark.parametrize("mask", Mask)
def test_the_name_of_a_message_is_masked_by_itself_by_the_path_and_by_the_subject(mask: Mask) -> None:
    def calling(name: str) -> Allowed:
        verdict = asking(subject="alice")
        return verdict._replace(request=verdict.request._replace(body=McpBody("resources/read", name)))

    assert "read-mail" not in json.dumps(line_of(calling("read-mail"), mcp_name=mask))
    by_path = line_of(calling("file:///home/bob"), path=mask)
    assert "bob" not in json.dumps(by_path)
    assert "mcp_name" in by_path["masked"]
    assert line_of(calling("read-mail"), path=mask)["mcp_name"] == "read-mail"
    by_subject = line_of(calling("mail://alice/inbox"), subject=mask)
    assert "alice" not in json.dumps(by_subject)
    assert set(by_subject["masked"]) == {"subject", "mcp_name"}


@pytest.mark.parametrize("mask", Mask)
@pytest.mark.parametrize(
    ("subject", "asked"),
    [
        ("Alice", {"host": "alice.users.example"}),
        ("Alice-Smith-01", {"host": "alice-smith-01.users.example"}),
        ("Alice@Example.com", {"resource": "mailbox:alice@example.com"}),
        ("alice@example.com", {"resource": "mailbox:ALICE@EXAMPLE.COM"}),
        ("Alice@Example.com", {"roles": ("owner:alice@example.com", "viewer")}),
        ("Alice@Example.com", {"attributes": {"resource.owner": "alice@example.com"}}),
        ("JÖRG", {"attributes": {"resource.owner": "jörg"}}),
        ("Accounts", {"source_principal": "spiffe://mesh/ns/a/sa/accounts"}),
        ("a@b.example", {"attributes": {"resource.owner": "a%40b.example"}}),
        ("a@b.example", {"resource": "u:a%40b.example"}),
        ("alice", {"attributes": {"resource.owners": ["bob", "alice"]}}),
        ("alice", {"attributes": {"resource.owner": {"id": "alice"}}}),
        ("alice", {"resource": "box[alice]"}),
        ("team/al", {"path": "/u/team/al/x"}),
        ("team/alice-01", {"path": "/u/team/Alice-01"}),
        ('a"b', {"resource": 'o:A"b'}),
    ],
)
def test_a_masked_subject_is_nowhere_in_another_spelling(
    subject: str, asked: dict[str, Any], mask: Mask
) -> None:
    line = line_of(asking(subject=subject, **asked), subject=mask)
    shown = [unquote(each).casefold() for each in texts_of(line)]
    assert [each for each in shown if subject.casefold() in each] == []
    assert len(line["masked"]) > 1


def texts_of(value: object) -> list[str]:
    """Return every text of a JSON value."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in texts_of(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts_of(each)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("path", ["/x/xteam/al", "/team/alx", "/team/x/al"])
def test_a_subject_of_several_segments_is_found_as_whole_segments(path: str) -> None:
    assert line_of(asking(subject="team/al", path=path), subject=Mask.DROP)["path"] == path
