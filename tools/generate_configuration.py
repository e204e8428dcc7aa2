"""Generate docs/configuration.md and the Helm chart's schema from extauthz/settings/, or check both.

python tools/generate_configuration.py            write both
python tools/generate_configuration.py --check    exit 1 if one differs
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from extauthz.settings import InvalidValueError, Variable, variables
from tools.chart_schema import chart_schema

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "configuration.md"
CHART: Final = ROOT / "deploy" / "helm" / "extauthz" / "values.schema.json"

_TOP: Final = """\
# Configuration

Generated from `extauthz/settings/` by `tools/generate_configuration.py`: edit that, not this.

Everything is set by environment variables, for every command alike. There is no configuration file;
`IDENTITY_PROVIDERS` and `POLICY_SOURCE=files:DIR` name files of providers and policies.

- An empty variable is an unset one.
- All problems are reported in one message, with exit code 2, before anything starts.
- A **secret** is better given as a file: `NAME_FILE` names one whose content, without a final line end, is
  the value. Setting both `NAME` and `NAME_FILE` is an error.
- With `MODE=selfhost` a service that reads tokens needs `AUTH_SERVER_URL` and `OIDC_AUDIENCE`, or
  `IDENTITY_PROVIDERS` ([providers](providers/README.md)).
"""

_SECTIONS: Final = {
    "MODE": "Tenancy",
    "HOST": "REST, health and metrics",
    "GRPC_HOST": "Checks",
    "POSTGRES_HOST": "PostgreSQL",
    "OIDC_ENABLED": "Identity",
    "ADMIN_API_KEY": "Administration",
    "UNMAPPED": "Policies",
    "DECISION_LOG": "Logs",
    "OTEL_SDK_DISABLED": "Traces and OTLP",
}
"""Titles by the variable that a section begins with."""

_LISTED: Final = "names, separated by commas"


def page() -> str:
    """Return the whole page."""
    missing = _SECTIONS.keys() - {variable.name for variable in variables().values()}
    if missing:
        raise SystemExit(f"sections begin with variables that are gone: {sorted(missing)}")
    return _TOP + "".join(_rows())


def _rows() -> Iterator[str]:
    for variable in variables().values():
        if variable.name in _SECTIONS:
            yield f"\n## {_SECTIONS[variable.name]}\n\n"
            yield "| variable | default | value | meaning |\n| --- | --- | --- | --- |\n"
        default = f"`{variable.default}`" if variable.default else ""
        secret = ", secret" if variable.secret else ""
        cells = (f"`{variable.name}`", default, _values(variable) + secret, variable.meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _values(variable: Variable) -> str:
    """Return what the variable's own reader says it must be, by giving it what none of them takes."""
    for unusable in ("\0", ""):
        try:
            variable.read(unusable)
        except InvalidValueError as error:
            said = str(error)
            return said if repr(unusable) not in said else _LISTED
    return _LISTED


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description="Generate what follows from the settings.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    texts = {PAGE: page(), CHART: chart_schema({each: _values(each) for each in variables().values()})}
    if not parser.parse_args().check:
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
        return 0
    old = [
        path for path, text in texts.items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    for path in old:
        print(
            f"{path.relative_to(ROOT)} is out of date: run tools/generate_configuration.py", file=sys.stderr
        )
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
