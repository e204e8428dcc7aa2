"""Decision cases of imported Istio policies: for each rule a request of its first values, and the answer.

Istio itself is not asked: the answers are those of the imported policies, for later changes to be seen in.
"""

import ipaddress
from collections.abc import Iterator
from itertools import islice
from typing import Final

from extauthz.cases.case_values import CaseInvalidError
from extauthz.cases.decision_cases import CaseRunner
from extauthz.importing.istio_documents import AuthorizationPolicy
from extauthz.proxyconfig.documents import YamlValue

MAX_CASES: Final = 50
_CLAIM: Final = "request.auth.claims["
_HEADER: Final = "request.headers["


def rule_cases(policies: list[AuthorizationPolicy]) -> Iterator[dict[str, object]]:
    """Yield a case for each rule, without what is expected."""
    rules = ((policy, *each) for policy in policies for each in enumerate(policy.rules, start=1))
    for policy, number, rule in islice(rules, MAX_CASES):
        yield {"name": f"{policy.name}, rule {number}: what the policies answer now", **_request(rule)}


def answered(cases: list[dict[str, object]], runner: CaseRunner) -> Iterator[dict[str, object]]:
    """Yield the cases that can be asked, with the answers of the imported policies as what is expected."""
    for case in cases:
        try:
            yield {**case, "expect": {"decision": runner.answer(case)["decision"]}}
        except CaseInvalidError:
            continue


def _request(rule: YamlValue) -> dict[str, object]:
    """Return caller and request of the first value of each member."""
    source, operation = _first(rule, "from", "source"), _first(rule, "to", "operation")
    claims: dict[str, object] = {}
    headers: dict[str, str] = {}
    peer: dict[str, object] = {}
    if principal := source.get("principals"):
        peer["principal"] = f"spiffe://{_filled(principal, 'cluster.local/ns/a/sa/b')}"
    elif namespace := source.get("namespaces"):
        peer["principal"] = f"spiffe://cluster.local/ns/{_filled(namespace, 'a')}/sa/b"
    if block := source.get("ipBlocks"):
        peer["address"] = _address(block)
    if caller := source.get("requestPrincipals"):
        issuer, _, subject = _filled(caller, "issuer/subject").rpartition("/")
        claims |= {"iss": issuer or "issuer", "sub": subject}
    for condition in rule.list("when"):
        key, values = condition.word("key") or "", condition.list("values")
        text = _filled((values[0].text if values else None) or "", "a")
        if key.startswith(_HEADER) and values:
            headers[key.removeprefix(_HEADER).rstrip("]").lower()] = text
        elif key.startswith(_CLAIM) and values:
            claims[key.removeprefix(_CLAIM).rstrip("]")] = text
    request: dict[str, object] = {
        "method": _filled(operation.get("methods", "GET"), "GET"),
        "path": _path(operation.get("paths", "/")),
    }
    request |= {"headers": headers} if headers else {}
    request |= {"source": peer} if peer else {}
    principal_of = {"id": str(claims.get("sub", "subject")), "claims": claims}
    return {"principal": principal_of if claims else "anonymous", "request": request}


def _first(rule: YamlValue, member: str, inside: str) -> dict[str, str]:
    """Return the first value of each list of the first entry."""
    entries = rule.list(member)
    found = None if not entries else entries[0].at(inside)
    return {
        name: values.members[0].text
        for name, values in (found.items() if found is not None else ())
        if values.members and values.members[0].text
    }


def _filled(text: str, whole: str) -> str:
    return whole if text == "*" else text.replace("*", "a") if text.startswith("*") else text.rstrip("*")


def _path(text: str) -> str:
    filled = text.replace("{**}", "a/b").replace("{*}", "a")
    filled = (
        "/" if filled == "*" else f"/a{filled[1:]}" if filled.startswith("*") else filled.removesuffix("*")
    )
    return filled or "/"


def _address(block: str) -> str:
    try:
        return str(ipaddress.ip_network(block, strict=False).network_address)
    except ValueError:
        return "192.0.2.1"
