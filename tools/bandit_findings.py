"""Run bandit, and print its findings that have no answer in the source; exit 1 if there are any.

python tools/bandit_findings.py

Ruff's S rules are bandit's, under the same numbers, and are answered where they stand: by `noqa: S608 - why`
in one of the lines concerned, or by `ignore` and `per-file-ignores` in pyproject.toml. Those answers count
here too, so that nothing is answered twice; docs/adr/0012-static-analysers.md gives the reasons by kind.
"""

import json
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
SCANNED: Final = ("extauthz", "sdk/python/extauthz_client", "tools")

# Ruff has no such rules, or not yet; the ADR says why each is not a finding here.
_NOT_FINDINGS: Final = {
    "B404": "importing subprocess does nothing; every use of it is found by itself",
    "B405": "importing an XML parser does nothing; every use of it is found by itself",
    "B606": "starting a process without a shell is how it should be",
}
_SCHEME: Final = "Possible hardcoded password: 'Bearer'"  # an authentication scheme, RFC 6750
_NOQA: Final = re.compile(r"#\s*noqa:\s*(?P<codes>[A-Z]+[0-9]+(?:\s*,\s*[A-Z]+[0-9]+)*)")


def findings() -> list[dict[str, Any]]:
    """Return what bandit finds."""
    command = [sys.executable, "-m", "bandit", "--quiet", "--recursive", "--format", "json", *SCANNED]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if finished.returncode not in {0, 1}:
        raise SystemExit(f"bandit failed: {finished.stderr.strip()}")
    results: list[dict[str, Any]] = json.loads(finished.stdout)["results"]
    return results


def is_answered(finding: dict[str, Any], lint: dict[str, Any]) -> bool:
    """Say whether the finding is answered for, in its lines or in ruff's settings."""
    rule = finding["test_id"]
    same = f"S{rule[1:]}"
    if rule in _NOT_FINDINGS or same in lint["ignore"] or finding["issue_text"] == _SCHEME:
        return True
    if any(same in codes or "S" in codes for glob, codes in lint["per-file-ignores"].items()
           if fnmatch(finding["filename"].removeprefix("./"), glob)):  # fmt: skip
        return True
    lines = (ROOT / finding["filename"]).read_text("utf-8").splitlines()
    concerned = range(min(finding["line_range"]) - 1, max(finding["line_range"]))
    answers = (_NOQA.search(lines[number]) for number in concerned)
    return any(answer is not None and same in re.split(r"\s*,\s*", answer["codes"]) for answer in answers)


def main() -> int:
    """Print the unanswered findings."""
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]
    found = findings()
    unanswered = [finding for finding in found if not is_answered(finding, lint)]
    for finding in unanswered:
        place = f"{finding['filename']}:{finding['line_number']}"
        print(f"{place}: {finding['test_id']} {finding['issue_text']}")
    print(f"bandit: {len(found)} findings, {len(found) - len(unanswered)} of them answered", file=sys.stderr)
    return 1 if unanswered else 0


if __name__ == "__main__":
    sys.exit(main())
