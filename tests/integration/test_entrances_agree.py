"""Every entrance decides alike: a check, both REST checks and `extauthz policy test`."""

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from extauthz.cases.decision_cases import CaseRunner
from extauthz.check.service import CheckService
from extauthz.decide.judge import CheckPolicy
from extauthz.domain.policy import default_action
from extauthz.domain.tenancy import UnmappedPolicy
from tests.builders import check_request, read_answer
from tests.integration.rest_harness import Api, rest
from tests.shipped_model import MODEL

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
ALWAYS = {"type": "ALWAYS"}
RESOURCES: list[dict[str, Any]] = [
    {"name": "doc:read", "serviceName": "docs", "routes": [{"methods": ["GET"], "path": "/docs/{doc}"}]},
    {"name": "/listed@home", "serviceName": "docs"},
    {
        "name": "/routed@home",
        "serviceName": "docs",
        "routes": [{"methods": ["GET"], "path": "/home", "action": "get"}],
    },
]
ROLE_RULES: list[dict[str, Any]] = [
    {"sub": "*", "dom": "*", "obj": "*", "act": "*", "effect": "allow"},
    {"sub": "*", "dom": "*", "obj": "/users/root%40bank", "act": "*", "effect": "deny"},
    {"sub": "*", "dom": "*", "obj": "/users/plain@bank", "act": "*", "effect": "deny"},
    {"sub": "*", "dom": "*", "obj": "/listed%40home", "act": "get", "effect": "deny"},
    {"sub": "*", "dom": "*", "obj": "/routed%40home", "act": "get", "effect": "deny"},
    {"sub": "*", "dom": "*", "obj": "/default%3Aname", "act": "access", "effect": "deny"},
    {"sub": "*", "dom": "d1", "obj": "/users/of-d1", "act": "*", "effect": "deny"},
]
ATTRIBUTE_POLICIES: list[dict[str, Any]] = [
    {"name": "a", "resource": "/vault%2B", "effect": "deny", "priority": 5, "rule_data": ALWAYS},
    {
        "name": "b",
        "resource": "/service",
        "effect": "deny",
        "priority": 5,
        "rule_data": {"type": "CONDITION", "attribute": "resource.service", "operator": "eq", "value": "x"},
    },
]


class Asked(NamedTuple):
    """A name that is a path or a registered resource, and the action."""

    resource: str
    action: str
    domain: str | None
    allowed: bool


QUESTIONS = [
    Asked("/users/root%40bank", "get", None, allowed=False),
    Asked("/users/root@bank", "get", None, allowed=False),
    Asked("/users/plain%40bank", "get", None, allowed=False),
    Asked("/users/plain@bank", "get", None, allowed=False),
    Asked("/users/other@bank", "get", None, allowed=True),
    Asked("/users/other%40bank", "get", None, allowed=True),
    Asked("/users/of-d1", "get", "d1", allowed=False),
    Asked("/users/of-d1", "get", "d2", allowed=True),
    Asked("/users/of-d1", "get", None, allowed=True),
    Asked("/vault+", "get", None, allowed=False),
    Asked("/vault%2B", "post", None, allowed=False),
    Asked("/service", "get", None, allowed=False),
    Asked("/listed@home", "get", None, allowed=False),
    Asked("/listed@home", "post", None, allowed=True),
    Asked("/routed@home", "get", None, allowed=False),
    Asked("/default:name", "access", None, allowed=False),
    Asked("doc:read", "read", None, allowed=True),
]


async def published(api: Api) -> dict[str, Any]:
    """Write the policies by REST; return them with the ids that they were given."""
    policies: dict[str, Any] = {"resources": RESOURCES}
    revision = 0
    for resource in RESOURCES:
        revision = (
            (await api.post("/api/v1/resources", {"displayName": "x", **resource})).succeeded(201).revision
        )
    for name, path, documents in (
        ("role_rules", "/api/v1/resources/policies", ROLE_RULES),
        ("attribute_policies", "/api/v1/abac/policies", ATTRIBUTE_POLICIES),
    ):
        policies[name] = []
        for document in documents:
            created = (await api.post(path, document)).succeeded(201)
            policies[name].append({"id": created.body["id"], **document})
            revision = created.revision
    assert await api.services.wait_for("default", revision, 10)
    return policies


def checker(api: Api) -> CheckService:
    services = api.services
    return CheckService(
        policies=services.policies,
        keys=services.keys,
        policy=CheckPolicy(unmapped=UnmappedPolicy.PATH),
        recorder=services.recorder,
    )


Answers = dict[str, tuple[bool, str, str | None]]


