"""Decision cases of an imported Casbin policy: questions from its lines, with the answers that Casbin gives.

The answers come from the source as `extauthz casbin enforce` runs it, never from the import, so that the
cases test the import.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from extauthz.casbin_enforce.engine import CasbinEngine, load_engine
from extauthz.domain.policy import WILDCARD
from extauthz.importing.casbin_lines import PolicyLine
from extauthz.importing.casbin_paths import EVERY_PATH, Methods, Paths

MAX_LINES: Final = 2_000
"""Of a policy: Casbin takes a time that grows with its lines for each question."""
MAX_CASES: Final = 20
_ANY: Final = "not-in-the-policy"
# No policy that can be imported asks for the time.
_NOW: Final = datetime(2026, 1, 5, 10, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CasbinRequest:
    """One request to Casbin; `is_http` is whether `obj` and `act` are path and method."""

    sub: str
    dom: str
    obj: str
    act: str
    is_http: bool

    def of(self, known: str) -> str:
        """Return a field by its class."""
        return {"sub": self.sub, "dom": self.dom, "obj": self.obj, "act": self.act}[known]


def question(line: PolicyLine, paths: Paths | None, methods: Methods | None) -> CasbinRequest:
    """Return a request that the line matches; without paths it is one by name."""

    def known(value: str) -> str:
        return _ANY if value == WILDCARD else value

    if paths is None or methods is None:
        return CasbinRequest(
            known(line.sub), known(line.dom), known(line.obj), known(line.act), is_http=False
        )
    segments = ["x" if segment is None else segment for segment in paths.shape.segments]
    path = "/" + "/".join([*segments, "x"] if paths.shape.below else segments)
    method = "GET" if methods.names is None else methods.names[0]
    return CasbinRequest(
        known(line.sub), known(line.dom), "/" if paths == EVERY_PATH else path, method, is_http=True
    )


def case_documents(
    model: str, policy: bytes, request: tuple[str, ...], asked: list[CasbinRequest], *, subjects: str
) -> Iterator[dict[str, object]]:
    """Yield a case for each question that Casbin answers; `request` has the classes of the model's fields."""
    engine = load_engine(model, policy)
    if not isinstance(engine, CasbinEngine):
        return
    seen: set[CasbinRequest] = set()
    for one in [*asked, *(_another_subject(each) for each in asked[:1])]:
        if one in seen or len(seen) >= MAX_CASES:
            continue
        seen.add(one)
        answer = engine.answer(json.dumps([one.of(known) for known in request]).encode(), _NOW)
        if answer not in {"true", "false"}:
            continue
        values = [one.of(known) for known in request]
        yield {
            "name": f"Casbin answers {answer} to {', '.join(values)}",
            "principal": _principal(one, request, subjects),
            "request": (
                {"method": one.act, "path": one.obj}
                if one.is_http
                else {"resource": one.obj, "action": one.act}
            ),
            "expect": {"decision": "allow" if answer == "true" else "deny"},
        }


def _another_subject(one: CasbinRequest) -> CasbinRequest:
    return CasbinRequest(_ANY, one.dom, one.obj, one.act, one.is_http)


def _principal(one: CasbinRequest, request: tuple[str, ...], subjects: str) -> dict[str, object]:
    principal: dict[str, object] = {"id": one.sub}
    if subjects == "role":
        principal = {"id": _ANY, "roles": [one.sub]}
    if "dom" in request:
        principal["domain"] = one.dom
    return principal
