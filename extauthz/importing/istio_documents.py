"""Reads files of Kubernetes objects and finds the Istio `AuthorizationPolicy` objects in them.

Input: the bytes of YAML or JSON files, several documents and `kind: List` included. Output: the policies with
the lines of their parts, or the first thing that makes the whole unreadable: a policy that cannot be read
could be the one that denies.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from extauthz.importing.outcome import SourceInvalid
from extauthz.proxyconfig.documents import YamlValue, read_text

_KIND: Final = "AuthorizationPolicy"
_GROUP: Final = "security.istio.io/"
_API: Final = frozenset({f"{_GROUP}v1", f"{_GROUP}v1beta1"})
_SPEC: Final = frozenset({"selector", "targetRefs", "targetRef", "action", "provider", "rules"})
_OBJECT: Final = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})
_ACTIONS: Final = frozenset({"ALLOW", "DENY", "AUDIT", "CUSTOM"})
_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})


@dataclass(frozen=True, slots=True)
class AuthorizationPolicy:
    """One policy. `rules` is empty where the source has none, which matches no request."""

    file: str
    line: int
    namespace: str
    name: str
    action: str
    provider: str
    labels: frozenset[tuple[str, str]]
    target_refs: frozenset[str]
    dry_run: bool
    rules: tuple[YamlValue, ...] = field(repr=False)

    @property
    def subject(self) -> str:
        """How the policy is named in reports."""
        return (
            f"AuthorizationPolicy {self.namespace}/{self.name}" if self.namespace else f"{_KIND} {self.name}"
        )


def read_policies(
    files: list[tuple[str, bytes]],
) -> tuple[list[AuthorizationPolicy], Counter[str]] | SourceInvalid:
    """Return the policies of all files, and how many objects there are of other kinds."""
    found: list[AuthorizationPolicy] = []
    others: Counter[str] = Counter()
    for file, data in files:
        if b"{{" in data:
            line = data.count(b"\n", 0, data.index(b"{{")) + 1
            return SourceInvalid(file, line, "holds a template ('{{'); import what 'helm template' prints")
        documents, problems = read_text(data, file)
        if problems:
            return SourceInvalid(file, problems[0].line, problems[0].problem)
        try:
            items = [item for document in documents for item in _objects(document)]
        except _InvalidError as error:
            return SourceInvalid(file, error.line, str(error))
        for item in items:
            kind = item.word("kind")
            if kind != _KIND:
                others[kind or "no kind"] += 1
                continue
            policy = _policy(item)
            if isinstance(policy, SourceInvalid):
                return policy
            found.append(policy)
    if not found:
        return SourceInvalid(files[0][0] if files else "", None, f"holds no {_KIND}")
    return _unique(found) or (found, others)


def _objects(document: YamlValue) -> Iterator[YamlValue]:
    """Yield the objects of a document. Raises _InvalidError for what may hold a policy and cannot be read."""
    if document.is_null:
        return
    if document.entries is None:
        raise _InvalidError(document, "is not an object; separate objects by '---', or use kind List")
    kind = document.word("kind") or ""
    items = document.at("items")
    if kind.endswith("List") and (items is not None or kind in {"List", f"{_KIND}List"}):
        if items is None or items.members is None:
            raise _InvalidError(items or document, f"items of the {kind} is not a list")
        for item in items.members:
            yield from _objects(item)
        return
    if kind != _KIND and kind.casefold() == _KIND.casefold():
        raise _InvalidError(document, f"kind {kind!r} is unknown to a cluster; write {_KIND}")
    api = document.word("apiVersion") or ""
    if not kind and (document.at("spec") is not None or api.startswith(_GROUP)):
        raise _InvalidError(document, f"an object has no kind; write {_KIND} if it is one")
    yield document


def _unique(found: list[AuthorizationPolicy]) -> SourceInvalid | None:
    seen: set[tuple[str, str]] = set()
    for policy in found:
        if (policy.namespace, policy.name) in seen:
            return SourceInvalid(policy.file, policy.line, f"{policy.subject} occurs twice")
        seen.add((policy.namespace, policy.name))
    named = [policy for policy in found if policy.namespace]
    if named and len(named) < len(found):
        policy = next(policy for policy in found if not policy.namespace)
        return SourceInvalid(
            policy.file, policy.line, f"{policy.subject} names no metadata.namespace, and others do"
        )
    return None


class _InvalidError(Exception):
    """A part that no cluster would take; the text says what is wrong."""

    def __init__(self, value: YamlValue, problem: str) -> None:
        super().__init__(problem)
        self.line = value.line


def _policy(item: YamlValue) -> AuthorizationPolicy | SourceInvalid:
    try:
        return _read(item)
    except _InvalidError as error:
        return SourceInvalid(item.file, error.line, str(error))


def _read(item: YamlValue) -> AuthorizationPolicy:
    for member, value in item.items():
        if member not in _OBJECT:
            raise _InvalidError(value, f"the object has the unknown member {member!r}")
    api = _scalar(item, "apiVersion")
    if api not in _API:
        raise _InvalidError(item, f"apiVersion {api!r} is none of {', '.join(sorted(_API))}")
    metadata = _member(item, "metadata")
    name = _scalar(metadata, "name")
    if not name:
        raise _InvalidError(item, "metadata.name is missing")
    spec = _member(item, "spec")
    if spec is not None and spec.entries is None:
        raise _InvalidError(spec, "spec is not an object")
    for member, value in spec.items() if spec is not None else ():
        if member not in _SPEC:
            raise _InvalidError(value, f"spec has the unknown member {member!r}")
    action = _scalar(spec, "action") or "ALLOW"
    if action not in _ACTIONS:
        raise _InvalidError(item, f"action {action!r} is none of {', '.join(sorted(_ACTIONS))}")
    annotation = _scalar(_member(metadata, "annotations"), "istio.io/dry-run")
    return AuthorizationPolicy(
        file=item.file,
        line=item.line,
        namespace=_scalar(metadata, "namespace") or "",
        name=name,
        action=action,
        provider=_scalar(_member(spec, "provider"), "name") or "",
        labels=frozenset(_labels(spec)),
        target_refs=frozenset(_target_refs(spec)),
        dry_run=annotation in _TRUE,
        rules=_list(spec, "rules"),
    )


def _member(value: YamlValue | None, member: str) -> YamlValue | None:
    """Return a member by exactly its name, None where there is none, or null."""
    found = None if value is None or value.entries is None else value.entries.get(member)
    return None if found is None or found.is_null else found


def _scalar(value: YamlValue | None, member: str) -> str | None:
    found = _member(value, member)
    if found is None:
        return None
    if found.text is None:
        raise _InvalidError(found, f"{member} is not a string")
    return found.text


def _list(value: YamlValue | None, member: str) -> tuple[YamlValue, ...]:
    found = _member(value, member)
    if found is None:
        return ()
    if found.members is None:
        raise _InvalidError(found, f"{member} is not a list")
    return found.members


def _labels(spec: YamlValue | None) -> Iterator[tuple[str, str]]:
    selector = _member(spec, "selector")
    if selector is None:
        return
    if selector.entries is None or set(selector.entries) - {"matchLabels"}:
        raise _InvalidError(selector, "selector has something other than matchLabels")
    labels = _member(selector, "matchLabels")
    if labels is None:
        return
    if labels.entries is None:
        raise _InvalidError(labels, "matchLabels is not an object")
    for name, value in labels.items():
        if value.text is None:
            raise _InvalidError(value, f"the label {name!r} is not a string")
        yield name, value.text


def _target_refs(spec: YamlValue | None) -> Iterator[str]:
    single = _member(spec, "targetRef")
    for ref in (*_list(spec, "targetRefs"), *(() if single is None else (single,))):
        if ref.entries is None:
            raise _InvalidError(ref, "a target reference is not an object")
        yield "/".join(_scalar(ref, name) or "" for name in ("group", "kind", "namespace", "name"))