async def answers(api: Api, check: CheckService, runner: CaseRunner, asked: Asked) -> Answers:
    """Return whether it is allowed, for what reason and by which rule, by entrance."""
    found: Answers = {}
    headers = {"authorization": f"Bearer {api.token(sub='alice', dom=asked.domain)}"}
    requests = {"context": check_request("/", headers=headers, context_extensions=_named(asked))}
    if asked.resource == "/routed@home":
        requests["route"] = check_request("/home", headers=headers)
    elif asked.resource.startswith("/") and asked.action != "access":
        requests["path"] = check_request(asked.resource, method=asked.action.upper(), headers=headers)
        if asked.action == "get":
            requests["head"] = check_request(asked.resource, method="HEAD", headers=headers)
    if not any(asked.resource == resource["name"] for resource in RESOURCES):
        del requests["context"]
    for name, request in requests.items():
        answer = read_answer(await asyncio.to_thread(check.answer, request, 5.0))
        rule = answer.metadata["matched_rule_id"]
        found[name] = (answer.allowed, str(answer.metadata["reason"]), None if rule is None else str(rule))

    question = {"resource": asked.resource, "action": asked.action}
    body = (
        await api.ask(
            "POST", "/api/v1/check", question, caller="nobody", Authorization=headers["authorization"]
        )
    ).body
    found["rest"] = (body["decision"] == "allow", body["reason"], body["matched_rule_id"])
    about = question | {"subject": "alice"} | ({} if asked.domain is None else {"domain": asked.domain})
    body = (await api.post("/api/v1/check", about)).body
    found["rest about another"] = (body["decision"] == "allow", body["reason"], body["matched_rule_id"])

    # Where no resource has the name of the type, its name is the type and the action.
    kind = asked.resource
    if not any(kind == resource["name"] for resource in RESOURCES):
        kind = kind.removesuffix(f":{asked.action}")
    if kind != asked.resource or any(kind == resource["name"] for resource in RESOURCES):
        properties = {} if asked.domain is None else {"domain": asked.domain}
        evaluation = {
            "subject": {"type": "user", "id": "alice", "properties": properties},
            "action": {"name": asked.action},
            "resource": {"type": kind, "id": "1"},
        }
        for name, caller in (("authzen", "key"), ("authzen by token", "asker")):
            api.callers["asker"] = {"Authorization": headers["authorization"]}
            body = (await api.post("/access/v1/evaluation", evaluation, caller=caller)).body
            context = body["context"]
            found[name] = (body["decision"], context["reason"], context["matched_rule_id"])

    principal = {"id": "alice", **({} if asked.domain is None else {"domain": asked.domain})}
    wanted: list[tuple[str, dict[str, str]]] = [("case", question)]
    if "path" in requests:
        wanted.append(("case path", {"path": asked.resource, "method": asked.action.upper()}))
    for name, named in wanted:
        got = runner.answer({"principal": principal, "request": named})
        found[name] = (
            got["decision"] == "allow",
            str(got["reason"]),
            None if got["rule"] is None else str(got["rule"]),
        )
    return found


def _named(asked: Asked) -> dict[str, str]:
    return {"resource": asked.resource, "action": asked.action}


async def test_every_entrance_gives_the_same_answer(database: "Database") -> None:
    async with rest(database) as api:
        policies = await published(api)
        check = checker(api)
        runner = CaseRunner.of({"settings": {"unmapped": "path"}, "policies": policies}, MODEL)
        for asked in QUESTIONS:
            found = await answers(api, check, runner, asked)
            assert {allowed for allowed, _, _ in found.values()} == {asked.allowed}, (asked, found)
            assert len(set(found.values())) == 1, (asked, found)
            if asked.action == default_action(asked.resource):
                older = await api.ask(
                    "POST", "/resources/access/check", {"name": asked.resource}, caller="nobody",
                    Authorization=f"Bearer {api.token(sub='alice')}",
                )  # fmt: skip
                assert older.body == {"authorized": asked.allowed}, asked


@pytest.mark.parametrize("member", ["resource", "action"])
@pytest.mark.parametrize("name", ["*", "", " a", "a\u200bb", "a\nb"])
async def test_a_name_that_none_can_have_is_refused_everywhere(
    database: "Database", member: str, name: str
) -> None:
    question = {"resource": "doc:read", "action": "read"} | {member: name}
    async with rest(database) as api:
        answer = await api.post("/api/v1/check", question | {"subject": "alice"})
        answer.problem(422)
        assert answer.pointers == [f"/{member}"]
        if member == "resource":
            (await api.post("/resources/access/check", {"name": name}, caller="alice")).problem(422)
    with pytest.raises(ValueError, match=f"request: /{member}"):
        CaseRunner.of({"policies": {}}, MODEL).answer({"principal": {"id": "alice"}, "request": question})
