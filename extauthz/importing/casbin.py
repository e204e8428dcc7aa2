"""Reads a Casbin model and its policy files; gives role rules, bindings and resources that mean the same.

Casbin's question `(sub, dom, obj, act)` is asked here by a principal of kind `user` with the id `sub` and the
domain `dom`, without roles of a token; `obj` and `act` are resource and action, or, for policies about paths,
path and method of a request. For every such question the answers are equal, unless something is named as not
taken, and then less is allowed.
"""

import re
from typing import Final

from extauthz.casbin_enforce.model import CasbinModelInvalid, read_model
from extauthz.compile.documents.resource_documents import resource_name_problem
from extauthz.domain.names import name_problem
from extauthz.domain.policy import WILDCARD
from extauthz.domain.principal import ANONYMOUS_ROLE
from extauthz.importing.casbin_cases import MAX_CASES, MAX_LINES, CasbinRequest, case_documents, question
from extauthz.importing.casbin_lines import PolicyFileLines, PolicyLine, read_lines
from extauthz.importing.casbin_routes import Region, asks_about_http, http_lines, regions
from extauthz.importing.casbin_shape import CannotRead, ModelShape, class_of, read_shape
from extauthz.importing.outcome import Consequence, Imported, NotTaken, SourceInvalid, id_prefix

_SECTION: Final = re.compile(r"\s*\[([a-z_]+)\]", re.ASCII)
_USUALLY_EXCLUDED: Final = ("offline_access", "uma_authorization")
_MAX_ID: Final = 120
_ORDER: Final = ("user", "user_kind", "role", "sub", "sub_kind", "dom", "obj", "act", "effect")


def import_casbin(
    model: tuple[str, bytes], policies: list[tuple[str, bytes]], *, service: str, subjects: str
) -> Imported | SourceInvalid:
    """Import a model and policy files, each given by name and bytes.

    `subjects` is `user` or `role`: what a name is that no `g` line shows to be a role.
    """
    file, data = model
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return SourceInvalid(file, None, f"is not UTF-8 at byte {error.start}")
    read = read_model(text)
    if isinstance(read, CasbinModelInvalid):
        return SourceInvalid(file, None, f"is not a Casbin model: {read.message}")
    imported = Imported("casbin")
    shape = read_shape(read)
    if isinstance(shape, list):
        imported.not_taken += [_of_model(file, text, each) for each in shape]
        return imported
    lines = read_lines(policies, read, shape, imported)
    if isinstance(lines, SourceInvalid):
        return lines
    writer = _Writer(imported, lines, shape, service=service, subjects=subjects)
    writer.write(file)
    if not imported.refused and len(lines.policies) + len(lines.roles) <= MAX_LINES:
        request = tuple(class_of(token) or "" for token in read.request)
        policy = b"\n".join(data for _, data in policies)
        imported.cases += case_documents(text, policy, request, writer.questions, subjects=subjects)
    return imported


def _of_model(file: str, text: str, problem: CannotRead) -> NotTaken:
    number = None
    for place, line in enumerate(text.splitlines(), start=1):
        found = _SECTION.match(line)
        if found is not None and found[1] == problem.section:
            number = place
    return NotTaken(
        file,
        number,
        f"[{problem.section}]",
        "",
        problem.reason,
        problem.instead,
        Consequence.NOTHING_IMPORTED,
    )


