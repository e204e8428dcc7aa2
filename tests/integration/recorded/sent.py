"""One recorded request, and the small builders that the lists of requests share.

A name identifies a request in the recording, so it is unique and stays when requests are added. `@@rule@@` in a
path, a header or a body stands for the id of an object that `stage.py` has made; `@@new rule@@` for that of one
made just before the request; `@@etag rule@@` for the entity tag of that one.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

JSON = "application/json"
CSV = "text/csv"
V1 = "/api/v1"
RULES = f"{V1}/resources/policies"
RESOURCES = f"{V1}/resources"
BINDINGS = f"{V1}/role-bindings"
POLICIES = f"{V1}/abac/policies"
KEYS = f"{V1}/service-api-keys"
CASBIN = f"{V1}/casbin/policy"
CHECK = f"{V1}/check"
ACCESS = f"{V1}/resources/access/check"
AUDIT = f"{V1}/audit"
SESSION = "/admin/session"
TENANTS = "/admin/tenants"
PROVIDERS = f"{TENANTS}/globex/identity-providers"
_SHOWN = 120
NO_ID = "01900000-0000-7000-8000-000000000000"
Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Sent:
    """One request.

    `raw` replaces everything else. `declared` is a length that is announced without sending any of the body.
    `address` is the client's, where that matters; `times` says how often it is sent, and the last answer counts.
    """

    name: str
    method: str = "GET"
    path: str = "/"
    body: bytes | None = None
    headers: tuple[Header, ...] = ()
    caller: str = "tenant"
    raw: bytes | None = None
    address: str | None = None
    times: int = 1
    declared: int | None = None


def sent(
    name: str,
    method: str,
    path: str,
    body: object = None,
    *,
    caller: str | None = None,
    headers: Iterable[Header] = (),
    declared: int | None = None,
) -> Sent:
    """Return a request; a body that is text or bytes is sent as it is, anything else as JSON."""
    octets: bytes | None = None
    if isinstance(body, bytes):
        octets = body
    elif isinstance(body, str):
        octets = body.encode("utf-8", "surrogatepass")
    elif body is not None:
        octets = json.dumps(body).encode()
    given = tuple(headers)
    if octets is not None and all(header.lower() != "content-type" for header, _ in given):
        given = (("Content-Type", CSV if path.startswith(CASBIN) else JSON), *given)
    if caller is None:
        caller = "operator" if path.startswith("/admin") else "tenant"
    where = path if len(path) <= _SHOWN else f"{path[:_SHOWN]}...({len(path)})"
    return Sent(f"{method} {where} {name}", method, path, octets, given, caller, declared=declared)


def with_raw(document: Mapping[str, object], member: str, raw: str) -> str:
    """Return a JSON object with one member, named by a path such as `routes/0/path`, as this JSON text."""
    copy = json.loads(json.dumps(document))
    *parents, last = member.split("/")
    target = copy
    for parent in parents:
        target = target[int(parent)] if isinstance(target, list) else target[parent]
    if isinstance(target, list):
        target[int(last)] = "@@raw@@"
    else:
        target[last] = "@@raw@@"
    return json.dumps(copy).replace('"@@raw@@"', raw)


def without(document: Mapping[str, object], member: str) -> dict[str, object]:
    """Return a document without a member."""
    return {name: value for name, value in document.items() if name != member}


def checked(requests: Iterable[Sent]) -> Iterator[Sent]:
    """Yield the requests; two of one name are a mistake in the lists."""
    names: set[str] = set()
    for each in requests:
        assert each.name not in names, f"two requests have the name {each.name!r}"
        names.add(each.name)
        yield each
