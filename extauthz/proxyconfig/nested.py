"""Finds documents inside documents: members of lists, and strings that are YAML or JSON themselves.

Input: a document. Output: `Unfolded`, with findings about strings that could not be parsed.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from extauthz.proxyconfig import advice
from extauthz.proxyconfig.documents import InvalidDocument, YamlValue, read_text
from extauthz.proxyconfig.findings import Finding

_DEEPEST: Final = 4
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
"""The annotation in which `kubectl apply` keeps an earlier copy of the object; it is not examined."""

_AUTHORIZES: Final = re.compile(
    r"ext[._-]?auth|external[ ._-]?auth|failure_?mode_?allow|extension_?providers|forward_?auth|auth[_-]url",
    re.IGNORECASE,
)
_PROXY: Final = re.compile(
    r"static_?resources|filter_?chains|http_?connection_?manager|virtual_?hosts|path_?normalization"
    r"|typed_?per_?filter_?config|layered_?runtime",
    re.IGNORECASE,
)
_OBJECT: Final = re.compile(r"(?:^|[\s{,\"'])kind[\"']?\s*:")
_SCHEMAS: Final = "CustomResourceDefinition"
"""A kind whose strings are descriptions, not configuration."""
_NAMING: Final = frozenset({"@type", "type_url", "typeUrl", "type", "name", "kind", "Kind", "Name"})
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/\s]{40,}={0,2}\s*")
_STRUCTURED: Final = re.compile(r"\s*(?:---|#[^\n]*\n|[{\[]|(?:-\s+)?[\"'A-Za-z0-9_@./-]+\s*:)")


def mentions_authorization(value: YamlValue) -> bool:
    """Return whether the names of members or types in a value mention external authorization."""
    for one in value.walk():
        for name, below in one.items():
            if name == _LAST_APPLIED:
                continue
            said = below.text if name in _NAMING and below.text is not None else ""
            if _AUTHORIZES.search(name) or _AUTHORIZES.search(said):
                return True
    return False


@dataclass(slots=True)
class Unfolded:
    """The documents in a document: `objects` (itself, or the members of a List), `carried` (in strings)."""

    objects: list[YamlValue] = field(default_factory=list)
    carried: list[YamlValue] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def unfold(document: YamlValue) -> Unfolded:
    """Return the documents in a document, and findings about strings that could not be parsed."""
    found = Unfolded()
    _unfold(document, found, 0)
    return found


def _unfold(document: YamlValue, found: Unfolded, depth: int) -> None:
    if document.members is not None and any(one.entries is not None for one in document.members):
        for member in document.members:
            _unfold(member, found, depth)
    elif is_list(document):
        for member in document.list("items"):
            _unfold(_with_kind(member, document), found, depth)
    else:
        (found.carried if depth else found.objects).append(document)
        is_open = depth < _DEEPEST and document.word("kind") != _SCHEMAS
        for inner in _in_texts(document) if is_open else ():
            if isinstance(inner, Finding):
                found.findings.append(inner)
            else:
                _unfold(inner, found, depth + 1)


def is_list(document: YamlValue) -> bool:
    """Return whether a document is a List of objects, as `kubectl get -o yaml` prints it."""
    kind = document.word("kind") or ""
    return kind.endswith("List") and document.at("items") is not None and document.at("spec") is None


def _with_kind(member: YamlValue, of: YamlValue) -> YamlValue:
    """Return a member of a typed list, such as `ConfigMapList`, with the kind and version of the list."""
    kind = (of.word("kind") or "").removesuffix("List")
    if member.entries is None or member.at("kind") is not None or not kind:
        return member
    told = {"kind": YamlValue(member.file, member.line, text=kind)}
    if (version := of.at("api_version")) is not None:
        told["apiVersion"] = version
    return replace(member, entries=told | member.entries)


def _in_texts(document: YamlValue) -> Iterator[YamlValue | Finding]:
    for name, value in _texts(document):
        text, first = value.text or "", value.line + 1 if value.is_block else value.line
        if _ENCODED.fullmatch(text) and (decoded := _decoded(text)) is not None:
            # base64 has no lines: every finding is reported at the line of the value.
            text, first = decoded, value.line
        is_wanted = any(one.search(text) for one in (_AUTHORIZES, _PROXY, _OBJECT))
        if not is_wanted or not _is_structured(text):
            continue
        found, problems = read_text(text.encode(), value.file, first_line=first)
        inner = [one for one in found if one.entries is not None or one.members]
        yield from inner
        if problems:
            yield from _problem(name, value, problems[0], text)


def _texts(value: YamlValue, name: str = "") -> Iterator[tuple[str, YamlValue]]:
    if value.text is not None:
        yield name, value
    for key, below in value.items():
        if key != _LAST_APPLIED:
            yield from _texts(below, key)
    for below in value.members or ():
        yield from _texts(below, name)


def _is_structured(text: str) -> bool:
    return ("\n" in text or text.lstrip()[:1] in {"{", "["}) and _STRUCTURED.match(text) is not None


def _decoded(text: str) -> str | None:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _problem(name: str, value: YamlValue, problem: InvalidDocument, text: str) -> Iterator[Finding]:
    is_configuration = name.lower().endswith((".yaml", ".yml", ".json", "mesh")) or _PROXY.search(text)
    if is_configuration:
        yield advice.at_line(
            problem.file,
            problem.line,
            "file-unreadable",
            f"the string {name!r} could not be parsed: {problem.problem}",
        )
    elif _AUTHORIZES.search(text):
        yield advice.warning(
            value,
            "file-unknown",
            f"the string {name!r} mentions external authorization and was not examined: it is not YAML",
            "give the configuration as a separate file",
        )
