"""One rule of an Istio policy as bounds: any of `from`, any of `to`, all of `when`.

Each list of a source or an operation is alternatives, its `not` twin excludes them, and the members are
joined by AND. A member that is unknown, empty or of the wrong kind has no meaning that could be held: a
typing mistake in `notPaths` must not become a rule without it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from extauthz.importing import istio_callers, istio_strings
from extauthz.importing.bounds import (
    ALWAYS,
    Bounds,
    Inexact,
    all_of,
    any_of,
    condition,
    exactly,
    present,
    unheld,
)
from extauthz.importing.istio_strings import ListedValue
from extauthz.proxyconfig.documents import YamlValue
from extauthz.settings.values import InvalidValueError, headers

_Read = Callable[[list[ListedValue]], Bounds]
_BRACKETS: Final = re.compile(r"(request\.headers|request\.auth\.claims)\[(.+)\]", re.ASCII)
_NOT_HERE: Final = {
    "remote.ip": "the address that x-forwarded-for names is not known here, only the peer's",
    "destination.ip": "the address of the workload is not known here",
    "destination.port": "the port of the workload is not known here",
    "connection.sni": "the SNI of the connection is not known here",
}


@dataclass(slots=True)
class RuleReader:
    """Reads the rules of one policy; `notes` and `headers` are what they say and ask for together."""

    namespace: str
    domains: tuple[str, ...]
    notes: list[str]
    headers: set[str]

    def rule(self, rule: YamlValue) -> Bounds:
        """Return the bounds of a rule."""
        if rule.entries is None:
            return _invalid(rule, "rules", "a rule is not an object")
        parts: list[Bounds] = []
        for member, value in rule.items():
            if value.is_null:
                continue
            if member not in {"from", "to", "when"} or not value.members:
                parts.append(_invalid(value, member, "is unknown, empty or no list"))
            elif member == "when":
                parts += [self._when(each) for each in value.members]
            else:
                inside = "source" if member == "from" else "operation"
                parts.append(any_of([self._object(each, member, inside) for each in value.members]))
        return all_of(parts) if parts else exactly(ALWAYS)

    def _object(self, entry: YamlValue, member: str, inside: str) -> Bounds:
        if entry.entries is None or set(entry.entries) != {inside}:
            return _invalid(entry, member, f"an entry has other members than {inside!r}")
        value = entry.entries[inside]
        if not value.entries:
            return _invalid(value, inside, "is empty or no object")
        table = self._sources() if inside == "source" else self._operations()
        parts: list[Bounds] = []
        for name, values in value.items():
            positive = name if name in table else _positive(name)
            if positive not in table:
                parts.append(_invalid(values, name, "is unknown"))
                continue
            written = _written(values, f"{inside}.{name}")
            if isinstance(written, Bounds):
                parts.append(written)
                continue
            found = table[positive](written)
            parts.append(found if positive == name else found.negated())
        return all_of(parts)

    def _sources(self) -> dict[str, _Read]:
        return {
            "principals": _each(lambda value: istio_callers.peer(value, self.domains)),
            "namespaces": _each(istio_callers.namespace),
            "serviceAccounts": _each(lambda value: istio_callers.service_account(value, self.namespace)),
            "requestPrincipals": _each(istio_callers.request_principal),
            "ipBlocks": _each(istio_callers.address),
            "remoteIpBlocks": _each(lambda value: _absent(value, _NOT_HERE["remote.ip"])),
        }

    def _operations(self) -> dict[str, _Read]:
        return {
            "hosts": _each(istio_strings.host),
            "methods": lambda values: istio_strings.methods(values, self.notes),
            "paths": _each(istio_strings.path),
            "ports": _each(lambda value: _absent(value, _NOT_HERE["destination.port"])),
        }

    def _when(self, entry: YamlValue) -> Bounds:
        if entry.entries is None or not set(entry.entries) <= {"key", "values", "notValues"}:
            return _invalid(entry, "when", "a condition has members other than key, values and notValues")
        key = entry.word("key")
        if not key:
            return _invalid(entry, "when", "a condition has no key")
        parts: list[Bounds] = []
        for name in ("values", "notValues"):
            values = entry.entries.get(name)
            if values is None:
                continue
            written = _written(values, key)
            if isinstance(written, Bounds):
                parts.append(written)
                continue
            found = any_of([self._value(key, value) for value in written])
            parts.append(found.negated() if name == "notValues" else found)
        return all_of(parts) if parts else _invalid(entry, key, "has neither values nor notValues")

    def _value(self, key: str, value: ListedValue) -> Bounds:
        simple: dict[str, Callable[[ListedValue], Bounds]] = {
            "source.ip": istio_callers.address,
            "source.namespace": istio_callers.namespace,
            "source.principal": lambda one: istio_callers.peer(one, self.domains),
            "source.serviceAccount": lambda one: istio_callers.service_account(one, self.namespace),
            "request.auth.principal": istio_callers.request_principal,
            "request.auth.audiences": lambda one: istio_callers.claim(one, "aud"),
            "request.auth.presenter": lambda one: istio_callers.claim(one, "azp"),
        }
        if key in simple:
            return simple[key](value)
        named = _BRACKETS.fullmatch(key)
        if named is None:
            return _absent(value, _NOT_HERE.get(key, "there is no such attribute here"))
        if named[1] == "request.auth.claims":
            return istio_callers.claim(value, named[2])
        return self._header(value, named[2].lower())

    def _header(self, value: ListedValue, name: str) -> Bounds:
        try:
            headers(name)
        except InvalidValueError as error:
            return unheld(value.gap(f"conditions name headers {error}", "use another attribute"))
        self.headers.add(name)
        attribute = f"request.headers.{name}"
        if value.text == "*":
            return exactly(condition(attribute, "exists", True))
        return exactly(present(attribute, istio_strings.text_condition(attribute, value.text)))


def _positive(name: str) -> str:
    """Return `paths` for `notPaths`."""
    return name[3:4].lower() + name[4:] if name.startswith("not") else ""


def _each(read: Callable[[ListedValue], Bounds]) -> _Read:
    return lambda values: any_of([read(value) for value in values])


def _written(values: YamlValue, member: str) -> list[ListedValue] | Bounds:
    if not values.members:
        return _invalid(values, member, "is empty or no list")
    found: list[ListedValue] = []
    for value in values.members:
        if not value.text:
            return _invalid(value, member, "has an entry that is empty or no string")
        found.append(ListedValue(value.text, value.line, member))
    return found


def _absent(value: ListedValue, reason: str) -> Bounds:
    return unheld(value.gap(reason, "keep this rule in Istio, or leave the condition out of the source"))


def _invalid(value: YamlValue, member: str, problem: str) -> Bounds:
    return unheld(Inexact(value.line, member, problem, "mend it as Istio's reference has it"))
