"""Examines the given files together: Envoy, Istio, Envoy Gateway, Contour and Kubernetes.

Input: paths of files and folders. Output: findings, or `UnreadableFile`. Every object is examined, or
reported as not examined. Objects are also found in lists, and in strings that are YAML or JSON themselves,
such as a bootstrap in a ConfigMap.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from extauthz.proxyconfig import advice
from extauthz.proxyconfig.body_settings import BodyNeed, examine_bodies
from extauthz.proxyconfig.contour_files import examine_contour, global_servers
from extauthz.proxyconfig.documents import InvalidDocument, YamlValue, read_text
from extauthz.proxyconfig.envoy_files import examine_proxies, is_envoy
from extauthz.proxyconfig.findings import Finding, Severity
from extauthz.proxyconfig.gateway_files import examine_gateway
from extauthz.proxyconfig.http_services import HttpSettings, examine_http_services
from extauthz.proxyconfig.istio_files import (
    examine_mesh,
    examine_policies,
    http_provider_names,
    mesh_configs,
    provider_names,
)
from extauthz.proxyconfig.istio_filters import examine_envoy_filter
from extauthz.proxyconfig.kinds import Role, is_object, is_of, is_other_file, role_of
from extauthz.proxyconfig.kubernetes_files import (
    claim_headers,
    condition_headers,
    examine_kubernetes,
    is_kubernetes,
)
from extauthz.proxyconfig.nested import mentions_authorization, unfold
from extauthz.proxyconfig.preflight_bodies import examine_preflight_bodies

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
_CHART: Final = "Chart.yaml"
_EXAMINED: Final = (
    "give an Envoy bootstrap or config dump, objects of Istio, Envoy Gateway or Contour, "
    "a mesh configuration or Kubernetes manifests"
)


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """The operating system could not read a file; `message` names the file and the error."""

    message: str


def files_in(paths: Iterable[Path]) -> list[Path]:
    """Return the given files, and the files below given folders with the suffix .yaml, .yml or .json.

    Files of Helm charts below the folders are left out: templates are not YAML until they are rendered.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.suffix in _SUFFIXES and one.is_file())
            charts = {one.parent for one in inside if one.name == _CHART}
            found += (one for one in inside if charts.isdisjoint(one.parents))
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def _charts(paths: Iterable[Path]) -> Iterator[Finding]:
    """Yield a finding for each Helm chart below the given folders."""
    for path in paths:
        for chart in sorted(path.rglob(_CHART)) if path.is_dir() else ():
            yield Finding(
                severity=Severity.INFO,
                code="chart-unrendered",
                subject="files",
                message="the templates of a Helm chart are not examined, what they become is",
                fix="examine the output of `helm template` with your values",
                file=str(chart),
                line=1,
            )


def examine_files(
    paths: Sequence[Path],
    conditions: Set[str] | None = None,
    *,
    claims: Set[str] | None = None,
    http: HttpSettings | None = None,
    preflights: bool = False,
    bodies: BodyNeed | None = None,
    strict: bool = False,
) -> list[Finding] | UnreadableFile:
    """Return the findings of files; a name in one (a provider, a cluster) is looked up in all of them.

    `conditions` are the CONDITION_HEADERS of the service, and `claims` its CLAIM_HEADERS; None if they are
    unknown, then those that Kubernetes manifests among the files set apply. `http` is what concerns checks
    over HTTP, None if it is unknown; `preflights` is whether CORS_PREFLIGHT is `policy`; `bodies` is what
    policies read of bodies, None if they read none or are not known. A file without an object is reported if
    it was named itself; with `strict` also if it was found in a folder.
    """
    named = {path for path in paths if not path.is_dir()}
    findings: list[Finding] = list(_charts(paths))
    documents: list[YamlValue] = []
    for path in files_in(paths):
        try:
            text = path.read_bytes()
        except OSError as error:
            return UnreadableFile(f"{str(path)!r} cannot be read: {error.strerror}")
        values, problems = read_text(text, str(path))
        findings += map(_invalid, problems)
        is_expected = path in named or strict
        objects: list[YamlValue] = []
        for inside in map(unfold, values):
            findings += inside.findings
            findings += (
                one for found in inside.objects for one in _unexamined(found, is_expected=is_expected)
            )
            findings += (one for found in inside.carried for one in _unexamined(found, is_expected=False))
            objects += inside.objects
            documents += (*inside.objects, *inside.carried)
        if is_expected and not problems and not any(one.entries or one.members for one in objects):
            findings.append(_nothing(str(path)))
    findings += examine_http_services(documents, http)
    if preflights:
        findings += examine_preflight_bodies(documents)
    if bodies is not None:
        findings += examine_bodies(documents, bodies)
    return [*findings, *_examined(documents, conditions, claims)]


def _examined(
    documents: Sequence[YamlValue], conditions: Set[str] | None, claims: Set[str] | None
) -> Iterator[Finding]:
    if conditions is None:
        conditions = condition_headers(documents)
    if claims is None:
        claims = claim_headers(documents)
    meshes = [mesh for one in documents for mesh in mesh_configs(one)]
    for mesh in meshes:
        yield from examine_mesh(mesh, conditions)
    providers = [name for mesh in meshes for name in provider_names(mesh)]
    # No provider in the files: the mesh configuration is not among them.
    over_http = [name for mesh in meshes for name in http_provider_names(mesh)]
    yield from examine_policies(documents, providers or None, claims, over_http=over_http)
    yield from examine_gateway(documents, conditions, claims)
    yield from examine_contour(documents, conditions)
    proxies: list[YamlValue] = []
    for document in documents:
        if is_kubernetes(document):
            yield from examine_kubernetes(document)
        if is_of(document, "networking.istio.io", "EnvoyFilter"):
            yield from examine_envoy_filter(document, conditions)
        elif is_envoy(document):
            proxies.append(document)
    yield from examine_proxies(proxies, conditions, claims)


def _unexamined(document: YamlValue, *, is_expected: bool) -> Iterator[Finding]:
    """Yield a finding for an object that no examination handles."""
    if document.entries is None and document.members is None:
        return
    if is_object(document):
        if role_of(document) is not Role.UNKNOWN or is_envoy(document):
            return
        kind = document.word("kind")
        version = document.word("api_version") or "no apiVersion"
        yield _unknown(document, f"the object of kind {kind!r} ({version}) was not examined")
        return
    is_known = (
        is_envoy(document)
        or mesh_configs(document)
        or global_servers(document)
        or is_kubernetes(document)
        or is_other_file(document)
    )
    if not is_known and (is_expected or mentions_authorization(document)):
        yield _unknown(
            document, "it holds no configuration of Envoy, Istio, Envoy Gateway, Contour or Kubernetes"
        )


def _unknown(document: YamlValue, message: str) -> Finding:
    if mentions_authorization(document):
        return advice.warning(
            document,
            "file-unknown",
            f"{message}, and it mentions external authorization",
            "give the resulting Envoy configuration: the response of Envoy's /config_dump",
        )
    return advice.info(document, "file-unknown", message, _EXAMINED)


def _invalid(problem: InvalidDocument) -> Finding:
    return advice.at_line(problem.file, problem.line, "file-unreadable", problem.problem)


def _nothing(file: str) -> Finding:
    return Finding(
        severity=Severity.INFO,
        code="file-unknown",
        subject="files",
        message="the file is empty",
        fix=_EXAMINED,
        file=file,
        line=1,
    )
