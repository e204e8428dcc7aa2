"""What the REST API shows can be put into files: each noun, as it stands."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.compile.documents.policy_documents import Reading
from extauthz.folders.cases import check_cases, run_cases
from extauthz.folders.reading import read_folder
from extauthz.publish.files import PolicyDirectory
from tests.integration.draft_requests import BINDINGS, POLICIES, RESOURCES, RULES
from tests.integration.rest_harness import rest
from tests.integration.test_rest_policy_tests import TESTS
from tests.shipped_model import MODEL

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
RESOURCE: dict[str, Any] = {
    "name": "invoice:read",
    "serviceName": "billing",
    "defaultRoles": ["finance"],
    "public": True,
    # A parameter that conditions reach by its long form alone: the answer has a warning.
    "routes": [{"methods": ["GET"], "path": "/invoices/{name}"}],
}
RULE = {"sub": "clerk", "dom": "*", "obj": "invoice:read", "act": "read", "effect": "deny"}
BINDING = {
    "user": "alice",
    "user_kind": "user",
    "role": "finance",
    "dom": "*",
    "expires_at": "2099-01-01T00:00:00Z",
}
POLICY: dict[str, Any] = {
    "name": "no low levels",
    "resource": "invoice:read",
    "effect": "deny",
    "rule_data": {"type": "CONDITION", "attribute": "user.level", "operator": "lt", "value": 0.5},
}
CASE: dict[str, Any] = {
    "name": "a clerk does not",
    "principal": {"id": "bob", "roles": ["clerk"]},
    "request": {"path": "/invoices/7"},
    "expect": {"decision": "deny"},
}


async def test_answers_of_get_are_documents_of_files(database: "Database", tmp_path: Path) -> None:
    shown: dict[str, Any] = {}
    async with rest(database) as api:
        for table, path, document in (
            ("resources", RESOURCES, RESOURCE),
            ("role_rules", RULES, RULE),
            ("role_bindings", BINDINGS, BINDING),
            ("attribute_policies", POLICIES, POLICY),
            ("cases", TESTS, CASE),
        ):
            made = await api.post(path, document)
            assert made.status in {200, 201}, made.body
            listed = (await api.get(path)).body["items"]
            one = (await api.get(f"{path}/{made.body['id']}")).body
            assert one in listed
            shown[table] = listed
        # The answer to a write has warnings, too.
        shown["resources"] = [(await api.patch(f"{RESOURCES}/{one_id(shown)}", {"displayName": "x"})).body]
    assert shown["resources"][0]["warnings"]
    for table, documents in shown.items():
        (tmp_path / f"{table}.json").write_text(json.dumps({table: documents}))
    folder = read_folder(tmp_path, Reading(), MODEL)
    check_cases(folder, MODEL)
    assert [str(each) for each in folder.problems] == []
    assert [each.result.differences for each in run_cases(folder, MODEL)] == [()]
    assert not isinstance(PolicyDirectory(tmp_path, Reading(), MODEL).load(1), list)


def one_id(shown: dict[str, Any]) -> str:
    return str(shown["resources"][0]["id"])
