"""Examines Kubernetes manifests: secrets in plain text, environment variables that extauthz does not read.

Input: objects of the Kubernetes API and kustomizations. Output: findings; none quotes a secret.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from extauthz.proxyconfig import advice
from extauthz.proxyconfig.documents import YamlValue
from extauthz.proxyconfig.findings import Finding
from extauthz.settings import misspelt, variables

_OURS: Final = {variable.name: variable.secret for variable in variables().values()}
_SECRET_NAME: Final = re.compile(
    r"(?:^|[_.-])(?:password|passwd|secret|api_?key|private_?key|credentials?|token)s?$", re.IGNORECASE
)
_SECRET_VALUE: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|(?<![a-z0-9_])sak_live_|[a-z0-9_]+://[^/\s:@]*:[^/\s@]+@",
    re.IGNORECASE,
)
_CONDITIONS: Final = "CONDITION_HEADERS"
_CLAIMS: Final = "CLAIM_HEADERS"
_EXCLUDED: Final = "traffic.sidecar.istio.io/excludeInboundPorts"
_INCLUDED: Final = "traffic.sidecar.istio.io/includeInboundPorts"
_GENERATORS: Final = ("config_map_generator", "secret_generator")
_COMMANDS: Final = frozenset({"serve", "sidecar", "control-plane"})


def is_kubernetes(document: YamlValue) -> bool:
    """Return whether a document is an object of the Kubernetes API, or a kustomization."""
    is_object = document.word("kind") is not None and document.word("api_version") is not None
    return is_object or any(document.at(name) for name in _GENERATORS)


def examine_kubernetes(document: YamlValue) -> Iterator[Finding]:
    """Yield the findings of one object."""
    match document.word("kind"):
        case "ConfigMap":
            yield from _config_map(document)
        case "Secret":
            yield from _secret(document)
        case "Kustomization" | None:
            yield from _generators(document)
        case _:
            for value in document.walk():
                if value.at("containers") is not None:
                    yield from _pod(value)
                yield from _past_the_proxy(value)


def condition_headers(documents: Iterable[YamlValue]) -> frozenset[str] | None:
    """Return the header names that manifests set as CONDITION_HEADERS; None if no manifest sets it."""
    return _header_names(documents, _CONDITIONS)


def claim_headers(documents: Iterable[YamlValue]) -> frozenset[str]:
    """Return the header names that manifests set as CLAIM_HEADERS."""
    return _header_names(documents, _CLAIMS) or frozenset()


def _header_names(documents: Iterable[YamlValue], variable: str) -> frozenset[str] | None:
    found: list[str] = []
    for document in documents:
        for value in document.walk():
            named = value.word("value") if value.word("name") == variable else None
            text = named if named is not None else value.word(variable)
            if text is not None:
                found.append(text)
    names = (name.strip().lower() for text in found for name in text.split(","))
    return frozenset(filter(None, names)) if found else None


def _past_the_proxy(value: YamlValue) -> Iterator[Finding]:
    """Yield a warning for annotations that exclude ports from interception by Istio's proxy."""
    for name in (_EXCLUDED, _INCLUDED):
        ports = value.at("annotations", name)
        is_narrow = ports is not None and (bool(ports.text) if name == _EXCLUDED else ports.text != "*")
        if ports is not None and is_narrow:
            yield advice.warning(
                ports,
                "check-partial",
                f"{name}: connections to some ports bypass the proxy, without a check",
                "remove the annotation, or use these ports for probes and metrics only",
            )


def _is_secret(name: str, text: str) -> bool:
    if _SECRET_VALUE.search(text):
        return True
    # For variables of extauthz the settings define which are secret: TOKEN_LEEWAY is not.
    if name in _OURS:
        return _OURS[name] and bool(text)
    return bool(_SECRET_NAME.search(name)) and bool(text)


def _config_map(document: YamlValue) -> Iterator[Finding]:
    for part in ("data", "binary_data"):
        entries = dict(found.items()) if (found := document.at(part)) is not None else {}
        for name, value in entries.items():
            if _is_secret(name, value.text or ""):
                yield _exposed(value, f"the ConfigMap holds a secret, {name!r}")
        yield from _names(entries)


def _generators(document: YamlValue) -> Iterator[Finding]:
    for generator in document.list("config_map_generator"):
        for literal in generator.list("literals"):
            name, _, text = (literal.text or "").partition("=")
            if _is_secret(name, text):
                yield _exposed(literal, f"the ConfigMap would hold a secret, {name!r}")
    for generator in document.list("secret_generator"):
        for literal in generator.list("literals"):
            yield _in_a_file(literal)


def _secret(document: YamlValue) -> Iterator[Finding]:
    for part in ("data", "string_data"):
        found = document.at(part)
        if found is not None and any(value.text for _, value in found.items()):
            yield _in_a_file(found)


def _exposed(value: YamlValue, message: str) -> Finding:
    return advice.error(
        value,
        "secret-exposed",
        f"{message}: every user with permission to list objects can read it",
        "put it into a Secret, mount it as a file and name the file in NAME_FILE",
    )


def _in_a_file(value: YamlValue) -> Finding:
    return advice.warning(
        value,
        "secret-in-file",
        "this file holds the value of a secret, and is likely to be copied and put under version control",
        "create the Secret outside version control, or with External Secrets",
    )


def _pod(pod: YamlValue) -> Iterator[Finding]:
    for container in (*pod.list("containers"), *pod.list("init_containers")):
        named = {name: one for one in container.list("env") if (name := one.word("name")) is not None}
        for name, one in named.items():
            value = one.at("value")
            if value is not None and _is_secret(name, value.text or ""):
                yield _exposed(value, f"the manifest holds a secret, {name!r}")
        if not _is_ours(container):
            continue
        yield from _names(named)
        links = pod.at("enable_service_links")
        if links is None or links.flag is not False:
            yield advice.info(
                links or pod,
                "service-links",
                "Kubernetes sets variables for every Service: one named `postgres` would set POSTGRES_PORT",
                "set enableServiceLinks: false",
            )


def _is_ours(container: YamlValue) -> bool:
    words = {one.text for one in (*container.list("command"), *container.list("args"))}
    return "extauthz" in (container.word("image") or "") or bool(words & (_COMMANDS))


def _names(found: dict[str, YamlValue]) -> Iterator[Finding]:
    # Names are judged only next to variables of extauthz; without one the object may be another program's.
    if not any(name in _OURS and "_" in name for name in found):
        return
    for name, meant in misspelt(found).items():
        yield advice.warning(
            found[name], "variable-unknown", f"{name} is not a variable of extauthz and is not read", meant
        )
