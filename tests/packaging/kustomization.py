"""Builds the kustomizations of deploy/kubernetes: by `kustomize` where it is on PATH.

Elsewhere the plain members that they use are read here, with an error for any other. A test compares both.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

CLUSTER_SCOPED = frozenset({"Namespace"})
_KNOWN = frozenset(
    {"apiVersion", "kind", "namespace", "resources", "images", "configMapGenerator", "generatorOptions"}
)


def build(folder: Path) -> list[Object]:
    """Return every object of a kustomization, in no particular order."""
    kustomize = shutil.which("kustomize")
    if kustomize is None:
        return build_plainly(folder)
    done = subprocess.run([kustomize, "build", folder], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def build_plainly(folder: Path) -> list[Object]:
    """Return what `build` returns, without `kustomize`."""
    (plan,) = documents(folder / "kustomization.yaml")
    unknown = plan.keys() - _KNOWN
    assert not unknown, f"{folder}: {sorted(unknown)} is not understood by the tests' builder"
    found: list[Object] = []
    for name in plan["resources"]:
        part = folder / name
        found += build_plainly(part.resolve()) if part.is_dir() else documents(part)
    for generator in plan.get("configMapGenerator", []):
        assert plan["generatorOptions"] == {"disableNameSuffixHash": True}
        found.append(_config_map(folder, generator))
    for each in found:
        if "namespace" in plan and each["kind"] not in CLUSTER_SCOPED:
            each["metadata"]["namespace"] = plan["namespace"]
        _rename_images(each, {image["name"]: image for image in plan.get("images", [])})
    names = [identity(each) for each in found]
    assert len(set(names)) == len(names), f"{folder}: an object is there twice"
    return found


def identity(each: Object) -> tuple[str, str | None, str]:
    return each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]


def documents(path: Path) -> list[Object]:
    return [document for document in yaml.safe_load_all(path.read_text("utf-8")) if document is not None]


def _config_map(folder: Path, generator: Object) -> Object:
    assert generator.keys() == {"name", "files"}
    data = {Path(name).name: (folder / name).read_text("utf-8") for name in generator["files"]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data}


def _rename_images(each: Object, images: dict[str, Object]) -> None:
    for container in containers(each):
        image = images.get(container["image"])
        if image is not None:
            container["image"] = f"{image['newName']}:{image['newTag']}"


def pod_of(each: Object) -> Object | None:
    """Return the pod template of a Deployment or Job."""
    if each["kind"] not in {"Deployment", "Job"}:
        return None
    template: Object = each["spec"]["template"]
    return template


def containers(each: Object) -> list[Object]:
    pod = pod_of(each)
    if pod is None:
        return []
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
