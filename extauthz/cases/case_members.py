"""Which members decision cases and their sections have; every problem of a case at once, with its pointer.

The REST API shows a policy test with members of its own (`SHOWN_ONLY`): a case may have them, and they are
ignored.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from extauthz.compile.fields import shown
from extauthz.domain.names import name_problem
from extauthz.domain.problem import Problem, pointer_token
from extauthz.domain.reasons import Effect

CASE_MEMBERS: Final = ("name", "principal", "token", "token_tenant", "request", "expect", "now")
SHOWN_ONLY: Final = frozenset({"id", "created_at", "updated_at", "warnings"})
EXPECT_MEMBERS: Final = ("decision", "reason", "rule", "resource", "action", "shadow")
PRINCIPAL_MEMBERS: Final = ("kind", "id", "tenant", "domain", "roles", "claims", "workload")
REQUEST_MEMBERS: Final = (
    "method",
    "host",
    "path",
    "headers",
    "body",
    "context_extensions",
    "source",
    "resource",
    "action",
    "parameters",
    "action_properties",
    "context",
)
SOURCE_MEMBERS: Final = ("address", "principal")
SECTION_MEMBERS: Final = ("description", "settings", "tenants", "policies", "cases", "refused")
SETTINGS_MEMBERS: Final = (
    "mode",
    "unmapped",
    "tenant_binding",
    "condition_headers",
    "condition_body_max",
    "claim_headers",
    "encode_raw_headers",
    "oidc_enabled",
    "cors_preflight",
    "excluded_roles",
)
FLAGS: Final = ("encode_raw_headers", "oidc_enabled")
"""The settings that are true or false."""


def case_problems(case: object, answer: Callable[[Mapping[str, object]], object]) -> list[Problem]:
    """Return what is wrong with a case; `answer` judges it, and raises ValueError for a malformed one."""
    if not isinstance(case, Mapping):
        return [Problem("", f"found {shown(case)}, a case is needed")]
    problems = list(unknown_members(case, "", CASE_MEMBERS, SHOWN_ONLY))
    problems += [*_caller_problems(case), *_name_problems(case), *expectation_problems(case)]
    try:
        answer(case)
    except ValueError as error:
        found = problem_in_case(str(error))
        if not any(each.pointer.startswith(found.pointer) for each in problems):
            problems.append(found)
    return problems


def _caller_problems(case: Mapping[str, object]) -> Iterator[Problem]:
    """Yield what is wrong with the caller, also where the settings of the section never read it."""
    if "token" in case:
        if not isinstance(case["token"], Mapping):
            yield Problem("/token", f"found {shown(case['token'])}, an object of claims is needed")
        return
    principal = case.get("principal")
    if principal == "anonymous":
        return
    if not isinstance(principal, Mapping):
        found = f"found {shown(principal)}" if "principal" in case else "is missing"
        yield Problem("/principal", f"{found}, an object or 'anonymous' is needed")
    elif not isinstance(principal.get("workload", principal.get("id")), str):
        yield Problem("/principal", "needs an 'id', or a 'workload', that is a string")


def _name_problems(case: Mapping[str, object]) -> Iterator[Problem]:
    """Yield what is wrong with a request by name, also where the caller is refused before it is read."""
    request = case.get("request")
    if not isinstance(request, Mapping) or "path" in request:
        return
    for name in ("resource", "action"):
        value = request.get(name)
        problem = name_problem(value) if isinstance(value, str) else "a string is needed"
        if problem is not None:
            found = f"found {shown(value)}" if name in request else "is missing"
            yield Problem(f"/request/{name}", f"{found}, {problem}")


def expectation_problems(case: Mapping[str, object]) -> Iterator[Problem]:
    """Yield what is wrong with `expect`, of which only `decision` is required."""
    expected = case.get("expect")
    if not isinstance(expected, Mapping):
        found = f"found {shown(expected)}" if "expect" in case else "is missing"
        yield Problem("/expect", f"{found}, an object with the expected 'decision' is needed")
        return
    words = ", ".join(repr(effect.value) for effect in Effect)
    if "decision" not in expected:
        yield Problem("/expect/decision", f"is missing, one of {words} is needed")
    elif expected["decision"] not in [effect.value for effect in Effect]:
        yield Problem("/expect/decision", f"found {shown(expected['decision'])}, one of {words} is needed")
    yield from unknown_members(expected, "/expect", EXPECT_MEMBERS)


def unknown_members(
    document: Mapping[str, object],
    pointer: str,
    known: tuple[str, ...],
    ignored: frozenset[str] = frozenset(),
) -> Iterator[Problem]:
    """Yield the members that an object cannot have."""
    for name in document:
        if name not in known and name not in ignored:
            message = f"is not a member here; known are {', '.join(sorted(known))}"
            yield Problem(f"{pointer}/{pointer_token(str(name))}", message)


def unread_members(case: Mapping[str, object]) -> Iterator[Problem]:
    """Yield members of the caller and the request that no judgement reads; the REST API stores them."""
    for name, known in (("principal", PRINCIPAL_MEMBERS), ("request", REQUEST_MEMBERS)):
        value = case.get(name)
        if isinstance(value, Mapping):
            yield from unknown_members(value, f"/{name}", known)
    request = case.get("request")
    source = request.get("source") if isinstance(request, Mapping) else None
    if isinstance(source, Mapping):
        yield from unknown_members(source, "/request/source", SOURCE_MEMBERS)


def problem_in_case(text: str) -> Problem:
    """Return what is wrong with a case, at the member that the text names after `case, `."""
    inner = {"kind": "principal"}
    return _placed(text.removeprefix("case, ").removeprefix("case: "), CASE_MEMBERS, inner)


def problem_in_section(text: str) -> Problem:
    """Return what is wrong with a section, at the member that the text names after `section, `."""
    inner = dict.fromkeys(SETTINGS_MEMBERS, "settings")
    return _placed(text.removeprefix("section, ").removeprefix("section: "), SECTION_MEMBERS, inner)


def _placed(text: str, members: tuple[str, ...], inner: Mapping[str, str]) -> Problem:
    """Return the problem of a text `member, member below: what is wrong`.

    `inner` has, for members that texts name alone, the member around them.
    """
    head, colon, message = text.partition(": ")
    names = head.split(", ")
    if colon and names[0] in members:
        return Problem("".join(f"/{pointer_token(name)}" for name in names), message)
    if colon and names[0] in inner:
        return Problem(f"/{inner[names[0]]}/{names[0]}", message)
    return Problem("", text)