class _Writer:
    """Writes the documents of typed lines."""

    def __init__(
        self, imported: Imported, lines: PolicyFileLines, shape: ModelShape, *, service: str, subjects: str
    ) -> None:
        self._imported, self._lines, self._shape = imported, lines, shape
        self._service, self._subjects = service, subjects
        self._roles = {line.role for line in lines.roles}
        self._seen: set[tuple[object, ...]] = set()
        self._ids: dict[str, int] = {}
        self.questions: list[CasbinRequest] = []

    def write(self, model: str) -> None:
        """Write everything."""
        if asks_about_http(self._lines, self._shape):
            self._write_http()
        else:
            self._write_names()
        self._write_superusers(model)
        self._write_bindings()
        self._describe()

    def _write_names(self) -> None:
        names: dict[str, list[PolicyLine]] = {}
        self.questions = [question(line, None, None) for line in self._lines.policies[:MAX_CASES]]
        for line in self._lines.policies:
            if line.obj != WILDCARD:
                names.setdefault(line.obj, []).append(line)
            self._rule(line, line.obj, line.act)
        for name, lines in names.items():
            if not resource_name_problem(name):
                self._resource({"name": name, "serviceName": self._service}, lines)
        if names:
            self._imported.note(
                "No route leads to these resources yet: they answer POST /api/v1/check. Add the routes of "
                "your service to each."
            )

    def _write_http(self) -> None:
        found = http_lines(self._lines, self._shape, self._imported)
        self.questions = [question(each.line, each.paths, each.methods) for each in found[:MAX_CASES]]
        taken = regions(found, everywhere=bool(self._shape.superusers))
        if isinstance(taken, str):
            self._imported.not_taken.append(
                NotTaken(
                    self._lines.policies[0].file, None, "all lines", "obj", taken,
                    "import the lines of each service on their own", Consequence.NOTHING_IMPORTED,
                )
            )  # fmt: skip
            return
        for region in taken:
            self._write_region(region)

    def _write_region(self, region: Region) -> None:
        lines = list({rule.line.place: rule.line for rule in region.rules}.values())
        document: dict[str, object] = {
            "name": region.template,
            "serviceName": self._service,
            "routes": region.routes(),
        }
        if lines:
            self._resource(document, lines)
        else:
            self._imported.add(
                "resources",
                document,
                "Casbin's pattern does not cover the path before '/*', so no rule leads here",
            )
        for rule in region.rules:
            self._rule(rule.line, region.template, rule.act)

    def _resource(self, document: dict[str, object], lines: list[PolicyLine]) -> None:
        places = [line.place for line in lines[:6]]
        more = f" and {len(lines) - len(places)} more" if len(lines) > len(places) else ""
        self._imported.add("resources", document, ", ".join(places) + more)

    def _rule(self, line: PolicyLine, obj: str, act: str) -> None:
        rule: dict[str, object] = {"sub": line.sub, "dom": line.dom, "obj": obj, "act": act}
        # Left out, an allow is for a role, and a deny for the role and the user of that name.
        if line.sub != WILDCARD and not line.denies and line.sub not in self._roles:
            rule["sub_kind"] = self._subjects
        rule["effect"] = "deny" if line.denies else "allow"
        self._add("role_rules", rule, line.place, f"{line.place}: {line.text}")

    def _add(self, table: str, document: dict[str, object], wanted_id: str, comment: str) -> None:
        """Add a rule or binding, once for each meaning."""
        values = tuple(sorted(document.items()))
        if (table, values) in self._seen:
            return
        self._seen.add((table, values))
        prefix = id_prefix(self._service)
        wanted = prefix + wanted_id
        if len(wanted) > _MAX_ID or name_problem(wanted):
            wanted = f"{prefix[: _MAX_ID - 20]}casbin"
        self._ids[wanted] = number = self._ids.get(wanted, 0) + 1
        rule_id = wanted if number == 1 else f"{wanted}#{number}"
        ordered = {"id": rule_id} | {name: document[name] for name in _ORDER if name in document}
        self._imported.add(table, ordered, comment)

    def _write_superusers(self, model: str) -> None:
        for name in self._shape.superusers:
            comment = f"{model}: the matcher itself lets {name!r} pass"
            rule: dict[str, object] = {"sub": name, "sub_kind": self._subjects}
            rule |= {"dom": WILDCARD, "obj": WILDCARD, "act": WILDCARD}
            inherited = self._subjects == "role" and name in self._roles
            # In Casbin the name matches every line, the deny lines too.
            denied = self._lines.has_denies
            if not denied and not self._lines.lets_superusers_pass:
                continue
            if name_problem(name) or name == WILDCARD:
                self._superuser_gap(model, name, "the name has no equal here", Consequence.LEFT_OUT)
                continue
            if inherited:
                effect = Consequence.ALLOWS_LESS if denied else Consequence.LEFT_OUT
                reason = "g lines give the role to others, and a superuser of the matcher is the role alone"
                self._superuser_gap(model, name, reason, effect)
            if denied:
                self._add("role_rules", rule | {"effect": "deny"}, f"{model}:{name}", comment)
                self._imported.note(f"{name!r} matches each deny line in Casbin, and is denied everything.")
            elif not inherited:
                self._add("role_rules", rule | {"effect": "allow"}, f"{model}:{name}", comment)

    def _superuser_gap(self, model: str, name: str, reason: str, effect: Consequence) -> None:
        self._imported.not_taken.append(
            NotTaken(model, None, "[matchers]", f"r.sub == {name!r}", reason, "rename it", effect)
        )

    def _write_bindings(self) -> None:
        for line in self._lines.roles:
            kind = "role" if line.user in self._roles or self._subjects == "role" else "user"
            document: dict[str, object] = {
                "user": line.user,
                "user_kind": kind,
                "role": line.role,
                "dom": line.dom,
            }
            self._add("role_bindings", document, line.place, f"{line.place}: {line.text}")
        if self._subjects == "role":
            return
        for role in sorted(self._roles):
            document = {"user": role, "user_kind": "user", "role": role, "dom": WILDCARD}
            comment = (
                f"Casbin gives the role {role!r} also to the user of that name; delete this if there is none"
            )
            self._add("role_bindings", document, f"named:{role}", comment)

    def _describe(self) -> None:
        imported = self._imported
        if any(line.sub == WILDCARD and not line.denies for line in self._lines.policies):
            imported.note(
                "An allow for '*' is for every caller with a valid credential; in Casbin it is for every "
                "subject."
            )
        if ANONYMOUS_ROLE in self._roles or (
            self._subjects == "role" and any(line.sub == ANONYMOUS_ROLE for line in self._lines.policies)
        ):
            imported.note("The role 'anonymous' is that of callers without a credential here.")
        if self._roles:
            names = ",".join(sorted(self._roles))
            imported.note(
                "Roles count wherever they come from: a token that names one of these roles has it here. Set "
                "EXCLUDED_ROLES where only the bindings may give them."
            )
            if len(names) <= 2_000:
                imported.settings["EXCLUDED_ROLES"] = ",".join([*_USUALLY_EXCLUDED, names])
