"""Files that doctor examines, and what it finds in changed ones."""

from pathlib import Path

from extauthz.proxyconfig.files import UnreadableFile, examine_files
from extauthz.proxyconfig.findings import Finding, Severity
from extauthz.shipped import shipped

ROOT = Path(__file__).resolve().parents[1]
GOOD = shipped("envoy/bootstrap.yaml").read_text()
ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO

MESH = """
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
spec:
  meshConfig:
    pathNormalization: {normalization: MERGE_SLASHES}
    extensionProviders:
      - name: extauthz
        envoyExtAuthzGrpc:
          service: extauthz.local
          port: 9191
          timeout: 0.2s
          statusOnError: "503"
          failOpen: false
"""
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: extauthz}
spec:
  action: CUSTOM
  provider:
    name: extauthz
  rules: [{}]
"""
CONTAINER = """
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      enableServiceLinks: false
      containers:
        - name: extauthz
          image: registry.example.com/extauthz:1
          env:
            - name: OIDC_AUDIENCE
              value: my-api
"""


def examine(tmp_path: Path, **texts: str) -> list[Finding]:
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    found = examine_files([tmp_path / f"{name}.yaml" for name in texts])
    assert not isinstance(found, UnreadableFile)
    return found


def line_of(text: str, part: str) -> int:
    (line,) = [number for number, one in enumerate(text.splitlines(), start=1) if part in one]
    return line


def changed(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)
