"""Examines the given files together: Envoy, Istio and Kubernetes, also what ConfigMaps carry inside."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from extauthz.proxyconfig.documents import Unreadable, Value, read_text
from extauthz.proxyconfig.envoy_files import examine_envoy, is_envoy
from extauthz.proxyconfig.findings import Finding, Severity
from extauthz.proxyconfig.istio_files import examine_mesh, examine_policies, mesh_config, provider_names
from extauthz.proxyconfig.kubernetes_files import examine_kubernetes, is_kubernetes

_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A file that cannot be opened; the command is refused."""

    message: str


def files_in(paths: Iterable[Path]) -> list[Path]:
    """Return the given files, and those in given folders whose names end like YAML or JSON."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(one for one in path.rglob("*") if one.suffix in _SUFFIXES and one.is_file())
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def examine_files(paths: Sequence[Path]) -> list[Finding] | FileProblem:
    """Examine files; names in one (a provider) are looked up in all of them.

    A file that was named itself, not by its folder, is expected to hold something.
    """
    named = {path for path in paths if not path.is_dir()}
    findings: list[Finding] = []
    documents: list[Value] = []
    for path in files_in(paths):
        try:
            text = path.read_bytes()
        except OSError as error:
            return FileProblem(f"{str(path)!r} cannot be read: {error.strerror}")
        values, problems = read_text(text, str(path))
        findings += map(_unreadable, problems)
        documents += values
        if path in named and not problems and not any(map(_is_known, values)):
            findings.append(_nothing(str(path)))
    carried = [inner for document in documents for inner in _carried(document)]
    return [*findings, *_examined(documents, carried)]


def _examined(documents: Sequence[Value], carried: Sequence[Value]) -> Iterator[Finding]:
    meshes = [mesh for one in (*documents, *carried) if (mesh := mesh_config(one)) is not None]
    for mesh in meshes:
        yield from examine_mesh(mesh)
    providers = [name for mesh in meshes for name in provider_names(mesh)]
    # Without one provider among the files the mesh configuration is not at hand.
    yield from examine_policies(documents, providers or None)
    for document in documents:
        if is_kubernetes(document):
            yield from examine_kubernetes(document)
        elif is_envoy(document):
            yield from examine_envoy(document)
    for inner in carried:
        if is_envoy(inner):
            yield from examine_envoy(inner)


def _is_known(document: Value) -> bool:
    return is_kubernetes(document) or is_envoy(document) or mesh_config(document) is not None


def _carried(document: Value) -> Iterator[Value]:
    """Yield the configurations that a ConfigMap holds as texts (Envoy's bootstrap, Istio's `mesh`)."""
    if document.word("kind") != "ConfigMap" or (data := document.at("data")) is None:
        return
    for value in (data.entries or {}).values():
        if value.text is not None and "\n" in value.text:
            first = value.line + 1 if value.is_block else value.line
            inner, _problems = read_text(value.text.encode(), value.file, first_line=first)
            yield from (one for one in inner if one.entries is not None)


def _unreadable(problem: Unreadable) -> Finding:
    return Finding(
        severity=Severity.ERROR,
        code="file-unreadable",
        subject="files",
        message=problem.problem,
        fix="write it as YAML or JSON that has one meaning (a template: render it first)",
        file=problem.file,
        line=problem.line,
    )


def _nothing(file: str) -> Finding:
    return Finding(
        severity=Severity.INFO,
        code="file-unknown",
        subject="files",
        message="nothing of Envoy, Istio or Kubernetes is in it",
        fix="give an Envoy bootstrap, Istio objects, a mesh configuration or Kubernetes manifests",
        file=file,
    )
