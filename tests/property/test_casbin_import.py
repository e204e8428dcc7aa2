"""An imported Casbin policy answers as pycasbin answers on the original, and never allows more."""

import random
from itertools import pairwise
from pathlib import Path

import casbin
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.cases.decision_cases import CaseRunner
from extauthz.compile.documents.policy_files import read_document
from extauthz.compile.roles.role_model import RoleModel, compile_model
from extauthz.importing.casbin import import_casbin
from extauthz.importing.checked import check
from extauthz.importing.outcome import Consequence, Imported
from extauthz.importing.written_yaml import policies_text
from extauthz.shipped import shipped

ALLOW = "some(where (p.eft == allow))"
DENY_OVERRIDE = f"{ALLOW} && !some(where (p.eft == deny))"
NAMES = ["alice", "bob", "carol", "admin", "editor", "root"]
ROLES = ["admin", "editor", "root", "alice"]
CHAIN = [f"level{number}" for number in range(8)]
DOMAINS = ["d1", "d2"]
PATHS = [
    "/data",
    "/data/",
    "/data/a",
    "/data/a/b",
    "/data/b",
    "/users/7",
    "/users/7/posts",
    "/users",
    "/",
    "/x.y",
]
METHODS = ["GET", "POST", "DELETE"]
PATTERNS = {
    "==": ["/data", "/data/a", "/users/7", "/data/", "/data/*", "/data/**", "/a b", "data"],
    "keyMatch": ["/data/*", "/data/a", "/data/a/*", "/*", "*", "/users/*", "/da*", "/users/7", "/data/*/b"],
    "keyMatch2": [
        "/users/:id",
        "/:any/7",
        "/data/*",
        "/:x/:y",
        "/users/:id/*",
        "/x.y",
        "*",
        "/data/a",
        "/u:id",
    ],
    "keyMatch3": ["/users/{id}", "/{any}/7", "/data/*", "/{x}/{y}", "/users/{id}/*", "/data/{a}", "/data"],
}
ACTIONS = {
    "==": ["GET", "POST", "DELETE", "HEAD"],
    "regexMatch": ["GET", "^GET$", "(GET)|(POST)", "^(GET|DELETE)$", ".*", "^GET|POST$", "HEAD|GET"],
    "keyMatch": ["GET", "*", "P*"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("casbin-import")


@pytest.fixture(scope="module")
def role_model() -> RoleModel:
    model = compile_model(shipped("policies/model.conf").read_text("utf-8"))
    assert isinstance(model, RoleModel)
    return model


class Source:
    """A random model of a readable shape, with policy lines of which some have no equal."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.domains, self.roles, self.eft = rng.random() < 0.4, rng.random() < 0.6, rng.random() < 0.6
        self.http = rng.random() < 0.6
        self.obj = rng.choice(["==", "keyMatch", "keyMatch2", "keyMatch3"]) if self.http else "=="
        self.act = rng.choice(list(ACTIONS)) if self.http else "=="
        self.effect = rng.choice([ALLOW, DENY_OVERRIDE, DENY_OVERRIDE])
        self.garbage = rng.random() < 0.3
        self.model = self._model()
        self.policy = self._policy()

    def _model(self) -> str:
        fields = ["sub", *(["dom"] if self.domains else []), "obj", "act"]
        role = "g(r.sub, p.sub, r.dom)" if self.domains else "g(r.sub, p.sub)"
        terms = [self._wild("sub", role if self.roles else "r.sub == p.sub")]
        if self.domains:
            terms.append(self._wild("dom", "r.dom == p.dom"))
        for name, how in (("obj", self.obj), ("act", self.act)):
            equal = f"r.{name} == p.{name}"
            terms.append(self._wild(name, equal if how == "==" else f"{how}(r.{name}, p.{name})"))
        self.rng.shuffle(terms)
        matcher = " && ".join(terms) + (' || r.sub == "root"' if self.rng.random() < 0.2 else "")
        g = ["[role_definition]", f"g = {'_, _, _' if self.domains else '_, _'}"] if self.roles else []
        return "\n".join(
            [
                "[request_definition]",
                f"r = {', '.join(fields)}",
                "[policy_definition]",
                f"p = {', '.join([*fields, *(['eft'] if self.eft else [])])}",
                *g,
                "[policy_effect]",
                f"e = {self.effect}",
                "[matchers]",
                f"m = {matcher}",
                "",
            ]
        )

    def _wild(self, name: str, term: str) -> str:
        return f'({term} || p.{name} == "*")' if self.rng.random() < 0.4 else term

    def _policy(self) -> str:
        choice = self.rng.choice
        lines: list[str] = []
        for _ in range(self.rng.randint(0, 7)):
            wild = ["*"] if 'p.sub == "*"' in self.model or self.garbage else []
            subject = choice([*NAMES, *(ROLES if self.roles else []), *wild])
            dom = [choice([*DOMAINS, *(["*"] if 'p.dom == "*"' in self.model or self.garbage else [])])]
            objects = PATTERNS[self.obj] if self.http else ["data1", "data2", "data:read"]
            if not self.garbage and self.http:
                objects = [
                    each
                    for each in objects
                    if each not in {"/da*", "/data/*/b", "/x.y", "/u:id", "data", "/a b"}
                ]
                if self.obj == "==":
                    objects = [each for each in objects if "*" not in each]
            if self.http and self.rng.random() < 0.5:
                objects = [self._pattern()]
            obj = choice([*objects, *(["*"] if 'p.obj == "*"' in self.model or self.garbage else [])])
            acts = ACTIONS[self.act] if self.http else ["read", "write"]
            if not self.garbage:
                acts = [each for each in acts if each not in {"HEAD", "P*", "^GET|POST$"}]
            act = choice([*acts, *(["*"] if 'p.act == "*"' in self.model or self.garbage else [])])
            effects = ["allow", "allow", "deny", *(["Deny"] if self.garbage else [])]
            eft = [choice(effects)] if self.eft else []
            lines.append(", ".join(["p", subject, *(dom if self.domains else []), obj, act, *eft]))
        if self.roles:
            for _ in range(self.rng.randint(0, 5)):
                where = [choice([*DOMAINS, *(["*"] if self.garbage else [])])] if self.domains else []
                lines.append(", ".join(["g", choice([*NAMES, *ROLES]), choice(ROLES), *where]))
            if self.rng.random() < 0.2:
                where = ["d1"] if self.domains else []
                lines += [", ".join(["g", low, high, *where]) for low, high in pairwise([*CHAIN, "admin"])]
        self.rng.shuffle(lines)
        return "\n".join(lines) + "\n"

    def _pattern(self) -> str:
        """Return a pattern of few names, so that several hold the same paths."""
        parameter = {"keyMatch2": [":id", ":name"], "keyMatch3": ["{id}", "{name}"]}.get(self.obj, [])
        parts = [self.rng.choice(["a", "b", *parameter]) for _ in range(self.rng.randint(1, 3))]
        below = "/*" if self.obj != "==" and self.rng.random() < 0.3 else ""
        return "/" + "/".join(parts) + below

    def _path(self) -> str:
        return "/" + "/".join(self.rng.choice(["a", "b", "c"]) for _ in range(self.rng.randint(1, 4)))

    def question(self) -> dict[str, str]:
        choice = self.rng.choice
        http = self.http
        return {
            "sub": choice([*NAMES, *ROLES, "level0", "eve"]),
            "dom": choice([*DOMAINS, "d3"]),
            "obj": choice(
                [*PATHS, *(self._path() for _ in PATHS)] if http else ["data1", "data2", "data3", "data:read"]
            ),
            "act": choice([*METHODS, "GETX"] if http else ["read", "write", "other"]),
        }


def runner(imported: Imported, model: RoleModel) -> CaseRunner:
    """Read the written text again: what counts is the file."""
    document = read_document(policies_text(imported, ["imported"]).encode(), is_json=False)
    return CaseRunner.of({"policies": document}, model)


def ours(cases: CaseRunner, asked: dict[str, str], *, http: bool, domains: bool, subjects: str) -> bool:
    caller: dict[str, object] = (
        {"id": asked["sub"]} if subjects == "user" else {"id": "frank", "roles": [asked["sub"]]}
    )
    principal = caller | ({"domain": asked["dom"]} if domains else {})
    by_path = {"path": asked["obj"], "method": asked["act"]}
    by_name = {"resource": asked["obj"], "action": asked["act"]}
    answer = cases.answer({"principal": principal, "request": by_path if http else by_name})
    return answer["decision"] == "allow"


@given(st.randoms(use_true_random=False))
def test_an_imported_policy_answers_as_pycasbin_and_never_allows_more(
    folder: Path, role_model: RoleModel, rng: random.Random
) -> None:
    source, subjects = Source(rng), rng.choice(["user", "user", "role"])
    (folder / "model.conf").write_text(source.model)
    (folder / "policy.csv").write_text(source.policy)
    imported = import_casbin(
        ("model.conf", source.model.encode()),
        [("policy.csv", source.policy.encode())],
        service="imported",
        subjects=subjects,
    )
    assert isinstance(imported, Imported)
    check(imported, role_model)
    if imported.refused:
        return
    exact = all(each.effect is Consequence.NO_EFFECT for each in imported.not_taken)
    theirs = casbin.Enforcer(str(folder / "model.conf"), str(folder / "policy.csv"))
    cases = runner(imported, role_model)
    has_routes = "routes:" in policies_text(imported, [])
    for _ in range(25):
        asked = source.question()
        values = [asked[name] for name in ("sub", "dom", "obj", "act") if name != "dom" or source.domains]
        got = ours(cases, asked, http=source.http and has_routes, domains=source.domains, subjects=subjects)
        try:
            expected = theirs.enforce(*values)
        except Exception:  # noqa: BLE001  # a pattern that pycasbin cannot compile
            continue
        assert expected or not got, (source.model, source.policy, values, str(imported.not_taken))
        if exact and not (asked["act"] == "GETX" and "regexMatch" in source.model):
            assert got == expected, (source.model, source.policy, values)
